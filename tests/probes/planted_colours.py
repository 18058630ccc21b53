"""A small vision transformer that knows five colours, and images that say where each colour is.

The weights beside this file were made by running it, which takes half a minute:

    python tests/probes/planted_colours.py

Every image has a grey background and two shapes of different colours that do not touch. The tower and five directions
are trained together, with a sigmoid loss for each colour.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cbm.torchvision_guard import ensure_torchvision

WEIGHTS = Path(__file__).with_name("planted_colours.safetensors")
SIDE, PATCH, WIDTH = 64, 8, 64
COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.1),
    "blue": (0.15, 0.2, 0.9),
    "yellow": (0.9, 0.85, 0.1),
    "violet": (0.6, 0.1, 0.8),
}


@dataclass(frozen=True)
class Pictures:
    """Pixels `[n 3 64 64]`, which two colours each has `[n 2]`, and where these are `[n 2 64 64]`."""

    pixels: Tensor
    colours: Tensor
    masks: Tensor


def tower_and_directions() -> tuple[nn.Module, nn.Parameter]:
    """Both with random weights."""
    ensure_torchvision()
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer(SIDE, PATCH, width=WIDTH, layers=3, heads=4, mlp_ratio=2.0, output_dim=32)
    return tower, nn.Parameter(torch.randn(len(COLOURS), 32))


def trained() -> tuple[nn.Module, Tensor]:
    """The trained tower and the unit directions of the colours."""
    tower, directions = tower_and_directions()
    weights = {name: value.float() for name, value in load_file(WEIGHTS).items()}
    directions.data = weights.pop("directions")
    tower.load_state_dict(weights)
    return tower.eval().requires_grad_(False), nn.functional.normalize(directions.detach(), dim=-1)


def pictures(n: int, seed: int) -> Pictures:
    """Images drawn at random."""
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 1, 5, 5, generator=g) * 0.5 + 0.25
    pixels = nn.functional.interpolate(low, (SIDE, SIDE), mode="bicubic").expand(-1, 3, -1, -1).clone()
    colours = torch.stack([torch.randperm(len(COLOURS), generator=g)[:2] for _ in range(n)])
    masks = torch.zeros(n, 2, SIDE, SIDE, dtype=torch.bool)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for i in range(n):
        halves = torch.randperm(2, generator=g).tolist()  # which of the two is at the left
        for j, half in enumerate(halves):
            radius = 7 + 3 * float(torch.rand((), generator=g))
            cy = radius + (SIDE - 2 * radius) * float(torch.rand((), generator=g))
            cx = half * SIDE / 2 + radius + (SIDE / 2 - 2 * radius) * float(torch.rand((), generator=g))
            round_ = bool(torch.rand((), generator=g) < 0.5)
            far = (
                ((y - cy).square() + (x - cx).square()).sqrt()
                if round_
                else torch.maximum((y - cy).abs(), (x - cx).abs())
            )
            masks[i, j] = far < radius * (1.0 if round_ else 0.85)
            colour = torch.tensor(list(COLOURS.values())[int(colours[i, j])])
            pixels[i, :, masks[i, j]] = colour[:, None]
    pixels += 0.03 * torch.randn(pixels.shape, generator=g)
    return Pictures((pixels - 0.5) / 0.25, colours, masks)


def train(steps: int = 450, batch: int = 64) -> None:
    """Train and write the weights, in half precision to keep them small."""
    tower, directions = tower_and_directions()
    temperature = nn.Parameter(torch.tensor([2.3, -2.0]))
    optimizer = torch.optim.Adam([*tower.parameters(), directions, temperature], lr=1.5e-3)
    for step in range(steps):
        seen = pictures(batch, 1000 + step)
        there = torch.zeros(batch, len(COLOURS)).scatter_(1, seen.colours, 1.0)
        cosines = nn.functional.normalize(tower(seen.pixels), dim=-1) @ nn.functional.normalize(directions, dim=-1).T
        logits = cosines * temperature[0].exp() + temperature[1]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, there)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            print(
                step + 1, f"{loss.item():.3f}", f"{((logits > 0) == (there > 0)).float().mean().item():.3f}", flush=True
            )
    values = {**tower.state_dict(), "directions": directions.detach()}
    save_file({name: value.half().contiguous() for name, value in values.items()}, WEIGHTS)


if __name__ == "__main__":
    train()
