"""Scripts on models and branches that they were not written for."""

import random

import pytest
import torch

from cbm.bottleneck import LinearBottleneck
from cbm.edits import (
    DropConcept,
    MergeConcepts,
    PruneWeight,
    RenameConcept,
    ScaleScore,
    SetScore,
    SetWeight,
    apply,
    dumps,
    loads,
)
from cbm.edits import TestTimeFix as Fix
from cbm.heads import LinearHead
from cbm.io import fingerprint
from cbm.model import ConceptModel, Recipe
from cbm.replay import Fate, brought_over, conflicts, replay

CONCEPTS, CLASSES = ("striped", "crested", "hooked", "long", "water"), ("wren", "teal", "kite")


def concept_model(seed: int, concepts: tuple[str, ...] = CONCEPTS) -> ConceptModel:
    g = torch.Generator().manual_seed(seed)
    k = len(concepts)
    bottleneck = LinearBottleneck(torch.randn(k, 4, generator=g), torch.randn(k, generator=g))
    head = LinearHead(torch.randn(3, k, generator=g), torch.randn(3, generator=g))
    return ConceptModel(concepts, CLASSES, bottleneck, head, Recipe("by hand"))


def random_script(seed: int):
    """A script that fits the model: names are followed through renames, drops and merges."""
    rng, names, script = random.Random(seed), list(CONCEPTS), []
    for step in range(rng.randint(1, 8)):
        one, two = rng.choice(names), rng.choice(names)
        number, class_ = round(rng.uniform(-3, 3), 3), rng.choice(CLASSES)
        kinds = [
            SetScore(one, number), ScaleScore(one, number), SetWeight(one, class_, number),
            PruneWeight(one, class_, True), PruneWeight(one), RenameConcept(one, f"name {step}"),
            Fix((one,), ((two, 2.0),) if one != two else (), ((one, number),)),
        ]  # fmt: skip
        if len(names) > 2:
            kinds += [DropConcept(one), *([MergeConcepts((one, two), f"both {step}")] if one != two else [])]
        script.append(rng.choice(kinds))
        match script[-1]:
            case RenameConcept(old, new):
                names[names.index(old)] = new
            case DropConcept(gone):
                names.remove(gone)
            case MergeConcepts((first, second), new):
                names = [new if name == first else name for name in names if name != second]
    return tuple(script)


def test_five_hundred_scripts_undo_replay_and_travel():
    base = concept_model(0)
    start = fingerprint(base)
    for seed in range(500):
        script = random_script(seed)
        edited = apply(base, script)

        assert apply(base, script[:0]) is base
        assert loads(dumps(script)) == script
        again = replay(base, loads(dumps(script)))
        assert not again.skipped
        assert fingerprint(again.model) == fingerprint(edited)
    assert fingerprint(base) == start


def test_a_retrained_model_keeps_what_applies_and_says_what_does_not():
    retrained = concept_model(1, ("striped", "hooked", "water"))
    script = (
        PruneWeight("water"), ScaleScore("crested", 2.0), RenameConcept("long", "long tail"), DropConcept("long tail"),
        PruneWeight("water"), SetWeight("striped", "owl", 1.0),
    )  # fmt: skip

    found = replay(retrained, script)

    assert [step.fate for step in found.steps] == [
        Fate.APPLIED, Fate.SKIPPED, Fate.SKIPPED, Fate.SKIPPED, Fate.NO_EFFECT, Fate.SKIPPED,
    ]  # fmt: skip
    assert "'crested'" in found.skipped[0].reason
    assert "'owl'" in found.skipped[-1].reason
    assert fingerprint(found.model) == fingerprint(apply(retrained, [PruneWeight("water"), PruneWeight("water")]))


def test_a_concept_renamed_here_and_pruned_there_is_a_conflict():
    left, right = (RenameConcept("water", "sea"),), (PruneWeight("water"),)

    (found,) = conflicts(left, right)

    assert (found.concept, found.left, found.right) == ("water", left[0], right[0])
    assert str(found) == "“water”: Rename “water” to “sea”, but prune “water” for every class"
    assert brought_over(left, right) == ()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (SetWeight("striped", "wren", 1.0), SetWeight("striped", "wren", 2.0)),
        (SetWeight("striped", "wren", 1.0), PruneWeight("striped")),
        (SetScore("striped", 1.0), ScaleScore("striped", 2.0)),
        (DropConcept("striped"), ScaleScore("striped", 2.0)),
        (MergeConcepts(("striped", "water"), "both"), PruneWeight("water")),
        (RenameConcept("striped", "barred"), RenameConcept("striped", "lined")),
        (RenameConcept("water", "sea"), RenameConcept("long", "sea")),
        (Fix(("striped",)), SetWeight("striped", "wren", 1.0)),
    ],
)
def test_wanting_different_things_of_one_concept_is_a_conflict_from_either_side(left, right):
    assert conflicts([left], [right])
    assert conflicts([right], [left])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (PruneWeight("striped"), PruneWeight("striped")),
        (SetWeight("striped", "wren", 1.0), SetWeight("striped", "teal", 2.0)),
        (SetWeight("striped", "wren", 1.0), SetWeight("water", "wren", 2.0)),
        (PruneWeight("striped", "wren"), ScaleScore("striped", 2.0)),
        (DropConcept("striped"), DropConcept("water")),
    ],
)
def test_what_can_follow_one_another_is_none(left, right):
    assert not conflicts([left], [right])


def test_a_later_edit_of_a_renamed_concept_is_known_by_its_first_name():
    left = (RenameConcept("water", "sea"), SetWeight("sea", "wren", 1.0))
    right = (SetWeight("water", "wren", 2.0),)

    assert {conflict.left for conflict in conflicts(left, right)} == set(left)


def test_edits_of_other_concepts_are_brought_over_and_equal_ones_are_not_repeated():
    left = (PruneWeight("water"), ScaleScore("striped", 2.0))
    right = (PruneWeight("water"), RenameConcept("hooked", "bent"), SetWeight("bent", "kite", 1.0))

    over = brought_over(left, right)

    assert over == right[1:]
    apply(concept_model(0), (*left, *over))


def test_what_builds_on_a_refused_edit_is_left_out_too():
    left = (DropConcept("water"),)
    right = (MergeConcepts(("water", "long"), "wet"), SetWeight("wet", "wren", 1.0), PruneWeight("striped"))

    assert brought_over(left, right) == (PruneWeight("striped"),)


def test_any_two_branches_can_be_brought_together():
    base = concept_model(0)
    for seed in range(200):
        left, right = random_script(seed), random_script(seed + 5000)

        over = brought_over(left, right)

        found = replay(apply(base, left), over)
        assert not found.skipped, (left, right, over, found.skipped)
