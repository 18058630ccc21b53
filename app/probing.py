"""The jobs that look into an encoder, heads and layers, and the results that they leave for screens and commands.

A result is a file named by all that it was computed from: the kind of job, its parameters, the model with its edits, and
the images. So the same question is never answered twice, and a changed model asks anew.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app import store
from app.workspace import Workspace
from cbm.errors import DataError, UsageError
from cbm.progress import OnProgress, part
from cbm.whole_files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from cbm.encoders import TextEncoder
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet
    from probes.gated import Question
    from probes.heads import Ablation

Json = dict[str, Any]
HEADS: Json = {"concept": "", "images": 96, "steps": 0, "seeds": 3, "replacement": "mean", "seed": 0}
LAYERS: Json = {"train": 400, "test": 300, "draws": 3, "seed": 0}
MEMORY = 512 << 20  # bytes of patches held at once by the attentive probes
CURVE_IMAGES = 48  # of the pruning curve, whose random band takes many passes


def heads_params(model: str, branch: str, **changes: Any) -> Json:
    """Parameters of the job "heads": all of `HEADS`, with changes."""
    return {"model": model, "branch": branch, **HEADS, **changes}


def layers_params(model: str, branch: str, concept: str, **changes: Any) -> Json:
    """Parameters of the job "layers": all of `LAYERS`, with changes."""
    return {"model": model, "branch": branch, "concept": concept, **LAYERS, **changes}


def probed(ws: Workspace, kind: str, params: Mapping[str, Any]) -> Json | None:
    """The result of a job that was done already, or nothing."""
    file = _file(ws, kind, params)
    found: Json | None = json.loads(file.read_text("utf-8")) if file.is_file() else None
    return found


def probe_heads(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> Json:
    """What the heads behind `model` look at and what they matter for: its decisions, or the scores of `concept`.

    Measured on `images` test images. With `steps`, gates are learned too, from `seeds` seeds, and a pruning curve is drawn.
    """
    from probes.gated import Question
    from probes.head_statistics import statistics_of_heads
    from probes.heads import ablate_heads, michel_importance

    found = probed(ws, "heads", params)
    if found is not None:
        return _told(found)
    on_progress(0.0, "loading the encoder")
    work = _opened(ws, params)
    test = _drawn(work.data, _judged_on(work.data), int(params["images"]), int(params["seed"]))
    pixels = _pixels(ws, work, test)
    share = 0.15 if params["steps"] else 1.0
    on_progress(0.01, "measuring what heads look at")
    seen = statistics_of_heads(work.encoder, pixels, on_progress=part(on_progress, 0.01, 0.2 * share))
    ablation = ablate_heads(
        work.encoder, pixels, replacement=params["replacement"], on_progress=part(on_progress, 0.2 * share, 0.9 * share)
    )
    question = Question(work.model, ablation.full, str(params["concept"]))
    slope = michel_importance(work.encoder, pixels, question.height, on_progress=part(on_progress, 0.9 * share, share))
    result = {
        "concept": params["concept"], "images": len(pixels), "replacement": params["replacement"],
        "statistics": {name: [[asdict(v) for v in row] for row in rows] for name, rows in seen.values.items()},
        "uniform": dict(seen.uniform), **_ablated(question, ablation, work.data.labels[test]),
        "michel": slope.values.tolist(), "saturated": slope.saturated,
        "effects": _effects(work, pixels, str(params["concept"])),
    }  # fmt: skip
    if params["steps"]:
        result |= _gated(
            work,
            pixels,
            question,
            ablation,
            work.data.labels[test],
            slope.values,
            params,
            part(on_progress, share, 1.0),
        )
    return _told(_kept(ws, "heads", params, result))


def probe_layers(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> Json:
    """At which layer `concept` can be read off: linear and attentive probes of every layer, beside control tasks."""
    import torch

    from probes.attentive import train_attentive
    from probes.layer_tokens import layer_features
    from probes.layers import concept_labels, judged, linear_probes, probing_task

    found = probed(ws, "layers", params)
    if found is not None:
        return _told(found)
    on_progress(0.0, "loading the encoder")
    work, seed = _opened(ws, params), int(params["seed"])
    known = concept_labels(work.data, str(params["concept"]), work.model)
    usable = known.known.numpy()
    train = _drawn(work.data, "train", int(params["train"]), seed, usable)
    test = _drawn(work.data, _judged_on(work.data), int(params["test"]), seed, usable)
    task = probing_task(known.present, work.data.labels, train, test, draws=int(params["draws"]), seed=seed)
    pixels, n = _pixels(ws, work, torch.cat([train, test])), len(train)
    features = layer_features(work.encoder, pixels, on_progress=part(on_progress, 0.02, 0.15))
    linear, at = {}, 0.15
    for kind, x in features.items():
        to = at + 0.45 / len(features)
        linear[kind] = linear_probes(x[:n], x[n:], task, seed=seed, on_progress=part(on_progress, at, to))
        at = to
    attentive, weights = [], []
    layers = len(next(iter(linear.values())))
    for layer, patches in _layer_by_layer(work, pixels):
        stage = part(on_progress, at + (1 - at) * layer / layers, at + (1 - at) * (layer + 1) / layers)
        probe = train_attentive(patches[:n], task.train, seed=seed, on_progress=stage)
        scores = torch.cat([probe(batch.float()) for batch in torch.split(patches[n:], 128)])
        attentive.append(judged(layer, scores, task.test))
        weights.append([probe.query[0].tolist(), probe.direction[0].tolist(), float(probe.bias[0])])
    result = {
        "concept": params["concept"], "source": known.source, "train": n, "test": len(test), "by_class": task.by_class,
        "draws": params["draws"], "present": int(task.test[:, 0].sum()),
        "probes": {
            **{kind: [asdict(p) for p in probes] for kind, probes in linear.items()},
            "attentive": [asdict(p) for p in attentive],
        },
        "attentive": weights,
    }  # fmt: skip
    return _told(_kept(ws, "layers", params, result))


@dataclass(frozen=True)
class _Work:
    """What both jobs need."""

    model: "ConceptModel"
    data: "TrainingSet"
    encoder: "TextEncoder"
    dataset: str


def _opened(ws: Workspace, params: Mapping[str, Any]) -> _Work:
    from cbm.encoders import check_contract

    row = store.model_row(ws, params["model"])
    if row.dataset is None:
        raise UsageError(f"{row.name} does not belong to a data set here", hint="choose a model that was built here")
    model = store.model(ws, row.name, branch=params["branch"])
    if params["concept"]:
        model.concept(params["concept"])
    encoder = store.load_encoder(ws, row.encoder)
    check_contract(encoder, model.recipe.contract or encoder.contract)
    return _Work(model, store.training_set(ws, row.dataset, row.encoder), encoder, row.dataset)


def _judged_on(data: "TrainingSet") -> str:
    """The split to measure on: test, where there is one."""
    return next((name for name in ("test", "val") if name in data.split_names), data.split_names[0])


def _drawn(data: "TrainingSet", split: str, count: int, seed: int, usable: "np.ndarray | None" = None) -> "Tensor":
    """Positions of at most so many images of a split, drawn with the seed, in order."""
    import torch

    there = np.flatnonzero((data.splits == split) & (True if usable is None else usable))
    if not len(there):
        raise DataError(f"no image of the split {split!r} can be used here")
    chosen = np.random.default_rng(seed).permutation(there)[:count]
    return torch.from_numpy(np.sort(chosen))


def _pixels(ws: Workspace, work: _Work, positions: "Tensor") -> "Tensor":
    import torch

    from cbm.images import open_image

    ids = [work.data.ids[i] for i in positions.tolist()]
    rows = store.images_by_id(ws, work.dataset, ids)
    return torch.stack([torch.from_numpy(work.encoder.preprocessing(open_image(row.path))) for row in rows])


def _layer_by_layer(work: _Work, pixels: "Tensor") -> Iterator["tuple[int, Tensor]"]:
    """The patches `[n p d]` of every layer; as many layers in one pass through the encoder as memory allows."""
    from probes.gated import head_count
    from probes.layer_tokens import patch_tokens

    layers = head_count(work.encoder)[0] + 1
    [one] = patch_tokens(work.encoder, pixels[:1], [0])
    together = max(1, MEMORY // (2 * one.numel() * len(pixels)))
    for start in range(0, layers, together):
        chosen = range(start, min(start + together, layers))
        yield from zip(chosen, patch_tokens(work.encoder, pixels, chosen), strict=True)


def _ablated(question: "Question", ablation: "Ablation", labels: "Tensor") -> Json:
    """How far the answer moves without each head, how right the model is then, and which concept moves most."""
    from probes.head_statistics import mean_intervals

    model, b = question.model, len(ablation.without)
    far = question.distance(ablation.without)  # [b h n]
    low, high = mean_intervals(far.flatten(0, 1).T)
    means, h = far.mean(-1).flatten().tolist(), far.shape[1]
    cells = [{"value": v, "low": lo, "high": hi} for v, lo, hi in zip(means, low, high, strict=True)]
    accuracy = [[float((model.predict(x) == labels).double().mean()) for x in row] for row in ablation.without]
    whole = float((model.predict(ablation.full) == labels).double().mean())
    moved = [[_moved_most(model, ablation.full, x) for x in row] for row in ablation.without]
    return {
        "ablation": [cells[i * h : (i + 1) * h] for i in range(b)],
        "accuracy": accuracy,
        "whole": whole,
        "moved": moved,
    }


def _moved_most(model: "ConceptModel", full: "Tensor", x: "Tensor") -> list[Any]:
    """The concept whose score changes most without a head, and by how many standard deviations."""
    if not model.concepts:
        return ["", 0.0]
    before = model.scores(full)
    change = (model.scores(x) - before).square().mean(0).sqrt() / before.std(0, unbiased=False).clamp(min=1e-8)
    return [model.concepts[int(change.argmax())], float(change.max())]


def _effects(work: _Work, pixels: "Tensor", concept: str) -> list[list[float]] | None:
    """How much what each head adds to a concept differs between images, in standard deviations of its score."""
    import torch

    from cbm.errors import PellucidError
    from probes.head_effects import effects_of_heads, look

    if not concept:
        return None
    try:
        found = [effects_of_heads(work.model, work.encoder, look(work.encoder, image), [concept]) for image in pixels]
    except PellucidError:  # of an encoder or a model that has none, the rest is still worth knowing
        return None
    heads, rest = torch.stack([e.heads[0] for e in found]), torch.stack([e.rest[0] for e in found])
    spread = (heads.sum((1, 2)) + rest).std(unbiased=False).clamp(min=1e-8)
    rows: list[list[float]] = (heads.std(0, unbiased=False) / spread).tolist()
    return rows


def _gated(
    work: _Work, pixels: "Tensor", question: "Question", ablation: "Ablation", labels: "Tensor", slopes: "Tensor",
    params: Mapping[str, Any], on_progress: OnProgress,
) -> Json:  # fmt: skip
    """Learned gates, what happens when the heads go that they would close, and how the three orders agree."""
    from probes.gated import embedded
    from probes.head_gates import learn_gates
    from probes.heads import replacement_of
    from probes.pruning import agreement, departure, overlap, pruning_curve

    instead = replacement_of(work.encoder, pixels, params["replacement"])
    gates = learn_gates(
        work.encoder, pixels, question.distance_at, steps=int(params["steps"]), seeds=int(params["seeds"]), instead=instead,
        on_progress=part(on_progress, 0.0, 0.75),
    )  # fmt: skip
    removed = question.distance(ablation.without).mean(-1)
    orders = {"ablation": removed, "gradient": slopes, "gates": gates.importance}
    alike, without = agreement(orders), []
    for position in range(len(gates.betas)):
        x = embedded(work.encoder, pixels, gates.mask(position).float(), instead=instead)
        without.append(asdict(departure(work.model, ablation.full, x, labels)))
    few = slice(None, CURVE_IMAGES)
    curve = pruning_curve(
        work.encoder,
        pixels[few],
        work.model,
        labels[few],
        orders,
        instead=instead,
        on_progress=part(on_progress, 0.75, 1.0),
    )
    return {
        "gates": {
            "betas": gates.betas, "kept": gates.kept.tolist(), "importance": gates.importance.tolist(), "seeds": params["seeds"],
            "steps": params["steps"], "without": without,
            "overlap": [overlap(gates.mask(i), removed) for i in range(len(gates.betas))],
        },
        "agreement": {"spearman": [[*pair, v] for pair, v in alike.spearman.items()], "kendall_w": alike.kendall_w},
        "curve": {**asdict(curve), "area": {name: curve.area(name) for name in curve.cosine}, "images": len(pixels[few])},
    }  # fmt: skip


def _file(ws: Workspace, kind: str, params: Mapping[str, Any]) -> Path:
    from cbm.edits import dumps

    row = store.model_row(ws, params["model"])
    images = "" if row.dataset is None else store.dataset_row(ws, row.dataset).fingerprint
    edits = dumps(store.history(ws, row.name, params["branch"]).edits)
    about = json.dumps([kind, dict(params), row.fingerprint, edits, images], sort_keys=True)
    return ws.folder("probes") / f"{kind}-{hashlib.sha256(about.encode()).hexdigest()[:32]}.json"


def _kept(ws: Workspace, kind: str, params: Mapping[str, Any], result: Json) -> Json:
    write_bytes(_file(ws, kind, params), json.dumps(result, allow_nan=False).encode())
    return result


def _told(result: Json) -> Json:
    """What a job's row says of a result; the rest is in the file."""
    return {"concept": result["concept"], "images": result.get("images", result.get("test"))}
