"""Whether Trust finds what is planted in the rendered birds: false names among true ones, and scores that leak.

    python -m benchmarks.trust --home WORKSPACE [--seeds 10]

Ten concepts of fifty pass their names on among themselves. They are to be flagged with annotations, and, by the texts of
the names alone, without. Then a code of the class is put into the scores, which still tell their concepts.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from app import store
from app.settings import Settings
from app.workspace import open_workspace
from cbm.ranking import auroc
from cbm.sources import bank_from_texts
from probes.naming import existence
from probes.rules import Finding
from probes.verdicts import leaks

FALSE, BANK = 10, 50


def measure(home: Path, seeds: int) -> list[dict[str, object]]:
    """One row a question: how many flags are right, and how many false names are flagged."""
    ws = open_workspace(replace(Settings(), home=home))
    model = store.model(ws, "birds-posthoc")
    images = store.training_set(ws, "birds", "builtin:demo").split("test")
    encoder = store.load_encoder(ws, "builtin:demo")
    scores, rows = model.scores(images.x), {"annotations": [], "texts of the names": []}
    texts = images.x @ torch.nn.functional.normalize(bank_from_texts(encoder, model.concepts).vectors, dim=1).T
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        fifty = torch.randperm(len(model.concepts), generator=generator)[:BANK]
        bearer = fifty.clone()
        bearer[:FALSE] = fifty[:FALSE].roll(1)
        names = [model.concepts[k] for k in bearer]
        rows["annotations"].append(flagged(existence(scores[:, fifty], names, images.concept_labels, images.concepts)))
        rows["texts of the names"].append(flagged(existence(scores[:, fifty], names, None, (), texts[:, bearer])))
    told = [summary(name, found) for name, found in rows.items()]
    return [*told, *leaking(scores, images, model.concepts)]


def flagged(found: tuple[Finding, ...]) -> tuple[int, int]:
    """How many of the false names are flagged, and how many names in all; the false ones come first."""
    no = [finding.answer == "no" for finding in found]
    return sum(no[:FALSE]), sum(no)


def summary(name: str, found: list[tuple[int, int]]) -> dict[str, object]:
    """Precision and recall over all draws, and the worst of one."""
    hits, flags = sum(h for h, _ in found), sum(f for _, f in found)
    worst = min(h / FALSE for h, _ in found), min(h / max(1, f) for h, f in found)
    return {
        "question": f"false names, by {name}", "draws": len(found), "precision": round(hits / max(1, flags), 3),
        "recall": round(hits / FALSE / len(found), 3), "worst precision": round(worst[1], 3), "worst recall": round(worst[0], 3),
    }  # fmt: skip


def leaking(scores: torch.Tensor, images: object, concepts: tuple[str, ...]) -> list[dict[str, object]]:
    """Scores of annotations with noise, and the same with a code of the class added: mean AUROC and share flagged."""
    generator = torch.Generator().manual_seed(0)
    present = images.concept_labels[:, [images.concepts.index(name) for name in concepts]]
    clean = present + 0.15 * torch.randn(scores.shape, generator=generator)
    code = torch.randn(len(images.classes), scores.shape[1], generator=generator)
    rows = []
    for name, tried in (("clean", clean), ("leaking", clean + 0.2 * code[images.labels]), ("birds-posthoc", scores)):
        found = leaks(tried, concepts, images.concept_labels, images.concepts, images.labels)
        aurocs = [auroc(tried[:, k], present[:, k] >= 0.5) for k in range(len(concepts))]
        beyond = sum(f.value.value for f in found if f.value) / len(found)
        share = sum(f.answer == "yes" for f in found) / len(found)
        rows.append({"question": f"leak: {name}", "mean AUROC": round(sum(aurocs) / len(aurocs), 3),
                     "told beyond": round(beyond, 3), "share flagged": round(share, 3)})  # fmt: skip
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="a workspace with the demo")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    for row in measure(arguments.home, arguments.seeds):
        print(json.dumps(row))
