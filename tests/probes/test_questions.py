"""Questions about groups of concepts, their priority and their price."""

import torch

from probes.policies import for_its_price
from probes.questions import groups_by_name, questions

CONCEPTS = ("red wing", "striped wing", "long bill", "small")
GROUPS = {"wing": ["red wing", "striped wing"], "bill": ["long bill", "short bill"]}


def test_a_group_has_its_concepts_and_the_others_stand_alone():
    asked = questions(CONCEPTS, groups=GROUPS)

    assert asked.names == ("wing", "bill", "small")
    assert asked.members.tolist() == [[0, 1], [2, 2], [3, 3]]
    assert asked.price.tolist() == [1, 1, 1]


def test_a_group_costs_what_its_concepts_do():
    asked = questions(CONCEPTS, groups=GROUPS, costs={"red wing": 3.0, "small": 0.5})

    assert asked.price.tolist() == [4.0, 1.0, 0.5]


def test_the_priority_of_a_group_is_the_mean_over_what_is_open():
    asked = questions(CONCEPTS, groups=GROUPS)
    priority = torch.tensor([[1.0, 3.0, 5.0, 7.0], [1.0, 3.0, 5.0, 7.0]])
    done = torch.tensor([[False, False, False, False], [True, False, True, False]])

    assert asked.mean(priority, done).tolist() == [[2.0, 5.0, 7.0], [3.0, -torch.inf, 7.0]]


def test_a_gain_is_worth_more_where_it_is_cheap_and_a_loss_worse_where_it_is_dear():
    worth = for_its_price(torch.tensor([[4.0, 3.0, -1.0, -1.0]]), torch.tensor([4.0, 1.0, 1.0, 5.0]))[0]

    assert worth.argsort(descending=True).tolist() == [1, 0, 2, 3]


def test_groups_follow_from_names():
    assert groups_by_name(CONCEPTS) == {"wing": ["red wing", "striped wing"], "bill": ["long bill"], "small": ["small"]}
    assert groups_by_name(["bill::hooked", "bill::long"]) == {"bill": ["bill::hooked", "bill::long"]}
