"""The planted world: confounders that carry another pattern of the classes, faint concepts, and nothing else."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression

from cbm.adapt import FixConfig, Verdict, find_fix
from cbm.bottleneck import LinearBottleneck
from cbm.edits import apply, dumps, loads
from cbm.errors import DataError
from cbm.gate import fit_gate
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.shift import measure_shift, source_statistics

CLASSES, CONCEPTS = 5, 20


@dataclass(frozen=True)
class Planted:
    model: ConceptModel
    prototypes: np.ndarray
    elsewhere: np.ndarray
    confounders: frozenset
    faint: frozenset
    source: object
    train: torch.Tensor
    labels: torch.Tensor
    rng: np.random.Generator

    def draw(self, per_class, *, shifted=True, noise=2.2):
        y = np.repeat(np.arange(CLASSES), per_class)
        z = 1.2 * self.prototypes[y] + noise * self.rng.normal(size=(len(y), CONCEPTS))
        if shifted:
            away, weak = sorted(self.confounders), sorted(self.faint)
            carried = 3 * 1.2 * self.prototypes[self.elsewhere[y]][:, away]
            z[:, away] = carried + noise * self.rng.normal(size=carried.shape)
            z[:, weak] *= 0.2
        return torch.tensor(z, dtype=torch.float32), torch.tensor(y)

    def names(self, positions):
        return {self.model.concepts[k] for k in positions}


def planted(seed: int) -> Planted:
    rng = np.random.default_rng(seed)
    prototypes = np.ones((CLASSES, CONCEPTS))
    while min((a != b).sum() for i, a in enumerate(prototypes) for b in prototypes[:i]) < 4:
        prototypes = 2.0 * (rng.random((CLASSES, CONCEPTS)) < 0.35) - 1
    elsewhere = np.arange(CLASSES)
    while (elsewhere == np.arange(CLASSES)).any():
        elsewhere = rng.permutation(CLASSES)
    drawn = rng.permutation(CONCEPTS)
    model = ConceptModel(
        tuple(f"concept {k}" for k in range(CONCEPTS)),
        tuple(f"class {c}" for c in range(CLASSES)),
        LinearBottleneck(torch.eye(CONCEPTS), torch.zeros(CONCEPTS)),
        LinearHead(torch.zeros(CLASSES, CONCEPTS), torch.zeros(CLASSES)),
        Recipe("planted"),
    )
    world = Planted(model, prototypes, elsewhere, frozenset(drawn[:2].tolist()), frozenset(drawn[2:4].tolist()),
                    None, torch.zeros(0), torch.zeros(0), rng)  # fmt: skip
    x, y = world.draw(100, shifted=False)
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit(x.numpy(), y.numpy())
    head = LinearHead(torch.tensor(fitted.coef_).float(), torch.tensor(fitted.intercept_).float())
    return replace(world, model=replace(model, head=head), source=source_statistics(x, y, CLASSES), train=x, labels=y)


def accuracy(model, images):
    return 100 * float((model.predict(images[0]) == images[1]).double().mean())


def outcomes(per_class, *, shifted, seeds=25):
    """One row a seed: gain, recall of the confounders, false masks, faint concepts amplified, other concepts amplified."""
    rows = []
    for seed in range(seeds):
        world = planted(seed)
        support, target = world.draw(per_class, shifted=shifted), world.draw(200, shifted=shifted)
        fix = find_fix(world.model, *support, world.source)
        masked, amplified = set(fix.masked), set(fix.amplified)
        gain = accuracy(apply(world.model, fix.edits), target) - accuracy(world.model, target)
        bad, weak = world.names(world.confounders), world.names(world.faint)
        rows.append((gain, len(masked & bad) / 2, len(masked - bad), len(amplified & weak) / 2, len(amplified - weak)))
    return np.array(rows)


def test_four_images_a_class_find_the_confounders_and_bring_back_the_accuracy():
    gain, recall, false, _, wrong = outcomes(4, shifted=True).T

    assert gain.mean() >= 8
    assert gain.min() >= -1.5
    assert recall.mean() >= 0.6
    assert false.mean() <= 0.3
    assert wrong.mean() <= 0.1  # other concepts amplified


def test_confounders_stand_out_before_anything_else():
    hits = []
    for seed in range(25):
        world = planted(seed)
        shift = measure_shift(*world.draw(4), world.source)
        hits.append(set(np.argsort(-shift.deviation)[:2].tolist()) == world.confounders)
    assert np.mean(hits) >= 0.95


@pytest.mark.parametrize("per_class", [1, 4, 16])
def test_without_a_shift_next_to_nothing_is_masked(per_class):
    gain, _, false, _, amplified = outcomes(per_class, shifted=False, seeds=15).T

    assert false.mean() <= 0.2
    assert abs(gain.mean()) <= 0.5
    assert gain.min() >= -4
    assert amplified.mean() <= 0.1


def test_sixteen_images_a_class_find_faint_concepts_and_no_others():
    _, _, _, found, wrong = outcomes(16, shifted=True, seeds=15).T

    assert found.mean() >= 0.4
    assert wrong.mean() <= 0.1


def test_the_deviation_is_chi_square_when_nothing_has_moved():
    world = planted(0)
    p = np.concatenate([measure_shift(*world.draw(4, shifted=False), world.source).p for _ in range(60)])

    assert stats.kstest(p, "uniform").statistic < 0.06  # 1,200 p-values; the source means are themselves estimates


def test_no_finding_is_no_edit_and_the_same_bits():
    world = planted(0)
    fix = find_fix(world.model, *world.draw(4, shifted=False), world.source, FixConfig(q=1e-6))

    assert fix.edits == ()
    assert apply(world.model, fix.edits) is world.model
    assert {e.gain for e in fix.evidence} == {1.0}


def test_a_masked_concept_counts_as_its_neutral_score():
    world = planted(0)
    fix = find_fix(world.model, *world.draw(8), world.source)
    x, _ = world.draw(3)
    masked = [world.model.concept(name) for name in fix.masked]
    neutral = x.clone()
    neutral[:, masked] = torch.tensor(world.source.neutral[masked]).float()
    for name, gain in fix.amplified.items():
        k = world.model.concept(name)
        neutral[:, k] = float(world.source.neutral[k]) + gain * (neutral[:, k] - float(world.source.neutral[k]))

    assert masked
    torch.testing.assert_close(apply(world.model, fix.edits).logits(x), world.model.logits(neutral), atol=1e-4, rtol=0)
    assert loads(dumps(fix.edits)) == fix.edits


def test_confusions_add_up_to_the_change_of_the_soft_margin():
    world = planted(1)
    x, y = world.draw(4)
    fix = find_fix(world.model, x, y, world.source)

    logits = world.model.logits(x).double()
    rows = torch.arange(len(y))
    difficulty = 1 - logits.softmax(1)[rows, y]
    rivals = logits.clone()
    rivals[rows, y] = -torch.inf
    rivals = rivals.softmax(1)
    usual = torch.tensor(world.source.means)[y]
    typical = world.model.logits(usual.float()).double()
    margin = ((rivals * logits).sum(1) - logits[rows, y]) - ((rivals * typical).sum(1) - typical[rows, y])
    expected = float((difficulty * margin).sum() / difficulty.sum())

    assert sum(e.confusion for e in fix.evidence) == pytest.approx(expected, abs=1e-5)


def test_relabelling_concepts_permutes_the_answer():
    world = planted(2)
    support = world.draw(4)
    order = np.random.default_rng(0).permutation(CONCEPTS)
    head = replace(world.model.head, weight=world.model.head.weight[:, order])
    turned = replace(world.model, concepts=tuple(world.model.concepts[k] for k in order), head=head)
    source = replace(world.source, means=world.source.means[:, order], spread=world.source.spread[order])

    before = {e.concept: e for e in find_fix(world.model, *support, world.source).evidence}
    after = {e.concept: e for e in find_fix(turned, support[0][:, order], support[1], source).evidence}

    assert {name: (e.verdict, e.gain) for name, e in before.items()} == {
        name: (e.verdict, e.gain) for name, e in after.items()
    }


def test_showing_every_image_twice_changes_no_profile():
    world = planted(3)
    x, y = world.draw(4)
    once, twice = measure_shift(x, y, world.source), measure_shift(x.repeat(2, 1), y.repeat(2), world.source)

    for name in ("slope", "agreement", "rise", "fall", "peak"):
        np.testing.assert_allclose(getattr(once, name), getattr(twice, name), atol=1e-12)


def test_rise_and_fall_say_which_side_of_a_concept_has_moved():
    source = replace(planted(0).source, means=np.array([[1.0], [1.0], [-1.0], [-1.0], [-1.0]]), spread=np.ones(1))
    x = torch.tensor([[0.5], [0.5], [0.0], [0.0], [0.0]])
    shift = measure_shift(x, torch.arange(5), source)

    assert float(shift.rise[0]) == pytest.approx(0.5)  # absent: from -1 to 0 of a distance of 2
    assert float(shift.fall[0]) == pytest.approx(0.25)  # present: from 1 to 0.5
    assert float(shift.peak[0]) == pytest.approx(0.5)


def test_a_concept_that_rises_where_it_should_be_absent_is_misactivated_though_its_pattern_stays():
    """Present in the first two classes; elsewhere it rises half of the way, so its pattern agrees as before."""
    world = planted(5)
    k = 3
    means = world.source.means.copy()
    means[:, k] = [3.0, 3.0, -3.0, -3.0, -3.0]
    source = replace(world.source, means=means, spread=np.where(np.arange(CONCEPTS) == k, 1.0, world.source.spread))
    x, y = world.draw(4, shifted=False)
    for here, verdict in (([3.0, 3.0, 0, 0, 0], Verdict.MISACTIVATED), ([0.0, 0, -3, -3, -3], Verdict.UNDER_ACTIVATED)):
        x[:, k] = torch.tensor(here)[y] + 0.1 * torch.tensor(world.rng.normal(size=len(y))).float()
        found = find_fix(world.model, x, y, source).evidence[k]
        assert found.agreement > 0.99
        assert found.verdict is verdict


def test_a_confounder_that_follows_its_old_pattern_faintly_is_not_amplified():
    """Slope between 0 and 0.6, but another pattern: what looks faint is misleading."""
    world = planted(4)
    k = min(world.confounders)
    mixed = 0.3 * world.source.means[:, k] + 2.0 * np.roll(world.source.means[:, k], 1)
    support = world.draw(16, shifted=False)
    support[0][:, k] = torch.tensor(mixed[support[1]] + 0.5 * world.rng.normal(size=len(support[1]))).float()

    evidence = find_fix(world.model, *support, world.source).evidence[k]

    assert evidence.gain <= 1
    assert evidence.verdict is not Verdict.UNDER_ACTIVATED


def test_the_gate_keeps_the_source_and_opens_for_the_new_place():
    opened = []
    for seed in range(6):
        world = planted(seed)
        support, target, held = world.draw(8), world.draw(200), world.draw(200, shifted=False)
        fix = find_fix(world.model, *support, world.source)
        changed = np.array([k for k, e in enumerate(fix.evidence) if e.gain != 1])
        gate = fit_gate(changed, *support, world.train, world.source)
        opened.append((gate.opens(held[0]).mean(), gate.opens(target[0]).mean()))
    source, there = np.mean(opened, axis=0)

    assert source <= 0.02
    assert there >= 5 * source


def test_a_class_that_is_missing_from_the_support_does_no_harm():
    world = planted(0)
    x, y = world.draw(4)
    fix = find_fix(world.model, x[y != 2], y[y != 2], world.source)

    assert all(np.isfinite([e.p, e.slope, e.agreement, e.confusion]).all() for e in fix.evidence)


def test_a_constant_concept_is_never_found():
    world = planted(0)
    x, y = world.draw(4)
    x[:, 0] = 0.0
    constant = replace(
        world.source,
        means=np.where(np.arange(CONCEPTS) == 0, 0.0, world.source.means),
        spread=np.where(np.arange(CONCEPTS) == 0, 0.0, world.source.spread),
    )
    found = find_fix(world.model, x, y, constant).evidence[0]

    assert (found.p, found.gain, found.verdict) == (1.0, 1.0, Verdict.STEADY)


def test_what_cannot_be_compared_is_refused():
    world = planted(0)
    x, y = world.draw(2)
    with pytest.raises(DataError, match="fewer than two classes"):
        find_fix(world.model, x[y == 1], y[y == 1], world.source)
    with pytest.raises(DataError, match="no image from the new place"):
        find_fix(world.model, x[:0], y[:0], world.source)
    with pytest.raises(DataError, match="the model has 20 and 5"):
        find_fix(
            world.model, x, y, replace(world.source, means=world.source.means[:, :3], spread=world.source.spread[:3])
        )
    with pytest.raises(DataError, match="1 of 5 classes"):
        source_statistics(x[y > 0], y[y > 0], CLASSES)
