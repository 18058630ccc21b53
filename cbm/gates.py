"""Gates that open or close a concept on each image, learned by samples that can be differentiated.

A gate is open with probability `sigmoid(opening)`. A sample of the binary concrete distribution lies between 0 and 1 and,
the lower its temperature, the closer to one of them; the temperature is lowered while the gates are learned.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

SMALLEST = 1e-6  # of uniform noise, whose logarithm is taken


def sampled_gates(opening: Float[Tensor, "n k"], tau: float, generator: torch.Generator) -> Float[Tensor, "n k"]:
    """A sample of every gate: open with probability `sigmoid(opening)` as `tau` goes to zero.

    References
    ----------
    Maddison, Mnih, Teh, "The concrete distribution", ICLR 2017; Jang, Gu, Poole, "Categorical reparameterization with
    Gumbel-softmax", ICLR 2017.
    """
    uniform = torch.rand(opening.shape, generator=generator).clamp(SMALLEST, 1 - SMALLEST)
    return torch.sigmoid((opening + torch.logit(uniform)) / tau)


def divergence(opening: Float[Tensor, "n k"], active: float) -> Float[Tensor, "n"]:
    """How far the gates of each image are from opening with probability `active`: their divergences, summed.

    Notes
    -----
    Kullback and Leibler's, of Bernoulli distributions; zero where every gate opens with that probability.
    """
    q = torch.sigmoid(opening)
    opened = q * (logsigmoid(opening) - math.log(active))
    closed = (1 - q) * (logsigmoid(-opening) - math.log1p(-active))
    return (opened + closed).sum(1)


def annealed(share: float, last: float) -> float:
    """The temperature after a share of the training: from 1 to `last`, by the same factor at every step.

    Examples
    --------
    >>> [annealed(share, 0.01) for share in (0.0, 0.5, 1.0)]
    [1.0, 0.1, 0.01]
    """
    return float(last**share)
