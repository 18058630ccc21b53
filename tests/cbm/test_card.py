"""The card, its ten lines in a process of their own, and who is cited."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from cbm.bottleneck import GatedBottleneck, LinearBottleneck, ProfileBottleneck, ReluBottleneck
from cbm.card import model_card, snippet
from cbm.citations import bibtex
from cbm.edits import DropConcept, apply
from cbm.errors import UnknownName
from cbm.heads import LinearHead
from cbm.io import save
from cbm.methods import MODULES
from cbm.model import ConceptModel, Recipe

K, C, D, M = 5, 3, 6, 9
G = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(*shape, generator=G)


def profile(total):
    rows = random(K, D)
    return ProfileBottleneck(rows, random(K), rows.T @ rows, rows.sum(0) if total else None)


BOTTLENECKS = {
    "linear": LinearBottleneck(random(K, D), random(K)),
    "relu": ReluBottleneck(
        weight=random(K, M), bias=random(K), atoms=random(M, D), offsets=random(M), thresholds=random(M).abs() / 4
    ),
    "hard gate": GatedBottleneck(
        random(K, M), random(K), random(M, D), random(M), random(M, D), random(M), torch.tensor(0.0)
    ),
    "soft gate": GatedBottleneck(
        random(K, M), random(K), random(M, D), random(M), random(M, D), random(M), torch.tensor(0.5)
    ),
    "profile": profile(False),
    "signed profile": profile(True),
}


def concept_model(bottleneck, residual=None):
    return ConceptModel(
        tuple(f"concept {k}" for k in range(K)), tuple(f"class {c}" for c in range(C)), bottleneck,
        LinearHead(random(C, K), random(C), residual), Recipe("posthoc", {"nec": 5}, "hf:org/name@main", "0" * 64, 40),
    )  # fmt: skip


TITLES = {
    "accuracy": "Accuracy",
    "nec": "NEC",
    "ece": "Calibration error",
    "random_concept_accuracy": "Random concepts",
}
MEASURED = {
    "test": {
        "n": 40,
        "metrics": {
            "accuracy": {"value": 0.8, "low": 0.65, "high": 0.9, "n": 40},
            "nec": {"value": 5.0, "low": 5.0, "high": 5.0, "n": 3},
            "random_concept_accuracy": {"value": 0.78, "low": 0.63, "high": 0.88, "n": 40},
        },
        "not_computed": {"ece": "too few images"},
        "groups": [{"group": "a|b", "value": 0.5, "low": 0.2, "high": 0.8, "n": 8}],
    }
}


@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("kind", list(BOTTLENECKS))
def test_the_lines_of_the_card_reproduce_the_predictions_without_pellucid(kind, residual, tmp_path: Path):
    model = concept_model(BOTTLENECKS[kind], random(C, D) if residual else None)
    x = random(50, D)
    folder = save(model, tmp_path / "bundle", card=model_card(model, "small"))
    np.save(folder / "embeddings.npy", x.numpy())
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S).group(1)

    assert len(code.strip().splitlines()) <= 12
    guard = "import sys\nsys.modules['cbm'] = sys.modules['torch'] = None\n"
    ran = subprocess.run([sys.executable, "-c", guard + code], cwd=folder, capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == str([model.classes[i] for i in model.predict(x)])


def test_a_model_whose_scores_are_no_formula_asks_for_pellucid():
    class Inferred(LinearBottleneck):
        pass

    model = concept_model(Inferred(random(K, D), random(K)))

    assert "cbm.load" in snippet(model)


def test_the_hub_reads_the_header():
    card = ModelCard(model_card(concept_model(BOTTLENECKS["linear"]), "small", measured=MEASURED, dataset="shore"))

    assert card.data.library_name == "pellucid"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.base_model == "org/name"
    values = {(r.metric_type, r.dataset_split): r.metric_value for r in card.data.eval_results}
    assert values == {("accuracy", "test"): 0.8, ("nec", "test"): 5.0}  # a control is no result of the model


def test_figures_have_intervals_counts_groups_and_reasons():
    text = model_card(concept_model(BOTTLENECKS["linear"]), "small", measured=MEASURED, title_of=TITLES.__getitem__)

    assert "| Accuracy | 0.800 | 0.650 to 0.900 | 40 |" in text
    assert "| Control: Random concepts | 0.780 | 0.630 to 0.880 | 40 |" in text
    assert "| a\\|b | 0.500 | 0.200 to 0.800 | 8 |" in text
    assert "Not computed. Calibration error: too few images." in text
    assert "random concepts do about as well" in text


def test_every_edit_is_told_and_names_are_escaped():
    model = apply(concept_model(BOTTLENECKS["linear"]), [DropConcept("concept 1")])
    text = model_card(model, "a|b <script>")

    assert "1. Drop “concept 1”" in text
    assert "# a\\|b \\<script\\>" in text
    assert "Nothing was measured." in text


@pytest.mark.parametrize("method", list(MODULES))
def test_every_method_has_somebody_to_cite(method):
    entry = bibtex([method])

    assert entry.startswith("@")
    assert entry.count("{") == entry.count("}")
    assert re.search(r"year = \{20\d\d\}", entry)


def test_a_work_that_nobody_knows_is_refused():
    with pytest.raises(UnknownName, match="work to cite"):
        bibtex(["posthok"])
