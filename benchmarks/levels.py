"""What the depths of `builtin:photo-levels` are worth for concepts from examples, beside the last features alone.

    python -m benchmarks.levels renders                       # colours, patterns, shapes, backgrounds of our renders
    python -m benchmarks.levels photographs MANIFEST.csv      # class-level concepts, on photographs and on unseen classes

*Unseen classes*: a linear probe (ridge) learns from all photographs of some classes and is asked about those of the
others, so that knowing a class is of no use to it. The number is the mean AUROC over the concepts that both sides have
and lack; its deviation is over random ways to deal the classes, which share their classes. The ridge is chosen for each
probe within what it learns from, by dealing those classes in two again. *Shuffled* deals whole rows of labels to other
classes before learning.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from assets.photo import renders
from cbm import photo
from cbm.backbones import make_backbone_encoder
from cbm.cav import learn_cavs
from cbm.data import ImageDataset
from cbm.embeddings import embed
from cbm.encoders import Encoder, load_encoder
from cbm.photo_wheels import TIERS
from cbm.torchvision_guard import ensure_torchvision

RIDGES = (0.1, 1.0, 10.0, 100.0)
RENDERS, LEARNT_FROM, SEED = 900, 600, 1
DEALS = 20
BORDER = 10  # pixels of a render that show its background


def encoders(*, every: bool) -> Iterator[Encoder]:
    """The last features alone and the depths; with `every` also the joint space, and the last features of other tiers."""
    ensure_torchvision()
    yield pooled("photo")
    yield load_encoder("builtin:photo-levels")
    if every:
        yield load_encoder("builtin:photo")
        yield from (pooled(name) for name in TIERS if name != "photo" and TIERS[name].installed)


def pooled(tier: str) -> Encoder:
    """The last features of a tier, whether or not it reads text."""
    prepared = photo.preprocessing(tier=tier)
    network = photo.load_network(tier)
    return make_backbone_encoder(f"{tier}, last features", network, prepared, architecture=tier)


def on_photographs(manifest: Path, *, every: bool) -> None:
    """Concepts of classes: on other photographs of the same classes, and on classes that were never learned from."""
    data = ImageDataset.from_manifest(manifest, name=manifest.parent.name)
    classes, labels = np.asarray(data.labels), np.asarray(data.concept_labels, dtype=float)
    told = np.stack([labels[classes == c].mean(0) for c in range(len(data.classes))]) > 0.5
    seen = np.isin(data.splits, ("train", "val"))
    embedded = {encoder.id: embed(data, encoder).x.float() for encoder in encoders(every=every)}
    print(f"{len(classes)} photographs, {len(told)} classes, {told.shape[1]} concepts")
    for name, x in embedded.items():
        cavs = learn_cavs(x[seen], torch.from_numpy(labels[seen]).float())
        scores = (x[~seen] @ cavs.vectors.T).numpy()
        found = aurocs(scores, labels[~seen])
        print(
            f"  {name:24} other photographs {np.nanmean(found):.3f} (worst {np.nanmin(found):.3f}, {(~seen).sum()} images)"
        )
    chance = np.random.default_rng(SEED)
    for count in (5, len(told) // 2, 3 * len(told) // 4):
        deals = [chance.permutation(len(told))[:count] for _ in range(DEALS)]
        false = [told[chance.permutation(len(told))] for _ in deals]
        base = None
        print(f"unseen classes, learned from {count}, {DEALS} deals")
        for name, x in embedded.items():
            found = np.array([unseen(x.numpy(), deal, classes, told, told) for deal in deals])
            lost = np.mean(
                [unseen(x.numpy(), deal, classes, wrong, told) for deal, wrong in zip(deals, false, strict=True)]
            )
            base = found if base is None else base
            gain = found - base
            line = f"  {name:24} {found.mean():.3f} ({found.std():.3f}), shuffled {lost:.3f}"
            print(f"{line}, above the first {gain.mean():+.3f} ({gain.std():.3f})", flush=True)


def unseen(x: np.ndarray, deal: np.ndarray, classes: np.ndarray, taught: np.ndarray, told: np.ndarray) -> float:
    """Mean AUROC on the classes that are not in the deal, of a probe that is taught labels by class."""
    halves = deal[: len(deal) // 2], deal[len(deal) // 2 :]
    tried = [by_ridge(x, one, other, classes, taught, taught) for one, other in (halves, halves[::-1])]
    rest = np.setdiff1d(np.arange(len(told)), deal)
    return float(by_ridge(x, deal, rest, classes, taught, told)[int(np.mean(tried, axis=0).argmax())])


def by_ridge(
    x: np.ndarray, deal: np.ndarray, rest: np.ndarray, classes: np.ndarray, taught: np.ndarray, told: np.ndarray
) -> np.ndarray:
    """Mean AUROC for each of `RIDGES`, over the concepts that some classes of both sides have and others lack."""
    known, asked = np.isin(classes, deal), np.isin(classes, rest)
    both = [labels.any(0) & ~labels.all(0) for labels in (taught[deal], told[rest])]
    usable = both[0] & both[1]
    scores = probe(x[known], taught[classes[known]].astype(float), x[asked], RIDGES)
    return np.array([aurocs(s, told[classes[asked]])[usable].mean() for s in scores])


def probe(x: np.ndarray, labels: np.ndarray, asked: np.ndarray, ridges: tuple[float, ...]) -> np.ndarray:
    """Scores by ridge regression, `[ridges n k]`; a ridge is in units of the mean eigenvalue of the images' products."""
    mean = x.mean(0)
    x, asked = x - mean, asked - mean
    values, vectors = np.linalg.eigh(x @ x.T)
    turned, across = vectors.T @ (labels - labels.mean(0)), asked @ x.T @ vectors
    fitted = [across @ (turned / (values + ridge * values.mean())[:, None]) for ridge in ridges]
    return np.stack(fitted) + labels.mean(0)


def aurocs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One a column."""
    ranks, shown = rankdata(scores, axis=0), labels > 0.5
    with_, without = shown.sum(0), (~shown).sum(0)
    with np.errstate(invalid="ignore"):
        return ((ranks * shown).sum(0) - with_ * (with_ + 1) / 2) / (with_ * without)


def on_renders(*, every: bool) -> None:
    """Linear probes of what was drawn: shares that are right, and for the background the variance of its colour explained."""
    things = renders.choose(RENDERS, SEED)
    pictures = [renders.draw(thing, 200_000 + i) for i, thing in enumerate(things)]
    edges = np.stack([border(np.asarray(picture, dtype=float)) for picture in pictures])
    kinds = {"colour": list(renders.COLOURS), "pattern": list(renders.PATTERNS), "shape": list(renders.SHAPES)}
    print(f"{LEARNT_FROM} renders learned from, a sixth of them to choose the ridge; {RENDERS - LEARNT_FROM} asked")
    for encoder in encoders(every=every):
        x = torch.cat([encoder.encode_images(pictures[i : i + 32]) for i in range(0, RENDERS, 32)]).numpy()
        line = []
        for kind, names in kinds.items():
            drawn = np.array([names.index(getattr(thing, kind)) for thing in things])
            right = best_of(x, np.eye(len(names))[drawn], lambda s, y: float((s.argmax(1) == y.argmax(1)).mean()))
            line.append(f"{kind} {right:.3f} (chance {1 / len(names):.2f})")
        line.append(f"background, variance {best_of(x, edges, explained):.3f}")
        print(f"  {encoder.id:24} " + ", ".join(line), flush=True)


def best_of(x: np.ndarray, y: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """The measure on the renders that were held back, with the ridge that was best on a part of the others."""
    part, ridges = LEARNT_FROM * 5 // 6, tuple(ridge / 100 for ridge in RIDGES)
    tried = [measure(s, y[part:LEARNT_FROM]) for s in probe(x[:part], y[:part], x[part:LEARNT_FROM], ridges)]
    chosen = (ridges[int(np.argmax(tried))],)
    return measure(probe(x[:LEARNT_FROM], y[:LEARNT_FROM], x[LEARNT_FROM:], chosen)[0], y[LEARNT_FROM:])


def explained(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of the variance."""
    return float(1 - ((scores - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())


def border(pixels: np.ndarray) -> np.ndarray:
    """Mean red, green and blue of a picture's edge."""
    inside = np.ones(pixels.shape[:2], dtype=bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = False
    colour: np.ndarray = pixels[inside].mean(0)
    return colour


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["renders", "photographs"])
    parser.add_argument(
        "manifest", type=Path, nargs="?", help="of photographs, with classes, splits and concept columns"
    )
    parser.add_argument("--every", action="store_true", help="also the joint space and the other tiers")
    options = parser.parse_args()
    if options.what == "photographs" and options.manifest is None:
        parser.error("photographs need a manifest")
    if options.what == "renders":
        on_renders(every=options.every)
    else:
        on_photographs(options.manifest, every=options.every)


if __name__ == "__main__":
    main()
