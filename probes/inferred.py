"""Corrections of a model that infers its scores: the corrected concepts are held, and the others are inferred again."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.bottleneck import Clamp
from cbm.model import ConceptModel
from probes.corrections import TrueScores
from probes.policies import State

Asked = Callable[[Float[Tensor, "n m"], slice], Float[Tensor, "b m c"]]


def corrector(
    model: ConceptModel, answers: TrueScores, x: Float[Tensor, "n d"], state: State
) -> Callable[[State, Int[Tensor, "n s"]], None]:
    """Corrects some concepts of each image, in place: they join those that are held, and all else follows."""
    held = torch.zeros(len(x), len(model.concepts), dtype=torch.bool)
    values = torch.zeros(held.shape)
    values[:, answers.columns] = state.truth

    def correct(state: State, chosen: Int[Tensor, "n s"]) -> None:
        rows = torch.arange(len(chosen))[:, None]
        held[rows, answers.columns[chosen]] |= ~state.done[rows, chosen]
        scores = model.scores(x, Clamp(held, values))
        state.scores.copy_(scores[:, answers.columns])
        state.probability.copy_(answers.probability(scores))
        state.logits.copy_(model.head(scores, x))
        state.done[rows, chosen] = True

    return correct


def others_kept(model: ConceptModel, answers: TrueScores, x: Float[Tensor, "n d"], state: State) -> Asked:
    """Imagined answers on many images: the class follows, the other concepts stay, since inferring them takes long."""
    full = model.scores(x)
    own = torch.eye(len(model.concepts), dtype=torch.bool)[answers.columns]  # [m k]

    def asked(to: Float[Tensor, "n m"], rows: slice) -> Float[Tensor, "b m c"]:
        now = full[rows].clone()
        now[:, answers.columns] = state.scores[rows]
        changed = torch.where(own, to[rows, :, None], now[:, None])
        b, m, _ = changed.shape
        return model.head(changed.flatten(0, 1), x[rows].repeat_interleave(m, 0)).view(b, m, -1)

    return asked


def inferred_again(model: ConceptModel, answers: TrueScores, x: Float[Tensor, "d"], clamp: Clamp | None) -> Asked:
    """Imagined answers on one image: all that is not held is inferred again."""
    m, k = len(answers.columns), len(model.concepts)
    own = torch.eye(k, dtype=torch.bool)[answers.columns]
    mask, values = (torch.zeros(k, dtype=torch.bool), torch.zeros(k)) if clamp is None else (clamp.mask, clamp.values)

    def asked(to: Float[Tensor, "n m"], rows: slice) -> Float[Tensor, "b m c"]:
        held = Clamp(own | mask, torch.where(own, to[0, :, None], values))
        return model.logits(x.expand(m, -1), held)[None]

    return asked
