"""Training of sparse autoencoders: seeded, from memory or from disk, in one process or several, and able to go on.

Embeddings are centred and divided by one number, so that the penalty and the step length mean the same for every
encoder; ReLU and top-k commute with that number, so the result goes back to the embeddings' own units exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Int
from torch import Tensor

from cbm.errors import DataError, UsageError
from cbm.process_group import ALONE, Group
from cbm.progress import OnProgress, Reading, silent
from cbm.sae import Dictionary, calibrated
from cbm.sae_checkpoints import Checkpoint, key_of, restored, save
from cbm.sae_steps import SaeConfig, Training, first_guess
from cbm.streams import ROWS_AT_ONCE, Rows, Scaled, rows_at, shape_of, shuffled

__all__ = ["Checkpoint", "SaeConfig", "train_sae", "train_saes"]

READ, TOLD = 500, 50  # steps after which numbers and where it is are told, and after each epoch


def train_sae(
    x: Rows,
    config: SaeConfig,
    *,
    group: Group = ALONE,
    checkpoint: Checkpoint | None = None,
    on_progress: OnProgress = silent,
) -> Dictionary:
    """A dictionary of these embeddings, with `config.width` atoms; see `train_saes`."""
    return train_saes(x, config, (config.width,), group=group, checkpoint=checkpoint, on_progress=on_progress)[0]


def train_saes(
    x: Rows,
    config: SaeConfig,
    widths: Sequence[int],
    *,
    group: Group = ALONE,
    checkpoint: Checkpoint | None = None,
    on_progress: OnProgress = silent,
) -> tuple[Dictionary, ...]:
    """A dictionary of each width, in one pass over the embeddings: every batch is read once and goes to all.

    Each is to the byte the one that is trained alone.

    Parameters
    ----------
    x
        In memory or not: a tensor, an array, a memory map of any number type. Read a batch at a time; the same numbers
        give the same dictionary, wherever they come from.
    widths
        Numbers of atoms; `config.width` is not used.
    group
        Processes that all call this with the same embeddings; each computes its part of every batch. All get the same
        dictionaries, and the leader writes the checkpoint.
    checkpoint
        A file that is written every so many steps. If it exists, training goes on from it, to the same bytes that it
        would have reached without a stop; with another number of processes to the same up to rounding.

    Raises
    ------
    DataError
        If all embeddings are the same, or fewer than two.
    ModelError
        If the checkpoint belongs to other embeddings, another config or other widths, or is none.
    UsageError
        If there is no width, or one is there twice, or more than half of the embeddings are held out.

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
    if not 0 <= config.held <= len(x) // 2:
        raise UsageError(f"{config.held:,} of {len(x):,} embeddings cannot be held out", hint="hold out half at most")
    data = Scaled(x, shape_of(x))
    if len(x) < 2 or not data.shape.scale > 0:
        raise DataError(f"{len(x)} embeddings that do not differ have no atoms", hint="embed more images")
    plan = _Plan.of(len(x), config)
    trainings = [Training(first_guess(x.shape[1], one), one) for one in (replace(config, width=w) for w in widths)]
    key = key_of(data.shape.digest, config, widths)
    done = restored(trainings, checkpoint, key, group)
    for step, rows in enumerate(plan.batches(done), done):
        if step % plan.steps % TOLD == 0:
            on_progress(step / plan.total, _reading(plan, step, trainings, data))
        part = data.at(rows[group.rank :: group.size])
        for training in trainings:
            training.step(part, of=len(rows), group=group)
            if plan.draws(step + 1):
                training.draw_again(data, torch.Generator().manual_seed(config.seed * 2_000_003 + step), group)
        if checkpoint is not None and (step + 1) % checkpoint.every == 0 and group.leads:
            save(trainings, checkpoint.path, key, step + 1)
    on_progress(1.0, _reading(plan, plan.total, trainings, data))
    group.from_leader_(*(tensor for one in trainings for tensor in one.tensors().values()))
    return tuple(_in_units_of(data, training.dictionary) for training in trainings)


@dataclass(frozen=True)
class _Plan:
    """What happens when.

    Attributes
    ----------
    learned, held
        Positions of the embeddings that are learned from, and of those that are not.
    steps, total
        Of an epoch, and of all.
    """

    config: SaeConfig
    learned: Int[Tensor, "n"]
    held: Int[Tensor, "m"]
    steps: int
    total: int

    @classmethod
    def of(cls, n: int, config: SaeConfig) -> "_Plan":
        held = torch.arange(config.held) * (n // max(config.held, 1))
        mask = torch.ones(n, dtype=torch.bool)
        mask[held] = False
        learned = torch.nonzero(mask).flatten()
        steps = -(-len(learned) // config.batch)
        return cls(config, learned, held, steps, steps * config.epochs)

    def batches(self, done: int) -> Iterator[Int[Tensor, "b"]]:
        """Positions for each step that is left: all once an epoch, in an order of the epoch's own."""
        for epoch in range(done // self.steps, self.config.epochs):
            order = shuffled(len(self.learned), self.config.batch, self.config.seed * 1_000_003 + epoch + 1)
            for rows in islice(order, done - epoch * self.steps if done > epoch * self.steps else 0, None):
                yield self.learned[rows]

    def draws(self, steps: int) -> bool:
        """Whether dead atoms are drawn again after so many steps."""
        every = max(1, round(self.config.resample * self.steps))
        return steps % every == 0 and steps + every < self.total


def _reading(plan: _Plan, step: int, trainings: Sequence[Training], data: Scaled) -> str:
    """Where the training is; after an epoch, or `READ` steps of one, with what was seen since the last numbers."""
    epoch, within = divmod(step, plan.steps)
    if step == plan.total:
        said = f"{' and '.join(f'{len(one.dictionary):,}' for one in trainings)} atoms"
    else:
        said = f"epoch {epoch + 1} of {plan.config.epochs}" + (f", step {within:,} of {plan.steps:,}" if within else "")
    if within % READ:
        return said
    numbers: dict[str, float] = {}
    for training in trainings:
        told = training.tell()
        if len(plan.held):
            told["explained_variance/held"] = training.explained(data.at(plan.held))
        behind = f"/{len(training.dictionary)}" if len(trainings) > 1 else ""
        numbers |= {f"{name}{behind}": value for name, value in told.items()}
    return Reading(said, **numbers)


def _in_units_of(data: Scaled, trained: Dictionary) -> Dictionary:
    centre, scale = data.shape.centre, data.shape.scale
    moved = replace(trained, bias=trained.bias * scale, centre=centre + scale * trained.centre)
    return replace(moved, threshold=calibrated(moved, rows_at(data.x, data.some(ROWS_AT_ONCE))))
