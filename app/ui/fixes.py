"""What the screen of test-time fixes computes, kept between runs: source statistics, what was found, how good it is."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
import torch

from app.ui.loaded import Scene
from app.ui.previews import live_after
from cbm.edits import Edit, dumps

if TYPE_CHECKING:
    from cbm.adapt import Fix
    from cbm.shift import SourceStatistics
    from cbm.training_set import TrainingSet
    from probes.fixes import FixReport, NullCheck
    from probes.intervals import Estimate


def support_key(scene: Scene, given: "TrainingSet") -> str:
    """Differs whenever the model, the data or the support images do."""
    named = "\n".join(f"{id}\t{label}" for id, label in zip(given.ids, given.labels.tolist(), strict=True))
    return f"{scene.key}|{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def found_fix(scene: Scene, given: "TrainingSet") -> "Fix":
    """What the rule finds on the support images."""
    return _found(support_key(scene, given), scene, given)


def statistics(scene: Scene) -> "SourceStatistics":
    """What the concepts do at the source."""
    return _statistics(scene.key, scene)


def edits_for(scene: Scene, gains: Mapping[str, float]) -> tuple[Edit, ...]:
    """The edit with these gains; concepts that are not named keep theirs."""
    from cbm.adapt import fix_edits

    values = np.array([gains.get(name, 1.0) for name in scene.model.concepts])
    return fix_edits(scene.model, values, statistics(scene).neutral)


def accuracy(scene: Scene, split: str, edits: tuple[Edit, ...], given: "TrainingSet") -> "Estimate":
    """Accuracy on a split without the support images, with these edits after the saved ones; within milliseconds."""
    return _accuracy(f"{support_key(scene, given)}|{split}|{dumps(edits)}", scene, split, edits, given)


def full_report(scene: Scene, gains: Mapping[str, float], given: "TrainingSet", split: str, source: str) -> "FixReport":
    """The report on a fix with these gains: gate and simpler remedies too."""
    key = f"{support_key(scene, given)}|{sorted(gains.items())}|{split}|{source}"
    return _report(key, scene, dict(gains), given, split, source)


def nothing_found(scene: Scene, split: str, per_class: int) -> "NullCheck":
    """How often the rule finds something on a split of the source."""
    return _null(f"{scene.key}|{split}|{per_class}", scene, split, per_class)


def planned_sizes(scene: Scene) -> "dict[int, Estimate]":
    """Chance that a misactivated concept is recognised, by images a class."""
    return _planned(scene.key, scene)


@st.cache_resource(show_spinner="Simulating …", max_entries=16)
def _planned(key: str, _scene: Scene) -> "dict[int, Estimate]":
    from probes.support_size import plan_support

    return plan_support(statistics(_scene))


@st.cache_resource(show_spinner=False, max_entries=32)
def _found(key: str, _scene: Scene, _given: "TrainingSet") -> "Fix":
    from cbm.adapt import find_fix

    return find_fix(_scene.model, _given.x, _given.labels, statistics(_scene))


@st.cache_resource(show_spinner=False, max_entries=512)
def _accuracy(key: str, _scene: Scene, _split: str, _edits: tuple[Edit, ...], _given: "TrainingSet") -> "Estimate":
    from probes.intervals import wilson

    rows = np.flatnonzero((_scene.data.splits == _split) & ~np.isin(np.array(_scene.data.ids), np.array(_given.ids)))
    said = live_after(_scene, (*_scene.history.edits, *_edits)).predictions.numpy()[rows]
    return wilson(int((said == _scene.data.labels.numpy()[rows]).sum()), len(rows))


@st.cache_resource(show_spinner=False, max_entries=16)
def _statistics(key: str, _scene: Scene) -> "SourceStatistics":
    from cbm.shift import source_statistics
    from probes.fixes import source_of

    if _scene.model.classes != _scene.data.classes:
        return source_of(_scene.model, _scene.data)  # which says what is wrong
    train = torch.as_tensor(_scene.data.split("train").labels)
    rows = torch.as_tensor(_scene.data.splits == "train")
    return source_statistics(_scene.outcome.scores[rows], train, len(_scene.data.classes))


@st.cache_resource(show_spinner=False, max_entries=32)
def _report(
    key: str, _scene: Scene, _gains: dict[str, float], _given: "TrainingSet", _split: str, _source: str
) -> "FixReport":
    from dataclasses import replace

    from probes.fixes import measure_fix

    found = found_fix(_scene, _given)
    evidence = tuple(replace(e, gain=_gains.get(e.concept, 1.0)) for e in found.evidence)
    fix = replace(found, evidence=evidence, edits=edits_for(_scene, _gains))
    return measure_fix(_scene.model, fix, _given, _scene.data, _split, source_split=_source)


@st.cache_resource(show_spinner="Looking where there is nothing to find …", max_entries=16)
def _null(key: str, _scene: Scene, _split: str, _per_class: int) -> "NullCheck":
    from probes.fixes import null_check

    return null_check(_scene.model, _scene.data, statistics(_scene), per_class=_per_class, split=_split, draws=100)
