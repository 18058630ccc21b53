"""Intervention curves against closed forms: where they end, what bounds them, and which concept comes first."""

from dataclasses import replace

import pytest
import torch

from cbm.bottleneck import Clamp, LinearBottleneck
from cbm.errors import DataError, PellucidError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from probes.corrections import mistaken, true_scores, typical_scores
from probes.interventions import POLICIES, ask_next, intervention_curve


@pytest.fixture(scope="module")
def model(planted):
    """The planted concepts; a class is its own two concepts, and a residual that knows nothing."""
    weight = torch.zeros(4, len(planted.bank.names))
    for c, pair in enumerate(planted.class_concepts.values()):
        weight[c, [planted.bank.names.index(concept) for concept in pair]] = 3.0
    residual = 0.5 * torch.randn(4, planted.bank.vectors.shape[1], generator=torch.Generator().manual_seed(0))
    return ConceptModel(
        concepts=planted.bank.names,
        classes=planted.training.classes,
        bottleneck=LinearBottleneck(planted.bank.vectors, planted.bank.intercepts),
        head=LinearHead(weight, torch.zeros(4), residual),
        recipe=Recipe("planted"),
    )


def accuracy(model, images, clamp=None):
    return float((model.predict(images.x, clamp) == images.labels).double().mean())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_curve_starts_at_the_models_accuracy_and_ends_at_that_of_the_true_scores(model, planted, policy):
    test = planted.training.split("test")
    truth = true_scores(model, planted.training)
    values = truth.of(test.concept_labels)

    curve = intervention_curve(model, planted.training, policy=policy)

    assert len(curve.accuracy) == curve.concepts + 1 == 10
    assert curve.accuracy[0].value == accuracy(model, test)
    assert curve.accuracy[-1].value == accuracy(model, test, Clamp(~values.isnan(), values.nan_to_num()))


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_beats_the_bound(model, planted, policy):
    greedy, other = (intervention_curve(model, planted.training, policy=p) for p in ("greedy", policy))
    pairs = [(a.value, b.value) for a, b in zip(greedy.accuracy, other.accuracy, strict=True)]

    one_image = 1 / greedy.n
    assert pairs[1][0] >= pairs[1][1]  # exact after one: right if any correction makes it so
    assert all(a >= b - one_image for a, b in pairs)  # looking one step ahead is not the best of all orders


def test_random_depends_on_its_seed_alone(model, planted):
    curves = [intervention_curve(model, planted.training, policy="random", seed=seed) for seed in (1, 1, 2)]

    assert curves[0] == curves[1]
    assert curves[0].accuracy != curves[2].accuracy


def test_the_area_is_the_trapezium_of_the_accuracies(model, planted):
    curve = intervention_curve(model, planted.training, policy="uncertainty", steps=4)
    a = [point.value for point in curve.accuracy]

    assert curve.area.value == pytest.approx((a[0] / 2 + a[1] + a[2] + a[3] + a[4] / 2) / 4)
    assert curve.area.low <= curve.area.value <= curve.area.high


def test_without_steps_the_area_is_the_accuracy(model, planted):
    curve = intervention_curve(model, planted.training, policy="coop", steps=0)

    assert curve.area.value == pytest.approx(curve.accuracy[0].value)


@pytest.mark.parametrize("policy", ["contribution", "coop", "expected"])
def test_the_one_decisive_concept_is_asked_first(model, planted, policy):
    weight = torch.zeros(4, 9)
    weight[:, 2] = torch.tensor([4.0, -4.0, -4.0, -4.0])
    one = replace(model, head=LinearHead(weight, torch.zeros(4)))

    values = [point.value for point in intervention_curve(one, planted.training, policy=policy).accuracy]

    assert values[1:] == [values[-1]] * 9  # nothing after the first correction matters


def test_uncertainty_is_of_probabilities_and_not_of_scores(model, planted):
    scaled = torch.ones(9)
    scaled[3] = 1e-3  # so small a score looks uncertain, but is as telling as before
    bottleneck = LinearBottleneck(planted.bank.vectors * scaled[:, None], planted.bank.intercepts)
    small = replace(model, bottleneck=bottleneck, head=replace(model.head, weight=model.head.weight / scaled))

    before, after = (intervention_curve(m, planted.training, policy="uncertainty") for m in (model, small))

    pairs = zip(before.accuracy, after.accuracy, strict=True)
    assert max(abs(a.value - b.value) for a, b in pairs) <= 1 / before.n  # a tie may fall the other way


def test_what_nobody_annotated_is_never_asked(model, planted):
    labels = planted.training.concept_labels.clone()
    labels[torch.from_numpy(planted.training.splits == "test"), 1:] = torch.nan
    data = replace(planted.training, concept_labels=labels)

    values = [point.value for point in intervention_curve(model, data, policy="random").accuracy]

    assert values[1:] == [values[1]] * 9


def test_a_split_without_annotations_and_an_unknown_policy_are_refused(model, planted):
    labels = planted.training.concept_labels.clone()
    labels[torch.from_numpy(planted.training.splits == "test")] = torch.nan

    with pytest.raises(DataError, match="no image of the split 'test'"):
        intervention_curve(model, replace(planted.training, concept_labels=labels), policy="coop")
    with pytest.raises(PellucidError, match="greedi"):
        intervention_curve(model, planted.training, policy="greedi")


def two_concepts(model, planted, x):
    """A model in which only the first concept decides between two classes, its answers, and an image."""
    weight = torch.zeros(4, 9)
    weight[0, 0] = 1.0
    only = replace(model, head=LinearHead(weight, torch.tensor([0.0, 0.0, -60.0, -60.0])))
    return only, true_scores(only, planted.training), x


def test_the_expected_change_weighs_both_answers(model, planted):
    only, answers, x = two_concepts(model, planted, planted.bank.vectors[0] * 0.3)

    (first,) = ask_next(only, x, answers, count=1)

    sigmoid = torch.sigmoid
    now, yes, no = sigmoid(torch.tensor(0.3)), sigmoid(answers.present[0]), sigmoid(answers.absent[0])
    p = float(answers.probability(only.scores(x[None]))[0, 0])
    assert (first.concept, first.if_present) == (planted.bank.names[0], planted.training.classes[0])
    assert first.probability == pytest.approx(p)
    assert first.change == pytest.approx(float(p * (yes - now).abs() + (1 - p) * (no - now).abs()), abs=1e-5)


def test_what_was_said_is_not_asked_again(model, planted):
    only, answers, x = two_concepts(model, planted, planted.training.x[0])
    first = ask_next(only, x, answers, count=1)[0].concept

    rest = ask_next(only, x, answers, said={first: 1.0}, count=20)

    assert first not in {question.concept for question in rest}
    assert len(rest) == 8
    assert all(question.change == pytest.approx(0.0, abs=1e-6) for question in rest)


def heights(curve):
    return [point.value for point in curve.accuracy]


def without_residual(model):
    return replace(model, head=LinearHead(model.head.weight, model.head.bias))


def test_one_group_of_all_is_one_question_with_the_answer_to_all(model, planted):
    alone = intervention_curve(model, planted.training, policy="random")
    together = intervention_curve(model, planted.training, policy="random", groups={"all": list(model.concepts)})

    assert heights(together) == [heights(alone)[0], heights(alone)[-1]]
    assert (together.questions, together.concepts) == (1, 9)


@pytest.mark.parametrize("policy", POLICIES)
def test_groups_of_one_are_the_concepts(model, planted, policy):
    alone = intervention_curve(model, planted.training, policy=policy)
    groups = {f"about {name}": [name] for name in model.concepts}

    assert heights(intervention_curve(model, planted.training, policy=policy, groups=groups)) == heights(alone)


def test_an_expert_who_is_always_wrong_answers_the_opposite(model, planted):
    labels = planted.training.concept_labels.clone()
    test = torch.from_numpy(planted.training.splits == "test")
    labels[test] = 1 - labels[test]
    opposite = replace(planted.training, concept_labels=labels)

    wrong = intervention_curve(model, planted.training, policy="uncertainty", error=1.0)

    assert heights(wrong) == heights(intervention_curve(model, opposite, policy="uncertainty"))
    assert wrong.error == 1.0


def test_errors_come_at_their_rate_and_only_where_somebody_annotated():
    labels = torch.zeros(2000, 10)
    labels[:, 0] = torch.nan

    wrong = mistaken(labels, 0.2, seed=3)

    assert wrong[:, 0].isnan().all()
    assert float(wrong[:, 1:].mean()) == pytest.approx(0.2, abs=4 * (0.16 / 18_000) ** 0.5)
    assert torch.equal(mistaken(labels, 0.2, seed=3)[:, 1:], wrong[:, 1:])


def test_where_everything_costs_two_the_curve_is_the_same_at_twice_the_cost(model, planted):
    plain = intervention_curve(model, planted.training, policy="coop")
    dear = intervention_curve(model, planted.training, policy="coop", costs=dict.fromkeys(model.concepts, 2.0))

    assert heights(dear) == heights(plain)
    assert dear.spent == tuple(2 * spent for spent in plain.spent) == tuple(float(2 * i) for i in range(10))


def test_what_costs_more_than_the_budget_is_not_corrected(model, planted):
    weight = torch.zeros(4, 9)
    weight[:, 2] = torch.tensor([4.0, -4.0, -4.0, -4.0])  # nothing else matters
    one = replace(model, head=LinearHead(weight, torch.zeros(4)))
    costs = {model.concepts[2]: 1000.0}

    short, whole = (
        heights(intervention_curve(one, planted.training, policy="coop", costs=costs, steps=s)) for s in (8, None)
    )

    assert short == [short[0]] * 9
    assert whole[-1] == heights(intervention_curve(one, planted.training, policy="coop"))[-1]


def test_to_unknown_all_images_end_alike(model, planted):
    bare = without_residual(model)
    train, test = planted.training.split("train"), planted.training.split("test")
    decided = int(bare.head(bare.scores(train.x).mean(0, keepdim=True), train.x[:1]).argmax())

    curve = intervention_curve(bare, planted.training, policy="contribution", to="unknown")

    assert heights(curve)[-1] == float((test.labels == decided).double().mean())


def test_class_conditional_scores_are_those_of_training_images_annotated_alike(model, planted):
    data, answers = planted.training, true_scores(model, planted.training, edge=0.5)
    test, train = data.split("test"), data.split("train")

    found = typical_scores(model, data, answers, test.concept_labels, test.labels, edge=0.5)

    scores = model.scores(train.x)
    for i in range(0, len(test.labels), 7):
        for j in range(len(answers.columns)):
            said = test.concept_labels[i, answers.annotated[j]]
            alike = (train.labels == test.labels[i]) & (train.concept_labels[:, answers.annotated[j]] == said)
            seen = sorted(scores[alike, answers.columns[j]].tolist())
            expected = seen[round(0.5 * (len(seen) - 1))] if len(seen) >= 5 else answers.of(test.concept_labels)[i, j]
            assert float(found[i, j]) == pytest.approx(float(expected))


def test_what_makes_no_sense_is_refused(model, planted):
    for wrong in ({"to": "yes"}, {"error": 1.5}, {"error": 0.1, "to": "unknown"}, {"costs": {"nothing": 1.0}},
                  {"costs": {model.concepts[0]: 0.0}}, {"groups": {"a": [model.concepts[0]], "b": [model.concepts[0]]}}):  # fmt: skip
        with pytest.raises(PellucidError):
            intervention_curve(model, planted.training, policy="coop", **wrong)
