"""Edits on 10,000 images x 1,000 concepts x 100 classes: live logits beside computing the whole model again.

    python -m benchmarks.edits

Each live answer is compared with the whole model's: the share of equal predictions, and how many the edit has flipped.
"""

import argparse

import torch

from benchmarks.data import embeddings, texts
from benchmarks.measure import Row, interleaved, report
from cbm import edits
from cbm.bottleneck import LinearBottleneck, clamp_of
from cbm.heads import LinearHead
from cbm.live import live_logits
from cbm.model import ConceptModel, Recipe

DENSITY = 0.03  # of the head's weights


def sparse_model(concepts: int, classes: int) -> ConceptModel:
    """A linear bottleneck on text directions and a sparse random head."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(classes, concepts, generator=g) * (torch.rand(classes, concepts, generator=g) < DENSITY)
    vectors = texts(concepts)
    return ConceptModel(
        concepts=tuple(f"concept {k}" for k in range(concepts)),
        classes=tuple(f"class {c}" for c in range(classes)),
        bottleneck=LinearBottleneck(30 * vectors, torch.zeros(concepts)),
        head=LinearHead(weight, torch.zeros(classes)),
        recipe=Recipe("benchmark"),
    )


def measured(n: int, concepts: int, classes: int, repetitions: int) -> list[Row]:
    """A row for each kind of edit, live and again from the embeddings."""
    x, _ = embeddings(n, classes)
    model = sparse_model(concepts, classes)
    live = live_logits(model, x)
    commonest = int(live.predictions.bincount(minlength=classes).argmax())
    strongest = int(model.head.weight[commonest].abs().argmax())
    concept, class_ = model.concepts[strongest], model.classes[commonest]
    scripts = {
        "one weight": edits.SetWeight(concept, class_, -float(model.head.weight[commonest, strongest])),
        "one concept dropped": edits.DropConcept(concept),
        "pruned and normalised": edits.PruneWeight(concept, class_, normalise=True),
        "one concept pruned": edits.PruneWeight(concept),
        "a score set everywhere": edits.SetScore(concept, 3.0),
    }
    some = torch.arange(0, n, 100)
    clamp = clamp_of(model.concepts, {concept: 3.0})
    expected = {name: edits.apply(model, (edit,)).predict(x) for name, edit in scripts.items()}
    expected["100 images corrected"] = live.predictions.clone()
    expected["100 images corrected"][some] = model.predict(x[some], clamp)

    def judge(answer: tuple[str, torch.Tensor]) -> Row:
        name, predictions = answer
        equal = float((predictions == expected[name]).double().mean())
        return {"equal": equal, "flipped": int((predictions != live.predictions).sum())}

    cases = {f"live: {name}": lambda n=name, e=edit: (n, live.edited(e).predictions) for name, edit in scripts.items()}
    cases["live: 100 images corrected"] = lambda: (
        "100 images corrected",
        live.intervened(concept, 3.0, some).predictions,
    )
    cases["whole model: one weight"] = lambda: (
        "one weight",
        edits.apply(model, (scripts["one weight"],)).predict(x),
    )
    return interleaved(cases, judge, repetitions=repetitions, baseline="live: one weight")


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--concepts", type=int, default=1_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=15)
    a = parser.parse_args()
    rows = measured(a.images, a.concepts, a.classes, a.repetitions)
    report("edits", f"edits of {a.images:,} images x {a.concepts:,} concepts x {a.classes} classes", rows)


if __name__ == "__main__":
    main()
