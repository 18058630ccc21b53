"""Map methods on a transformer that knows five colours: they find them, tell them apart and stay dark without them."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

import planted_colours

from cbm.torchvision_guard import ensure_torchvision
from probes import map_methods
from probes.attention import attention_tap
from probes.map_methods import Asked, key_attention
from probes.views import seen_by

CHECKED = ("by_decomposition", "relevance", "occlusion", "gradcam")


def maps_of(tower, directions, pixels, method):
    """`[k h w]`, of all colours, for one image."""
    seen = seen_by(tower, pixels[None])
    return getattr(map_methods, method)(seen, Asked(lambda x: x @ directions.T, directions))


def shares(mask):
    """How much of each place a mask covers."""
    return nn.functional.adaptive_avg_pool2d(mask[None].float(), 8)[0]


def average_precision(values, there):
    order = values.flatten().argsort(descending=True)
    hits = there.flatten()[order].float()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())


@pytest.fixture(scope="module")
def world():
    """The trained tower, its directions, and images it has not seen."""
    tower, directions = planted_colours.trained()
    return tower, directions, planted_colours.pictures(24, seed=1)


@pytest.fixture(scope="module")
def found(world):
    """All maps of the trained tower, by method, and the share of each place that each colour covers."""
    tower, directions, seen = world
    maps = {m: torch.stack([maps_of(tower, directions, image, m) for image in seen.pixels]) for m in CHECKED}
    return maps, torch.stack([torch.stack([shares(mask) for mask in masks]) for masks in seen.masks])


def test_the_fixture_knows_its_colours(world):
    tower, directions, seen = world

    cosines = nn.functional.normalize(tower(seen.pixels), dim=-1) @ directions.T

    best = cosines.topk(2).indices.sort().values
    assert (best == seen.colours.sort().values).float().mean() > 0.98


def measured(maps, covered, seen, method):
    """Pointing, mass, average precision; the share of images with both colours found; mass of absent over present."""
    pointing, mass, precision, both, absent, present = [], [], [], [], [], []
    for i, (one, two) in enumerate(seen.colours.tolist()):
        hits = []
        for colour, cover in ((one, covered[i, 0]), (two, covered[i, 1])):
            values, positive = maps[i, colour], maps[i, colour].clamp(min=0)
            hits.append(bool(cover.flatten()[values.argmax()] > 0.25))
            mass.append(float((positive * cover).sum() / positive.sum().clamp(min=1e-9)))
            precision.append(average_precision(values, cover > 0.25))
            present.append(float(positive.sum()))
        pointing += hits
        both.append(all(hits))
        absent += [float(maps[i, k].clamp(min=0).sum()) for k in range(5) if k not in (one, two)]
    numbers = [
        torch.tensor(n, dtype=torch.float).mean().item() for n in (pointing, mass, precision, both, absent, present)
    ]
    print(method, dict(zip(("pointing", "mass", "AP", "both", "absent", "present"), numbers, strict=True)))
    return (*numbers[:4], numbers[4] / numbers[5])


@pytest.mark.parametrize("method", ["by_decomposition", "relevance", "occlusion"])
def test_a_planted_colour_is_found(world, found, method):
    maps, covered = found

    pointing, mass, precision, both, _ = measured(maps[method], covered, world[2], method)

    assert pointing >= 0.85
    assert precision >= 0.7
    assert mass >= 0.4
    assert both >= 0.75  # each of an image's two colours at its own place


@pytest.mark.parametrize(("method", "most"), [("by_decomposition", 0.2), ("relevance", 0.6)])
def test_the_map_of_an_absent_colour_stays_dark(world, found, method, most):
    maps, covered = found

    absent = measured(maps[method], covered, world[2], method)[4]

    assert absent < most


def test_gradcam_finds_planted_colours_more_often_than_chance(world, found):
    maps, covered = found

    assert measured(maps["gradcam"], covered, world[2], "gradcam")[0] > 0.3  # a colour covers a sixteenth


def test_rollout_is_the_same_for_every_colour(world):
    tower, directions, seen = world

    maps = maps_of(tower, directions, seen.pixels[0], "rollout")

    assert (maps == maps[0]).all()
    assert float(maps[0].sum()) <= 64  # in equal shares, and the class token keeps some


@pytest.mark.parametrize("method", ["by_decomposition", "relevance", "gradcam"])
def test_with_random_weights_a_map_loses_what_it_showed(world, found, method):
    _, directions, seen = world
    maps, covered = found
    torch.manual_seed(3)
    random, _ = planted_colours.tower_and_directions()
    random.eval().requires_grad_(False)
    others = torch.stack([maps_of(random, directions, image, method) for image in seen.pixels])

    colours = seen.colours[:, 0]
    rows = torch.arange(24)
    pairs = torch.stack([maps[method][rows, colours].flatten(1), others[rows, colours].flatten(1)], 1)
    correlation = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean()
    hits = covered[rows, 0].flatten(1)[rows, others[rows, colours].flatten(1).argmax(1)] > 0.25

    print(method, f"correlation {correlation:.2f}, pointing {hits.float().mean():.2f}")
    assert correlation < 0.3
    assert hits.float().mean() <= 0.25


@pytest.fixture(scope="module")
def block():
    """The last block's attention of a random tower with 4 by 6 patches."""
    ensure_torchvision()
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer((32, 48), 8, width=24, layers=2, heads=4, mlp_ratio=2.0, output_dim=12).eval()
    with torch.no_grad(), attention_tap(tower) as tap:
        tower(torch.randn(1, 3, 32, 48))
    return tap.blocks[-1]


def test_key_attention_without_neighbours_is_a_softmax_of_key_products(block):
    keys = block.keys[0, :, 1:].double()
    products = torch.einsum("hpe,hqe->hpq", keys, keys) / keys.shape[-1] ** 0.5

    attention = key_attention(block, (4, 6), 1, spread=2.0, amount=0.0)

    expected = products.exp() / products.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(attention[0].double(), expected, rtol=1e-5, atol=1e-6)


def test_key_attention_adds_a_neighbourhood_of_the_grid(block):
    plain, near = (key_attention(block, (4, 6), 1, spread=2.0, amount=a)[0, 0] for a in (0.0, 1.0))

    added = (near / plain).log()  # the neighbourhood, and for each row what keeps its sum at one
    added = added - added.diagonal()[:, None]

    assert float(added[0, 1]) == pytest.approx(torch.exp(torch.tensor(-1 / 8)).item() - 1, abs=1e-4)  # beside it
    assert float(added[0, 6]) == pytest.approx(float(added[0, 1]), abs=1e-4)  # below it: six patches in a row
    assert float(added[0, 7]) == pytest.approx(torch.exp(torch.tensor(-2 / 8)).item() - 1, abs=1e-4)
