"""First half of training the demo encoder: the image tower learns every attribute from rendered pictures.

An attribute is a learned direction in embedding space. Two losses ask for it: within its group the true
attribute must win, and over all pictures it must be scored higher where it is true. Several processes of one
thread share each step's pictures; step i depends only on the seed, i and their number.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, UInt8
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from assets import cells, species
from assets.bf16_forward import image_tokens, project
from assets.captions import kind_of
from assets.demo_model import MEAN, STD
from assets.training_pool import CONCEPTS, Pool

_log = logging.getLogger(__name__)
_GROUPS = tuple([CONCEPTS.index(c) for c in group] for world in (species, cells) for group in world.GROUPS.values())
_IS_BIRD = tuple(kind_of(CONCEPTS[group[0]]) == "bird" for group in _GROUPS)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn: a rate that warms up, stays, and falls to zero in the last part."""

    steps: int = 1450
    batch: int = 96
    rate: float = 1e-3
    warm_up: int = 100
    decay: float = 0.4
    weight_decay: float = 0.03
    average: float = 0.995
    seed: int = 0
    processes: int = 2
    save_every: int = 100

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        left = (self.steps - step) / (self.decay * self.steps)
        return self.rate * min((step + 1) / self.warm_up, 1.0) * max(min(left, 1.0), 0.0)


class Learner(nn.Module):
    """The image tower with what only training needs: attribute directions, and a second reading of the patches."""

    def __init__(self, tower: nn.Module, dim: int) -> None:
        super().__init__()
        self.tower = tower
        self.directions = nn.Parameter(torch.randn(len(CONCEPTS), dim))
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.full((len(CONCEPTS),), -2.0))
        self.patches = nn.Sequential(
            nn.LayerNorm(tower.class_embedding.shape[0]), nn.Linear(tower.class_embedding.shape[0], len(CONCEPTS))
        )

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Return attribute logits read from CLS and from the mean patch; the second helps small parts early on."""
        tokens = image_tokens(self.tower, pixels)
        scores = project(self.tower, tokens[:, 0]) @ F.normalize(self.directions, dim=-1).T
        return scores.float() * self.scale.exp() + self.bias, self.patches(tokens[:, 1:].mean(dim=1)).float()


def attribute_loss(logits: Float[Tensor, "n k"], concepts: Bool[Tensor, "n k"], birds: Bool[Tensor, " n"]) -> Tensor:
    """Return the mean over groups of the softmax loss, plus the sigmoid loss over all attributes."""
    within = []
    for group, of_birds in zip(_GROUPS, _IS_BIRD, strict=True):
        rows = birds == of_birds
        if rows.any():
            truth = concepts[rows][:, group].int().argmax(dim=1)
            within.append(F.cross_entropy(logits[rows][:, group], truth))
    return torch.stack(within).mean() + 2.0 * F.binary_cross_entropy_with_logits(logits, concepts.float())


def train_images(tower: nn.Module, dim: int, pool: Pool, plan: Plan, folder: Path) -> dict[str, Tensor]:
    """Train to the plan's end, from the folder's checkpoint if there is one; return the tower's averaged weights."""
    meeting = folder / "processes"
    meeting.unlink(missing_ok=True)
    data = [pool.pictures, pool.concepts, pool.birds]
    work = (Learner(tower, dim), data, plan, folder, meeting)
    torch.multiprocessing.start_processes(_work, work, plan.processes, start_method="fork")  # shares the pictures
    stored = load_file(folder / "images.safetensors")
    return {n.removeprefix("average.tower."): t for n, t in stored.items() if n.startswith("average.tower.")}


def _work(rank: int, learner: Learner, data: list[np.ndarray], plan: Plan, folder: Path, meeting: Path) -> None:
    """One of several processes: its share of every batch, gradients averaged with the others'."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    dist.init_process_group("gloo", init_method=meeting.resolve().as_uri(), rank=rank, world_size=plan.processes)
    _run(rank, learner.to(memory_format=torch.channels_last).train(), data, plan, folder / "images.safetensors")
    dist.destroy_process_group()


def _run(rank: int, learner: Learner, data: list[np.ndarray], plan: Plan, checkpoint: Path) -> None:
    optimizer = torch.optim.AdamW(_decayed(learner, plan.weight_decay), lr=plan.rate, betas=(0.9, 0.98), foreach=True)
    average = {name: value.detach().clone() for name, value in learner.state_dict().items()}
    first = step = _resume(learner, optimizer, average, checkpoint)
    started = time.monotonic()
    while step < plan.steps:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        loss = _gradient(rank, learner, data, plan, step)
        optimizer.step()
        _blend(average, learner, min(plan.average, (1 + step) / (10 + step)))
        step += 1
        if rank == 0 and step % 25 == 0:
            speed = (step - first) * plan.batch / (time.monotonic() - started)
            _log.info("step %d of %d, loss %.3f, %.0f pictures/s", step, plan.steps, loss, speed)
        if rank == 0 and (step % plan.save_every == 0 or step == plan.steps):
            _save(learner, optimizer, average, step, checkpoint)


def _decayed(learner: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in learner.parameters() if p.ndim > 1]
    rest = [p for p in learner.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _gradient(rank: int, learner: Learner, data: list[np.ndarray], plan: Plan, step: int) -> float:
    """Leave the gradient of a step, averaged over the processes, in the parameters; return this share's loss."""
    pictures, concepts, birds = data
    chosen = np.sort(_batch(len(birds), plan, step)[rank :: plan.processes])
    pixels = augment(pictures[chosen], ~birds[chosen], np.random.default_rng([plan.seed, step, rank]))
    truth, is_bird = torch.from_numpy(concepts[chosen]), torch.from_numpy(birds[chosen])
    with torch.autocast("cpu", torch.bfloat16):
        logits, from_patches = learner(pixels)
    loss = attribute_loss(logits, truth, is_bird) + 0.4 * attribute_loss(from_patches, truth, is_bird)
    learner.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= plan.processes
    flat *= torch.clamp(1.0 / flat.norm(), max=1.0)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
    return loss.item()


def _batch(count: int, plan: Plan, step: int) -> np.ndarray:
    """Return which pictures a step sees: every pass goes through all of them in an order of its own."""
    per_pass = count // plan.batch
    order = np.random.default_rng([plan.seed, 1, step // per_pass]).permutation(count)
    start = step % per_pass * plan.batch
    return order[start : start + plan.batch]


def augment(
    pictures: UInt8[np.ndarray, "n h w 3"], any_way_up: Bool[np.ndarray, " n"], rng: np.random.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Return normalised pixels, shifted, mirrored and relit at random; cells also turned upside down."""
    n, size = pictures.shape[:2]
    pad = 8
    padded = np.pad(pictures, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    shifted = np.empty_like(pictures)
    for i, (x, y, mirror, flip) in enumerate(rng.integers(0, (2 * pad + 1, 2 * pad + 1, 2, 2), (n, 4))):
        window = padded[i, y : y + size, x : x + size]
        shifted[i] = window[:: -1 if flip and any_way_up[i] else 1, :: -1 if mirror else 1]
    gain = (rng.normal(1, 0.04, (n, 3, 1, 1)) * rng.uniform(0.88, 1.12, (n, 1, 1, 1))).astype(np.float32)
    pixels = torch.from_numpy(shifted).permute(0, 3, 1, 2).float()  # stays channels-last in memory
    noise = torch.from_numpy(rng.standard_normal((n, 1, size, size), dtype=np.float32))
    pixels = pixels * torch.from_numpy(gain / 255) + float(rng.uniform(0, 0.02)) * noise
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@torch.no_grad()
def _blend(average: dict[str, Tensor], learner: nn.Module, keep: float) -> None:
    for name, value in learner.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)
        else:
            average[name].copy_(value)


def _save(
    learner: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], step: int, path: Path
) -> None:
    tensors = {f"model.{name}": value for name, value in learner.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    draft = path.with_suffix(".tmp")
    save_file({name: value.contiguous() for name, value in tensors.items()}, draft, metadata={"step": str(step)})
    draft.replace(path)


def _resume(learner: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], path: Path) -> int:
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as stored:
        step = int(stored.metadata()["step"])
    tensors = load_file(path)
    learner.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    average.update({n.removeprefix("average."): t for n, t in tensors.items() if n.startswith("average.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, field = name.split(".")
            state.setdefault(int(number), {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step
