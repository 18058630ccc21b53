"""Energies that promise what they keep: temperatures fitted on images held out.

A concept that no image shows still has evidence by chance; overconfident evidence cannot be overruled by any dependence.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cbm.energy import known_loss
from cbm.energy_parts import EnergyBottleneck
from cbm.training_set import TrainingSet

STEPS = 30  # of L-BFGS
TRUSTS = (0.5, 0.7, 1.0, 1.4, 2.0)  # how much the image's evidence may count beside the dependence
CERTAIN = 1e-4  # a probability is at most this close to 0 and 1 in a loss


def calibrated(parts: EnergyBottleneck, held: TrainingSet) -> tuple[EnergyBottleneck, float]:
    """The parts whose class energy has a temperature, and each concept's log-odds a slope and a shift; and the concepts' loss.

    The shift is a hidden unit that is always 1. Both are drawn a little to 1 and 0: by one image.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017; Platt, "Probabilistic outputs for
    support vector machines", 1999.
    """
    labels = held.concept_labels
    assert labels is not None
    with torch.no_grad():
        concepts, classes = parts.logits(held.x)
    k = concepts.shape[1]
    log, slope, shift = (value.requires_grad_(True) for value in (torch.zeros(1), torch.ones(k), torch.zeros(k)))

    def loss() -> Tensor:
        drawn = log.square().sum() + (slope - 1).square().sum() + shift.square().sum()
        own = cross_entropy(log.exp() * classes, held.labels) + known_loss(slope * concepts + shift, labels)
        return own + drawn / (2 * len(held))

    _least(loss, [log, slope, shift])
    slope, shift = slope.detach().clamp(min=0), shift.detach()
    made = replace(
        parts,
        concept_layer=torch.cat([parts.concept_layer, torch.zeros(1, held.x.shape[1])]),
        concept_offset=torch.cat([parts.concept_offset, torch.ones(1)]),
        concept_table=torch.cat([slope[:, None] * parts.concept_table, shift[:, None]], 1),
        weights=torch.cat([log.detach().exp(), parts.weights[1:]]),
    )
    return made, float(known_loss(slope * concepts + shift, labels))


@torch.no_grad()
def trusting(parts: EnergyBottleneck, held: TrainingSet) -> EnergyBottleneck:
    """The parts whose evidence counts as much as gives the concepts of held-out images the least loss, when none is held.

    Clear images are trusted more than blurred ones. The dependence between concepts is never weighed down.
    """
    labels = held.concept_labels
    assert labels is not None
    made = [replace(parts, weights=parts.weights * torch.tensor([trust, trust, 1.0])) for trust in TRUSTS]
    losses = [float(known_loss(torch.logit(one(held.x).clamp(CERTAIN, 1 - CERTAIN)), labels)) for one in made]
    return made[losses.index(min(losses))]


def _least(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> None:
    descent = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        descent.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        descent.step(step)  # type: ignore[no-untyped-call]
