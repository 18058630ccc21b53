"""Means over images of which each process holds some."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.process_group import ALONE, Group


@dataclass(frozen=True)
class Images:
    """The images of a problem.

    Attributes
    ----------
    count
        Of all processes together.
    group
        The processes that hold them; all go through the same steps, on sums over all images.
    """

    count: int
    group: Group = ALONE

    def mean(self, total: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """A sum over the images that are here as the mean over all, in double precision."""
        everywhere = total.to(torch.float64, copy=True).contiguous()
        self.group.sum_(everywhere)
        return everywhere / self.count

    def largest(self, here: Float[Tensor, "n"]) -> float:
        """Largest absolute value over all images."""
        everywhere = here.abs().max()
        self.group.max_(everywhere)
        return float(everywhere)
