"""A table of explanations says what the model says, and holds nothing that a spreadsheet would compute."""

import csv
from dataclasses import replace

import pytest

from cbm.bottleneck import LinearBottleneck
from cbm.errors import Cancelled
from cbm.export import write_explanations
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe


@pytest.fixture
def model(planted):
    """Each class is the sum of its two concepts, plus half of what the embedding says in its first directions."""
    training, bank = planted.training, planted.bank
    weight = training.x.new_tensor(
        [[1.0 * (concept in pair) for concept in bank.names] for pair in planted.class_concepts.values()]
    )
    residual = 0.5 * training.x.new_ones(len(weight), training.x.shape[1])
    return ConceptModel(
        concepts=bank.names,
        classes=training.classes,
        bottleneck=LinearBottleneck(bank.vectors, bank.intercepts),
        head=LinearHead(weight, weight.new_tensor([0.1, 0.2, 0.3, 0.4]), residual),
        recipe=Recipe(method="by hand"),
    )


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_is_the_decision_and_adds_up_to_its_logit(model, planted, tmp_path):
    data = planted.training

    rows = rows_of(write_explanations(model, data, tmp_path / "all.csv"))

    logits = model.logits(data.x)
    parts = [sum(float(row[f"contribution:{name}"]) for name in model.concepts) + float(row["rest"]) for row in rows]
    assert [row["id"] for row in rows] == list(data.ids)
    assert [row["prediction"] for row in rows] == [model.classes[c] for c in logits.argmax(1)]
    assert parts == pytest.approx(logits.amax(1).tolist(), abs=1e-4)


def test_names_from_data_are_not_formulas(model, planted, tmp_path):
    data = replace(planted.training, ids=("=HYPERLINK(1)", *planted.training.ids[1:]))
    renamed = replace(model, concepts=("@striped", *model.concepts[1:]))

    rows = rows_of(write_explanations(renamed, data, tmp_path / "all.csv"))

    assert rows[0]["id"] == "'=HYPERLINK(1)"
    assert "score:@striped" in rows[0]  # its cell begins with a letter


def test_stopping_leaves_no_half_written_file(model, planted, tmp_path):
    def stop(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        write_explanations(model, planted.training, tmp_path / "all.csv", on_progress=stop)

    assert list(tmp_path.iterdir()) == []
