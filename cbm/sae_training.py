"""Training of sparse autoencoders: seeded, with dead atoms drawn again, and able to go on where it was stopped.

Embeddings are centred and divided by one number, so that the penalty and the step length mean the same for every
encoder; ReLU and top-k commute with that number, so the result goes back to the embeddings' own units exactly.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from cbm.errors import DataError, ModelError, UsageError
from cbm.progress import OnProgress, Reading, silent
from cbm.sae import ROWS_AT_ONCE, Dictionary, Kind, Step, calibrated, gradients, losses

WEIGHTS = ("encoder", "bias", "decoder", "centre")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps of each
EPSILON = 1e-8


@dataclass(frozen=True)
class SaeConfig:
    """How a dictionary is trained.

    Attributes
    ----------
    kind, width, k
        What keeps the codes few, the number of atoms, and codes an image for "topk" and "batchtopk".
    l1
        Penalty on the sum of the codes, for "relu"; where embeddings have mean square length 1.
    epochs, batch, rate
        Passes over the embeddings, embeddings a step, and the step length of Adam.
    resample
        Epochs after which atoms that nothing used are drawn again; never within the last as many.
    seed
        Of the first atoms, the order and the draws.
    """

    kind: Kind = "batchtopk"
    width: int = 1024
    k: int = 16
    l1: float = 0.05
    epochs: int = 60
    batch: int = 256
    rate: float = 1e-3
    resample: int = 10
    seed: int = 0


def train_sae(
    x: Float[Tensor, "n d"], config: SaeConfig, *, checkpoint: Path | None = None, on_progress: OnProgress = silent
) -> Dictionary:
    """A dictionary of these embeddings, with `config.width` atoms; see `train_saes`."""
    return train_saes(x, config, (config.width,), checkpoint=checkpoint, on_progress=on_progress)[0]


def train_saes(
    x: Float[Tensor, "n d"],
    config: SaeConfig,
    widths: Sequence[int],
    *,
    checkpoint: Path | None = None,
    on_progress: OnProgress = silent,
) -> tuple[Dictionary, ...]:
    """A dictionary of each width, in one pass over the embeddings: every batch is read once and goes to all.

    Each is to the byte the one that is trained alone.

    Parameters
    ----------
    widths
        Numbers of atoms; `config.width` is not used.
    checkpoint
        A file that is written after every epoch. If it exists, training goes on from it, to the same bytes that it
        would have reached without a stop.

    Raises
    ------
    DataError
        If all embeddings are the same, or fewer than two.
    ModelError
        If the checkpoint belongs to other embeddings, another config or other widths, or is none.
    UsageError
        If there is no width, or one is there twice.

    References
    ----------
    Rao, Mahajan, Böhle, Schiele, "Discover-then-name: task-agnostic concept bottlenecks via automated concept
    discovery", ECCV 2024; Bricken et al., "Towards monosemanticity", 2023, for the draws.

    Notes
    -----
    The published encoder starts about `sqrt(width)` times too small, because its fan-in counts the atoms, and on
    embeddings that are not centred, so that most atoms die. Here it starts as the decoder, on centred embeddings, and
    an atom that is drawn again points to an embedding from the centre, not from the origin.
    """
    if not widths or len(set(widths)) < len(widths):
        raise UsageError(f"the widths {list(widths)} are not distinct", hint="give one or more, such as 512 and 1024")
    centre = x.mean(0)
    scale = float((x - centre).square().sum(1).mean().sqrt()) if len(x) > 1 else 0.0
    if not scale > 0:
        raise DataError(f"{len(x)} embeddings that do not differ have no atoms", hint="embed more images")
    configs = [replace(config, width=width) for width in widths]
    trainings = [Training(first_guess(x.shape[1], one), one) for one in configs]
    key = _key(x, config, widths)
    done = _restored(trainings, checkpoint, key) if checkpoint is not None and checkpoint.exists() else 0
    for epoch in range(done, config.epochs):
        on_progress(epoch / config.epochs, Reading(f"epoch {epoch + 1} of {config.epochs}", **_told(trainings)))
        _run_epoch(trainings, x, centre, scale, epoch)
        if checkpoint is not None:
            _save(trainings, checkpoint, key, epoch + 1)
    on_progress(1.0, Reading(f"{' and '.join(f'{width:,}' for width in widths)} atoms", **_told(trainings)))
    return tuple(_in_units_of(x, training.dictionary, centre, scale) for training in trainings)


def first_guess(d: int, config: SaeConfig) -> Dictionary:
    """Random atoms of unit length, read as they are written."""
    atoms = normalize(torch.randn(config.width, d, generator=torch.Generator().manual_seed(config.seed)), dim=1)
    return Dictionary(
        atoms.clone(), torch.zeros(config.width), atoms, torch.zeros(d), config.kind, min(config.k, config.width)
    )


class Training:
    """A dictionary on its way: its weights, what Adam remembers of them, and which atoms were used."""

    def __init__(self, start: Dictionary, config: SaeConfig, *, epsilon: float = EPSILON) -> None:
        self.config = config
        self.dictionary = replace(
            start, **{name: getattr(start, name).clone(memory_format=torch.contiguous_format) for name in WEIGHTS}
        )
        self.adam = torch.optim.Adam(self._weights().values(), lr=config.rate, eps=epsilon, fused=True)
        for weight in self._weights().values():
            self.adam.state[weight] = {
                "step": torch.zeros(()), "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)
            }  # fmt: skip
        self.used = torch.zeros(len(start), dtype=torch.int64)  # since atoms were drawn, without this epoch
        self.seen, self.sums = torch.zeros_like(self.used), torch.zeros(2)  # in this epoch
        self.room = torch.empty(0, len(start))
        self.epoch = 0
        self.told: dict[str, float] = {}

    def step(self, x: Float[Tensor, "n d"]) -> Step:
        """One step of Adam; what the batch said before it."""
        if len(self.room) < len(x):
            self.room = torch.empty(len(x), len(self.dictionary))
        found = gradients(self.dictionary, x, l1=self.penalty, room=self.room[: len(x)])
        for name, weight in self._weights().items():
            weight.grad = getattr(found, name)
        self.adam.step()
        normalize(self.dictionary.decoder, dim=1, out=self.dictionary.decoder)
        self.sums += torch.stack([found.losses.sum(), found.missed.sum()])
        self.seen += found.used
        return found

    def end_epoch(
        self, x: Float[Tensor, "n d"], centre: Float[Tensor, "d"], scale: float, draw: torch.Generator
    ) -> None:
        """What all embeddings said together; and dead atoms are drawn again, if it is time."""
        loss, missed = (self.sums / len(x)).tolist()  # of embeddings whose mean square length is 1
        self.told = {
            "loss": loss,
            "explained_variance": 1 - missed,
            "l0": float(self.seen.sum()) / len(x),
            "dead": float((self.seen == 0).double().mean()),
        }
        self.sums.zero_()
        self.used += self.seen
        self.seen.zero_()
        self.epoch += 1
        every = self.config.resample
        if self.epoch % every == 0 and self.epoch + every < self.config.epochs:
            self._draw_again(x, centre, scale, draw)
            self.used.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next epoch depends on."""
        held = {"used": self.used}
        for name, weight in self._weights().items():
            held |= {name: weight, **{f"{name}.{m}": self.adam.state[weight][m] for m in MOMENTS}}
        return held

    @property
    def penalty(self) -> float:
        """What each unit of a code costs."""
        return self.config.l1 if self.config.kind == "relu" else 0.0

    def _weights(self) -> dict[str, Tensor]:
        return {name: getattr(self.dictionary, name) for name in WEIGHTS}

    def _draw_again(
        self, x: Float[Tensor, "n d"], centre: Float[Tensor, "d"], scale: float, draw: torch.Generator
    ) -> None:
        """Point every dead atom to an embedding that is badly reconstructed, and forget what Adam knew of it."""
        dead = torch.nonzero(self.used == 0).flatten()[: len(x)]
        if not len(dead):
            return
        found = torch.cat(
            [losses(self.dictionary, (rows - centre) / scale, l1=self.penalty) for rows in torch.split(x, ROWS_AT_ONCE)]
        )
        chosen = torch.multinomial(draw_chances(found), len(dead), generator=draw)
        towards = (x[chosen] - centre) / scale - self.dictionary.centre
        share = 0.2 if self.config.kind == "relu" else 1.0  # among the k largest, a short row would never be
        rows = new_encoder_rows(self.dictionary.encoder, self.used > 0, towards, share=share)
        fresh = {"encoder": rows, "bias": torch.zeros(len(dead)), "decoder": normalize(towards, dim=1)}
        for name, value in fresh.items():
            weight = getattr(self.dictionary, name)
            weight[dead] = value
            for moment in MOMENTS[1:]:
                self.adam.state[weight][moment][dead] = 0.0


def _run_epoch(
    trainings: Sequence[Training], x: Float[Tensor, "n d"], centre: Float[Tensor, "d"], scale: float, epoch: int
) -> None:
    """All embeddings once, in an order of this epoch's own."""
    config = trainings[0].config
    order = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch + 1)
    for rows in torch.split(torch.randperm(len(x), generator=order), config.batch):
        batch = (x[rows] - centre) / scale
        for training in trainings:
            training.step(batch)
    for training in trainings:
        draw = torch.Generator()
        draw.set_state(order.get_state())  # each draws as if it were alone
        training.end_epoch(x, centre, scale, draw)


def _told(trainings: Sequence[Training]) -> dict[str, float]:
    """The numbers of the last epoch; of several widths, each under its own."""
    if len(trainings) == 1:
        return trainings[0].told
    return {f"{name}/{len(one.dictionary)}": value for one in trainings for name, value in one.told.items()}


def _save(trainings: Sequence[Training], path: Path, key: str, epoch: int) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {f"{i}.{name}": tensor for i, one in enumerate(trainings) for name, tensor in one.tensors().items()}
    beside = path.with_name(f".{path.name}.writing")
    save_file(tensors, beside, metadata={"key": key, "epoch": str(epoch)})
    os.replace(beside, path)


def _restored(trainings: Sequence[Training], path: Path, key: str) -> int:
    """Fill the trainings from a checkpoint; the epochs that they have had."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors, record = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except Exception as error:  # safetensors raises its own type on damaged files
        raise ModelError(f"{path.name} is not a checkpoint", hint="delete it to begin anew") from error
    if not record or record.get("key") != key:
        raise ModelError(f"{path.name} belongs to another training", hint="delete it to begin anew")
    for i, training in enumerate(trainings):
        for name, tensor in training.tensors().items():
            tensor.copy_(tensors[f"{i}.{name}"])
        training.epoch = int(record["epoch"])
    return int(record["epoch"])


def draw_chances(found: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """How likely each embedding is drawn for a dead atom: as its squared loss."""
    squared = found.square() + 1e-30  # all may be reconstructed
    return squared / squared.sum()


def new_encoder_rows(
    encoder: Float[Tensor, "h d"], alive: Bool[Tensor, "h"], towards: Float[Tensor, "m d"], *, share: float
) -> Float[Tensor, "m d"]:
    """Rows in these directions, `share` times as long as those that are alive are on average."""
    length = encoder[alive].norm(dim=1).mean() if bool(alive.any()) else torch.ones(())
    return share * length * normalize(towards, dim=1)


def _in_units_of(x: Float[Tensor, "n d"], trained: Dictionary, centre: Float[Tensor, "d"], scale: float) -> Dictionary:
    moved = replace(trained, bias=trained.bias * scale, centre=centre + scale * trained.centre)
    return replace(moved, threshold=calibrated(moved, x))


def _key(x: Float[Tensor, "n d"], config: SaeConfig, widths: Sequence[int]) -> str:
    """What a checkpoint belongs to."""
    about = {**asdict(config), "width": list(widths)}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(x.contiguous().numpy().tobytes())
    return digest.hexdigest()
