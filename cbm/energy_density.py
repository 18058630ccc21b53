"""The global energy as a density: how concepts and classes go together, learned from labels alone.

No image is looked at, so that images which show every concept cannot switch the dependence off. The density is relative
to independent concepts, `p(c, y) ~ prod_k p(c_k) exp(-E_global(c, y))`: joined with `p(c_k | x)`, which knows how usual a
concept is, that is not counted twice.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.energy import Energies, class_loss, class_table, known_loss
from cbm.mean_field import Coupling
from cbm.progress import OnProgress, silent

Labels = tuple[Float[Tensor, "n k"], Int[Tensor, "n"]]
HeldLabels = tuple[Float[Tensor, "m k"], Int[Tensor, "m"]]

BATCH, STEPS = 256, 8  # images a step at most, and steps a pass at least
FEWEST = 16  # images a step, however few there are
RATE = 0.02  # longest step of Adam
DECAY = 1e-3
SMALL = 0.1  # of the first table: nearly independent
RARE = 0.01  # shares are taken to be this far from 0 and 1


def density(
    first: Energies,
    usual: Float[Tensor, "k"],
    labels: Labels,
    held: HeldLabels,
    generator: torch.Generator,
    *,
    passes: int,
    on_progress: OnProgress = silent,
) -> tuple[Coupling, float]:
    """A global energy trained by pseudo-likelihood on concept and class labels, and its loss on the held-out ones.

    Of all passes the one with the least loss on `held` is kept; a label that is NaN is not asked for, and is met as `usual`.

    References
    ----------
    Besag, "Statistical analysis of non-lattice data", The Statistician 1975.
    """
    c, y = labels
    start = first.coupling()
    values = (start.start, start.change, SMALL * first.global_out, first.class_embedding)
    tensors = [value.detach().clone().requires_grad_(True) for value in values]
    adam = torch.optim.AdamW(tensors, lr=RATE, weight_decay=DECAY)
    size = max(FEWEST, min(BATCH, len(c) // STEPS))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, passes * -(-len(c) // size))
    best, kept = torch.inf, start
    for number in range(passes):
        on_progress(number / passes, "learning how concepts depend on each other")
        for rows in torch.split(torch.randperm(len(c), generator=generator), size):
            adam.zero_grad()
            pseudo_loss(_table(*tensors), usual, c[rows], y[rows]).backward()  # type: ignore[no-untyped-call]
            adam.step()
            schedule.step()
        with torch.no_grad():
            reached = float(pseudo_loss(_table(*tensors), usual, *held))
        if reached < best:
            best, kept = reached, _table(*(tensor.detach().clone() for tensor in tensors))
    return kept, best


def pseudo_loss(
    coupling: Coupling, usual: Float[Tensor, "k"], c: Float[Tensor, "n k"], y: Int[Tensor, "n"]
) -> Float[Tensor, ""]:
    """Cross-entropy of every concept given all others and the class, summed, and of the class given the concepts."""
    guessed = torch.where(c.isnan(), usual, c)
    hidden = torch.addmm(coupling.start, guessed, coupling.change)
    absent = hidden[:, None] - guessed[:, :, None] * coupling.change
    cost = torch.relu(absent + coupling.change) - torch.relu(absent)
    logits = torch.logit(usual.clamp(RARE, 1 - RARE)) - (cost @ coupling.table[y][:, :, None])[..., 0]
    return known_loss(logits, c) + class_loss(torch.relu(hidden) @ coupling.table.T, y)


def _table(
    start: Float[Tensor, "h"], change: Float[Tensor, "k h"], out: Float[Tensor, "h"], classes: Float[Tensor, "c h"]
) -> Coupling:
    return Coupling(start, change, class_table(out, classes))
