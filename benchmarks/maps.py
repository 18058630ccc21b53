"""Where concept maps point, on rendered birds whose parts are known, each number beside what chance gives.

    python -m benchmarks.maps texts       # concepts from texts
    python -m benchmarks.maps images      # concept vectors from labelled images

The birds are drawn with independent traits and seed 2; the scales of the methods were chosen on those of seed 1. A concept
counts as shown on an image when its part covers at least 8 of 256 pixels of some place.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from assets.birds import render_bird, sample_mix
from assets.species import GROUP_OF, PARTS, PARTS_OF_GROUP
from benchmarks.measure import Row, report
from cbm.cav import learn_cavs
from cbm.clip import ClipEncoder
from cbm.encoders import load_encoder
from probes.intervals import Estimate
from probes.localisation import mean_over_images, pointing_game, relevance_mass
from probes.map_methods import Asked
from probes.maps import METHODS, common_scale
from probes.views import View, view

SEED, LEARNT_FROM, ABSENT = 2, 600, 6
COSTLY = "integrated-gradients"  # made for every eighth image only
SHOWN = 8 / 256  # of a place
TOLERANCE = 8  # pixels of 128; the published pointing game allows 15 of about 224
CONCEPTS = [concept for concept, group in GROUP_OF.items() if group not in ("background", "size")]


@dataclass(frozen=True)
class Bird:
    """A picture, its present concepts' places in `CONCEPTS`, and where each of all concepts' parts is."""

    picture: Image.Image
    present: frozenset[int]
    masks: Bool[Tensor, "k 128 128"]

    def places(self, k: int) -> Float[Tensor, "8 8"]:
        """How much of each place the part of a concept covers."""
        return torch.nn.functional.avg_pool2d(self.masks[k][None].float(), 16)[0]


def birds(n: int, seed: int) -> Iterator[Bird]:
    """Rendered with independent traits."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        drawn = sample_mix(rng)
        pixels, parts = render_bird(drawn, rng)
        present = frozenset(k for k, concept in enumerate(CONCEPTS) if drawn.traits[GROUP_OF[concept]] == concept)
        wanted = [[PARTS.index(part) for part in PARTS_OF_GROUP[GROUP_OF[concept]]] for concept in CONCEPTS]
        masks = torch.from_numpy(np.stack([np.isin(parts, labels) for labels in wanted]))
        yield Bird(Image.fromarray(pixels), present, masks)


def directions(encoder: ClipEncoder, source: str) -> Float[Tensor, "k d"]:
    """Of unit length: texts less their mean, or concept vectors learnt from other birds."""
    if source == "texts":
        texts = encoder.encode_texts([f"a bird with a {concept}" for concept in CONCEPTS])
        found = texts - texts.mean(0)
    else:
        seen = list(birds(LEARNT_FROM, seed=SEED + 1000))
        x = torch.cat(
            [encoder.encode_images([bird.picture for bird in seen[i : i + 50]]) for i in range(0, len(seen), 50)]
        )
        labels = torch.tensor([[float(k in bird.present) for k in range(len(CONCEPTS))] for bird in seen])
        found = learn_cavs(x, labels).vectors
    return torch.nn.functional.normalize(found, dim=1)


@dataclass(frozen=True)
class Case:
    """One concept on one image: its map by each method and control."""

    image: int
    concept: int
    present: bool
    maps: dict[str, Float[Tensor, "8 8"]]


def cases_of(
    at: int, bird: Bird, seen: View, rows: Float[Tensor, "k d"], g: torch.Generator, cost: dict[str, float]
) -> list[Case]:
    """Cases of the concepts that are present and of some that are not."""
    visible = [k for k in range(len(CONCEPTS)) if bool((bird.places(k) >= SHOWN).any())]
    absent = [k for k in visible if k not in bird.present]
    some = [absent[i] for i in torch.randperm(len(absent), generator=g)[:ABSENT].tolist()]
    present = [k for k in visible if k in bird.present]
    wanted = present + some
    chosen = rows[wanted]
    made = {}
    for name, way in METHODS.items():
        if name == COSTLY and at % 8:
            continue
        start = time.process_time()
        made[name] = way.run(seen, Asked(lambda x: x @ chosen.T, chosen))
        cost[name] = cost.get(name, 0.0) + (time.process_time() - start) / len(wanted)
    made["control: another concept's decomposition"] = made["decomposition"].roll(len(wanted) // 2, 0)
    y, x = torch.meshgrid(torch.arange(8) - 3.5, torch.arange(8) - 3.5, indexing="ij")
    made["control: middle of the image"] = torch.exp(-(y.square() + x.square()) / 8).expand(len(wanted), -1, -1)
    made["control: random"] = torch.rand(len(wanted), 8, 8, generator=g)
    return [
        Case(at, k, k in bird.present, {name: maps[i] for name, maps in made.items()}) for i, k in enumerate(wanted)
    ]


def measured(source: str, n: int) -> list[Row]:
    """A row a method and control."""
    encoder = load_encoder("builtin:demo")
    assert isinstance(encoder, ClipEncoder)
    rows, g = directions(encoder, source), torch.Generator().manual_seed(SEED)
    cost: dict[str, float] = {}
    cases: list[Case] = []
    drawn = list(birds(n, SEED))
    for at, bird in enumerate(drawn):
        cases += cases_of(at, bird, view(encoder, bird.picture), rows, g, cost)
    scores = encoder.encode_images([bird.picture for bird in drawn]) @ rows.T
    of = {name: [case for case in cases if name in case.maps] for name in cases[0].maps}
    return [_row(name, some, drawn, scores, cost.get(name, 0.0)) for name, some in of.items()]


def _row(name: str, cases: list[Case], drawn: list[Bird], scores: Float[Tensor, "n k"], seconds: float) -> Row:
    present, absent = ([c for c in cases if c.present == here] for here in (True, False))
    maps, images = torch.stack([c.maps[name] for c in present]), torch.tensor([c.image for c in present])
    places = torch.stack([drawn[c.image].places(c.concept) >= SHOWN for c in present])
    parts = torch.stack([drawn[c.image].masks[c.concept] for c in present])
    pointing = pointing_game(maps, places, images=images)
    near = pointing_game(maps, parts, images=images, tolerance=TOLERANCE)
    mass = relevance_mass(maps, parts, images=images)
    row: Row = {"case": name, "pointing": _shown(pointing.found), "chance": pointing.chance}
    row |= {"within 8 px": _shown(near.found), "chance of that": near.chance}
    row |= {"mass": _shown(mass.found), "area": mass.chance, "mass/area": mass.found.value / mass.chance}
    row |= {"maps": len(present), "images": pointing.found.n}
    if name not in METHODS:
        return row
    scale = common_scale(scores, name)
    here, there = (_colour(name, some, scale) for some in (present, absent))
    alike = torch.stack([_correlation(c.maps[name], c.maps["occlusion"]) for c in present])
    row |= {"colour": _shown(here), "absent": _shown(there), "absent/present": there.value / here.value}
    return row | {
        "occlusion r": _shown(mean_over_images(alike, images, high=1.0)),
        "cpu_s a map": seconds / pointing.found.n,
    }


def _colour(name: str, some: list[Case], scale: float) -> Estimate:
    """Summed raising colour of a map, in places of full colour."""
    places = torch.stack([(c.maps[name] / scale).clamp(0, 1).sum() for c in some])
    return mean_over_images(places, torch.tensor([c.image for c in some]), high=64.0)


def _correlation(one: Float[Tensor, "8 8"], other: Float[Tensor, "8 8"]) -> Tensor:
    pair = torch.stack([one.flatten(), other.flatten()])
    return torch.corrcoef(pair)[0, 1].nan_to_num()


def _shown(found: Estimate) -> str:
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=["texts", "images"])
    parser.add_argument("--images", type=int, default=40)
    a = parser.parse_args()
    title = (
        f"maps of concepts from {a.source} on {a.images} rendered birds, builtin:demo, with 95 % intervals over images"
    )
    report(f"maps-{a.source}", title, measured(a.source, a.images))


if __name__ == "__main__":
    main()
