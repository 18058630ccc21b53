import json
from dataclasses import replace

import pytest

from cbm.errors import DataError
from cbm.methods import fit
from probes.intervals import Estimate
from probes.trust import examine


@pytest.fixture(scope="module")
def model(planted):
    return fit("posthoc", planted.training, bank=planted.bank)


KNOWN = {
    name: Estimate(0.9, 0.8, 0.95, 120)
    for name in ("linear_probe_accuracy", "random_concept_accuracy", "shuffled_label_accuracy")
}


@pytest.fixture(scope="module")
def found(planted, model):
    return examine(model, planted.training, names=planted.bank.vectors)


def test_a_planted_model_holds_and_only_its_idle_concept_is_hardly_used(found):
    words = {verdict.concept: verdict.word for verdict in found.verdicts}

    assert words["noise"] == "hardly used"
    assert sum(word == "holds" for word in words.values()) >= 6
    assert sum(found.counts.values()) == len(words)


def test_every_figure_has_an_interval_that_holds_it(found):
    assert {"accuracy", "ctl", "icl", "ois", "completeness", "comprehensiveness", "task_information"} <= set(
        found.figures
    )
    for name, figure in found.figures.items():
        assert figure.estimate.low <= figure.estimate.value <= figure.estimate.high, name


def test_explanations_of_a_linear_model_are_faithful_and_its_scores_complete(found):
    figures = found.figures

    assert figures["comprehensiveness"].estimate.low > figures["comprehensiveness"].chance
    assert figures["sufficiency"].estimate.high < figures["sufficiency"].chance
    assert figures["completeness"].estimate.value > 0.9
    assert figures["extra_information"].estimate.low < 0.1
    assert figures["task_information"].estimate.value > 1.5


def test_names_that_were_exchanged_are_flagged(planted, model):
    names = {"striped": "webbed feet", "webbed feet": "striped"}
    renamed = replace(model, concepts=tuple(names.get(c, c) for c in model.concepts))

    verdicts = {v.concept: v.word for v in examine(renamed, planted.training, controls=KNOWN).verdicts}

    assert {c for c, word in verdicts.items() if word == "doubtful name"} == set(names)


def test_what_is_not_annotated_is_said_not_to_be_measured(planted, model):
    bare = replace(planted.training, concepts=(), concept_labels=None)

    found = examine(model, bare, controls=KNOWN)

    assert "annotated" in found.not_computed["ctl"]
    assert {v.exists.answer for v in found.verdicts} == {"unknown"}
    assert "ctl" not in found.figures


def test_controls_that_are_known_are_not_fitted_again(planted, model, monkeypatch):
    monkeypatch.setattr("probes.controls.fit_again", None)  # would be called
    bare = replace(planted.training, concepts=(), concept_labels=None)

    figures = examine(model, bare, controls=KNOWN).figures

    assert {name: figures[name].estimate for name in KNOWN} == KNOWN


def test_the_answer_is_json_without_nan(found):
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))

    assert written["verdicts"][0].keys() == {"concept", "verdict", "exists", "located", "used", "leaked"}
    assert written["figures"]["accuracy"].keys() == {"value", "low", "high", "n", "chance"}


def test_a_model_without_concepts_is_refused(planted):
    with pytest.raises(DataError, match="without concepts"):
        examine(fit("linear-probe", planted.training), planted.training)
