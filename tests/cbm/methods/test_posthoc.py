from dataclasses import replace

import numpy as np
import pytest
import torch

from cbm.bank import ConceptBank, Origin, Quality
from cbm.edits import PruneWeight, apply
from cbm.errors import DataError
from cbm.explanations import class_weights
from cbm.methods import fit
from cbm.methods.posthoc import standardised_distances, within_one_error
from cbm.model import linear_head
from cbm.solvers import Solution, elastic_net_objective


def accuracy(model, data):
    return float((model.predict(data.x) == data.labels).double().mean())


def test_each_class_is_decided_by_its_own_two_concepts(planted):
    model = fit("posthoc", planted.training, bank=planted.bank, nec=2)

    for name, pair in planted.class_concepts.items():
        weights = class_weights(model, name)
        assert {concept for concept, weight in weights if weight > 0} == set(pair)
    assert accuracy(model, planted.training.split("test")) > 0.97


def test_scores_are_standard_deviations_above_the_training_mean(planted):
    model = fit("posthoc", planted.training, bank=planted.bank, nec=2)

    scores = model.scores(planted.training.split("train").x)
    assert scores.mean(0).abs().max() < 1e-5
    assert (scores.std(0, correction=0) - 1).abs().max() < 1e-5


def test_a_score_is_the_signed_distance_to_the_hyperplane_up_to_scale():
    x = torch.tensor([[0.0, 0.0], [4.0, 2.0], [8.0, 4.0]])
    bank = ConceptBank(("a",), torch.tensor([[3.0, 4.0]]), torch.tensor([-10.0]), (Origin("annotation"),), (Quality(),))

    bottleneck, _ = standardised_distances(bank, x)

    distance = np.array([-2.0, 2.0, 6.0])  # (3 x + 4 y - 10) / 5
    assert bottleneck(x)[:, 0].numpy() == pytest.approx((distance - 2) / distance.std(), abs=1e-6)


def test_the_length_of_a_concept_vector_does_not_matter(planted):
    longer = replace(planted.bank, vectors=7 * planted.bank.vectors, intercepts=7 * planted.bank.intercepts)

    once, again = (fit("posthoc", planted.training, bank=bank, nec=3) for bank in (planted.bank, longer))

    assert torch.allclose(once.logits(planted.training.x), again.logits(planted.training.x), atol=1e-3)


@pytest.mark.parametrize("nec", [1, 2, 4])
def test_a_head_has_as_many_concepts_a_class_as_asked_for(planted, nec):
    model = fit("posthoc", planted.training, bank=planted.bank, nec=nec)

    assert int((linear_head(model).weight != 0).sum()) == nec * 4
    assert f"the head uses {nec} concepts a class" in model.recipe.notes[-1]


def test_more_concepts_than_there_are_means_all(planted):
    model = fit("posthoc", planted.training, bank=planted.bank, nec=500)

    assert int((linear_head(model).weight != 0).sum()) <= 9 * 4
    assert "500 were allowed" in model.recipe.notes[-1]
    assert accuracy(model, planted.training.split("test")) > 0.97


def test_a_given_penalty_is_the_elastic_net_at_its_optimum(planted):
    model = fit("posthoc", planted.training, bank=planted.bank, lam=0.02, alpha=0.9)

    train, head = planted.training.split("train"), linear_head(model)
    s = model.scores(train.x)
    best = elastic_net_objective(s, train.labels, head.weight, head.bias, lam=0.02, alpha=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        other = head.weight + 0.01 * torch.randn(head.weight.shape, generator=generator)
        assert elastic_net_objective(s, train.labels, other, head.bias, lam=0.02, alpha=0.9) > best


def test_without_a_count_the_penalty_is_chosen_by_validation_accuracy(planted):
    model = fit("posthoc", planted.training, bank=planted.bank, nec=None)

    assert accuracy(model, planted.training.split("val")) > 0.95
    assert (linear_head(model).weight[:, -1] != 0).sum() <= 1  # "noise" says nothing


def test_one_against_the_rest_decides_the_same(planted):
    rest = fit("posthoc", planted.training, bank=planted.bank, nec=2, loss="one-vs-rest")

    assert accuracy(rest, planted.training.split("test")) > 0.97


def test_the_sparsest_head_within_one_standard_error_is_taken():
    s, y = torch.eye(2).repeat(50, 1), torch.tensor([0, 1] * 50)

    def head(weight):
        return Solution(torch.tensor(weight), torch.zeros(2), 1.0, 0.99, "multinomial", 0.0, 0.0, True)

    wrong = head([[0.0, 0.0], [0.0, 0.0]])  # half right
    sparse = head([[1.0, 0.0], [0.0, 0.1]])  # all right
    dense = head([[1.0, 0.5], [0.0, 1.0]])  # all right as well

    assert within_one_error([wrong, sparse, dense], s, y) is sparse


def test_a_concept_that_never_varies_is_not_used_and_said_so(planted):
    x = planted.training.x @ (torch.eye(24) - torch.outer(planted.bank.vectors[0], planted.bank.vectors[0]))

    model = fit("posthoc", replace(planted.training, x=x), bank=planted.bank, nec=2)

    assert model.scores(x)[:, 0].abs().max() == 0
    assert linear_head(model).weight[:, 0].abs().max() == 0
    assert "not used, being the same on every training image: striped" in model.recipe.notes[0]


def test_images_that_are_all_alike_teach_nothing(planted):
    with pytest.raises(DataError, match="no concept differs"):
        fit("posthoc", replace(planted.training, x=torch.ones_like(planted.training.x)), bank=planted.bank)


def test_pruning_the_background_costs_the_accuracy_that_leaned_on_it(planted):
    """The edit that the paper is about: a class without its concepts is no longer recognised, others are."""
    model = fit("posthoc", planted.training, bank=planted.bank, nec=2)

    pruned = apply(model, [PruneWeight(name, "wren") for name in planted.class_concepts["wren"]])

    test = planted.training.split("test")
    wrens = test.where((test.labels == 0).numpy())
    others = test.where((test.labels != 0).numpy())
    assert accuracy(model, wrens) > 0.95
    assert accuracy(pruned, wrens) < accuracy(model, wrens)
    assert accuracy(pruned, others) > 0.95


def test_embeddings_far_from_the_origin_lose_no_precision(planted):
    """CLIP's embeddings share a large common direction; standardising must not cancel it in single precision."""
    offset = 100 * torch.ones(24)

    near = fit("posthoc", planted.training, bank=planted.bank, nec=2)
    far = fit("posthoc", replace(planted.training, x=planted.training.x + offset), bank=planted.bank, nec=2)

    test = planted.training.split("test")
    assert torch.allclose(far.scores(test.x + offset), near.scores(test.x), atol=1e-2)
