import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, f1_score, roc_auc_score

from cbm.bottleneck import LinearBottleneck
from cbm.edits import DropConcept, apply
from cbm.errors import Cancelled, DataError, EncoderError, UnknownName
from cbm.heads import LinearHead
from cbm.methods import fit
from cbm.model import ConceptModel, Recipe
from cbm.training_set import TrainingSet
from probes import evaluate
from probes.intervals import wilson
from probes.metrics import concept_auroc_mean
from probes.tables import decide

CONTROLS = ("linear_probe_accuracy", "random_concept_accuracy", "shuffled_label_accuracy")


def mirror(k: int, *, sharp: float = 1.0, residual=None) -> ConceptModel:
    """A model whose logits are the embedding itself, so that a test sets them by hand."""
    return ConceptModel(
        tuple(f"concept {i}" for i in range(k)),
        tuple(f"class {i}" for i in range(k)),
        LinearBottleneck(torch.eye(k), torch.zeros(k)),
        LinearHead(sharp * torch.eye(k), torch.zeros(k), residual),
        Recipe("by hand"),
    )


def images(x, labels, **fields) -> TrainingSet:
    x = torch.as_tensor(x, dtype=torch.float32)
    n, k = x.shape
    parts = {
        "classes": tuple(f"class {i}" for i in range(k)),
        "splits": np.full(n, "test"),
        "ids": tuple(str(i) for i in range(n)),
    }
    return TrainingSet(x=x, labels=torch.as_tensor(labels), **(parts | fields))


@pytest.fixture
def noisy():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    x = np.eye(4)[labels] + rng.normal(size=(300, 4))
    concept_labels = (x + rng.normal(size=x.shape) > 0.5).astype(np.float32)
    concept_labels[rng.random(x.shape) < 0.2] = np.nan
    return images(
        x, labels, concepts=tuple(f"Concept {i}" for i in range(4)), concept_labels=torch.from_numpy(concept_labels),
        groups=tuple(rng.choice(["water", "land", ""], 300)),
    )  # fmt: skip


def test_accuracy_is_counted_with_wilsons_interval(noisy):
    measured = evaluate(mirror(4), noisy, controls=False)

    hits = int((noisy.x.argmax(1) == noisy.labels).sum())
    assert measured.metrics["accuracy"] == wilson(hits, 300)
    assert (measured.split, measured.n) == ("test", 300)


def test_task_metrics_are_scikit_learns(noisy):
    metrics = evaluate(mirror(4), noisy, controls=False).metrics

    truth, predicted = noisy.labels.numpy(), noisy.x.argmax(1).numpy()
    assert metrics["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert metrics["macro_f1"].value == pytest.approx(f1_score(truth, predicted, average="macro"))
    p = noisy.x.double().softmax(1).numpy()
    assert metrics["brier"].value == pytest.approx(brier_score_loss(truth, p, labels=range(4), scale_by_half=False))


def test_the_calibration_error_by_hand():
    """Four images at confidence 0.8 of which three are right, and one at 0.6 that is wrong: (4 x 0.05 + 0.6) / 5."""

    def logits(confidence):
        return [float(np.log(confidence / (1 - confidence))), 0.0]

    data = images([logits(0.8)] * 4 + [logits(0.6)], [0, 0, 0, 1, 1])

    assert evaluate(mirror(2), data, controls=False).metrics["ece"].value == pytest.approx(0.16, abs=1e-6)


def test_a_sure_and_right_model_is_calibrated_and_a_sure_and_wrong_one_is_not():
    x = 100 * np.eye(2)[[0, 1, 0, 1]]

    right = evaluate(mirror(2), images(x, [0, 1, 0, 1]), controls=False).metrics
    wrong = evaluate(mirror(2), images(x, [1, 0, 1, 0]), controls=False).metrics

    assert (right["ece"].value, right["brier"].value) == (pytest.approx(0), pytest.approx(0))
    assert (wrong["ece"].value, wrong["brier"].value) == (pytest.approx(1), pytest.approx(2))
    assert wrong["accuracy"].value == wrong["macro_f1"].value == 0


def test_the_concepts_mean_auroc_is_that_of_each_on_its_known_labels(noisy):
    metrics = evaluate(mirror(4), noisy, controls=False).metrics

    each = []
    for k in range(4):
        known = ~noisy.concept_labels[:, k].isnan()
        each.append(roc_auc_score(noisy.concept_labels[known, k], noisy.x[known, k]))
    assert metrics["concept_auroc_mean"].value == pytest.approx(np.mean(each))


def test_the_interval_of_the_concepts_mean_auroc_covers_the_truth():
    """Shifted normal scores: the true AUROC is known, and 95 % intervals must hold it in about 95 of 100 worlds."""
    true = 0.7602499  # Phi(1 / sqrt 2)
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shown = rng.integers(0, 2, (60, 2))
        data = images(
            rng.normal(size=(60, 2)) + shown, rng.integers(0, 2, 60), concepts=("concept 0", "concept 1"),
            concept_labels=torch.from_numpy(shown).float(),
        )  # fmt: skip
        estimate = concept_auroc_mean(mirror(2), decide(mirror(2), data, "test"), 0)
        held += estimate.low <= true <= estimate.high
    assert 88 <= held <= 100


def test_groups_come_worst_first_and_the_worst_is_the_metric(noisy):
    measured = evaluate(mirror(4), noisy, controls=False)

    hit = (noisy.x.argmax(1) == noisy.labels).numpy()
    groups = np.array(noisy.groups)
    by_hand = {g: hit[groups == g].mean() for g in ("water", "land")}
    assert {row.group: row.accuracy.value for row in measured.groups} == pytest.approx(by_hand)
    assert measured.metrics["worst_group_accuracy"] == measured.groups[0].accuracy
    assert measured.groups[0].accuracy.value == min(by_hand.values())
    assert measured.groups[0].accuracy.n == int((groups == measured.groups[0].group).sum())


def test_the_worst_group_is_one_of_ten_images_or_more_and_the_others_are_named():
    x = np.eye(2)[[0] * 12 + [1] * 3]
    groups = ("large",) * 12 + ("small",) * 3

    measured = evaluate(mirror(2), images(x, [0] * 12 + [0] * 3, groups=groups), controls=False)

    worst = measured.metrics["worst_group_accuracy"]
    assert (worst.value, worst.n) == (1, 12)
    assert measured.notes == {"worst_group_accuracy": "left out, with fewer than 10 images: small (3)"}
    assert [row.group for row in measured.groups] == ["small", "large"]


def test_without_a_large_group_there_is_no_worst_one():
    measured = evaluate(mirror(2), images(np.eye(2), [0, 1], groups=("a", "b")), controls=False)

    assert measured.not_computed["worst_group_accuracy"] == ("no group has 10 images in this split; the largest has 1")
    assert not measured.notes


def test_a_split_of_one_class_is_measured_as_far_as_it_goes():
    data = images(np.eye(3)[[0, 0, 1]], [0, 0, 0], concepts=("concept 0",), concept_labels=torch.ones(3, 1))

    measured = evaluate(mirror(3), data, controls=False)

    assert measured.metrics["accuracy"].value == measured.metrics["balanced_accuracy"].value == pytest.approx(2 / 3)
    assert measured.metrics["macro_f1"].value == pytest.approx(0.4)  # 0.8 for class 0, 0 for class 1, class 2 is absent
    assert measured.not_computed["concept_auroc_mean"] == "no annotated concept has images of both sides in this split"


def test_what_cannot_be_computed_has_a_reason():
    measured = evaluate(mirror(2), images(np.eye(2), [0, 1]), controls=False)

    absent = {"worst_group_accuracy", "concept_auroc_mean", "residual_share", "anec_5", "anec_avg"}
    absent |= {"random_anec_5", "random_anec_avg"}
    assert set(measured.not_computed) == {*absent, *CONTROLS}
    assert not set(measured.not_computed) & set(measured.metrics)
    assert all(measured.not_computed.values())


def test_the_number_of_effective_concepts_by_hand():
    model = replace(mirror(2), head=LinearHead(torch.tensor([[1.0, 1e-6], [0.5, -2.0]]), torch.zeros(2)))

    assert evaluate(model, images(np.eye(2), [0, 1]), controls=False).metrics["nec"].value == 1.5


def test_the_residuals_share_by_hand():
    """Logits are s + residual; for two classes with opposite signs, 1 / (1 + 2)^2 of the variance is the residual's."""
    x = np.array([[1.0, -1.0], [-1.0, 1.0]] * 5)
    model = mirror(2, sharp=2.0, residual=torch.eye(2))

    assert evaluate(model, images(x, [0, 1] * 5), controls=False).metrics["residual_share"].value == pytest.approx(
        1 / 9
    )


def test_an_empty_split_says_which_have_images(noisy):
    with pytest.raises(UnknownName) as caught:
        evaluate(mirror(4), noisy, split="val", controls=False)

    assert "test" in caught.value.hint


def test_classes_are_matched_by_name_not_by_position():
    data = images(np.eye(2), [1, 0], classes=("class 1", "class 0"))

    assert evaluate(mirror(2), data, controls=False).metrics["accuracy"].value == 1


def test_images_of_an_unknown_class_are_refused():
    with pytest.raises(DataError, match="'owl', which the model does not have"):
        evaluate(mirror(2), images(np.eye(2), [1, 0], classes=("owl", "class 0")), controls=False)


def test_embeddings_of_another_encoder_are_refused():
    model = replace(mirror(2), recipe=Recipe("by hand", contract="one", encoder_id="one"))

    with pytest.raises(EncoderError, match="embeddings of one, these are of two"):
        evaluate(model, images(np.eye(2), [0, 1], contract="two", encoder_id="two"), controls=False)


def test_the_same_seed_gives_the_same_numbers(noisy):
    assert evaluate(mirror(4), noisy, controls=False) == evaluate(mirror(4), noisy, controls=False)


def test_json_has_the_keys_that_other_programs_rely_on(noisy):
    record = json.loads(json.dumps(evaluate(mirror(4), noisy, controls=False).to_json(), allow_nan=False))

    assert set(record) == {"split", "n", "metrics", "not_computed", "groups", "notes"}
    assert set(record["metrics"]["accuracy"]) == {"value", "low", "high", "n"}
    assert set(record["groups"][0]) == {"group", "value", "low", "high", "n"}


@pytest.fixture(scope="module")
def posthoc(planted):
    return fit("posthoc", planted.training, bank=planted.bank, nec=2)


def test_controls_know_the_planted_answer(planted, posthoc):
    metrics = evaluate(posthoc, planted.training).metrics

    assert metrics["linear_probe_accuracy"].value > 0.97
    assert metrics["accuracy"].value > 0.97
    assert metrics["random_concept_accuracy"].value < metrics["accuracy"].value - 0.03
    chance = metrics["shuffled_label_accuracy"]
    assert chance.low < 0.25 + 0.1
    assert chance.value < 0.45


def test_controls_of_an_edited_model_are_those_of_its_base(planted, posthoc):
    edited = apply(posthoc, [DropConcept("noise")])

    base, after = (evaluate(model, planted.training).metrics for model in (posthoc, edited))

    assert after["linear_probe_accuracy"] == base["linear_probe_accuracy"]


def test_without_training_images_controls_are_not_computed_and_the_rest_is(planted, posthoc):
    measured = evaluate(posthoc, planted.training.split("test"))

    assert measured.metrics["accuracy"].value > 0.97
    for name in CONTROLS:
        assert measured.not_computed[name] == "there is no image in the split 'train'"


def test_progress_runs_from_nought_to_one_and_may_stop(planted, posthoc):
    seen: list[float] = []

    evaluate(posthoc, planted.training, on_progress=lambda fraction, message: seen.append(fraction))

    assert (seen[0], seen[-1]) == (0, 1)
    assert seen == sorted(seen)

    def stop(fraction, message):
        if fraction > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(posthoc, planted.training, on_progress=stop)


def test_a_yardstick_says_why_it_has_no_controls_of_its_own(planted):
    probe = fit("linear-probe", planted.training)

    absent = evaluate(probe, planted.training).not_computed

    assert absent["random_concept_accuracy"] == "the method linear-probe takes no concept bank that could be random"
    assert absent["nec"] == "the model has no concepts"
