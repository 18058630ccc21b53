"""Which heads can go: noisy gates that learn how little information each head may pass (VTrans).

The encoder is frozen. Each head's output is multiplied by `mu + s * noise`; the loss is how far the answer moves, plus `beta`
times what the gates let pass. A head is kept where the signal beats the noise, `log alpha = log s^2 - log mu^2 < 0`. Gates
are trained along a path of growing `beta`, from several seeds, because a single run is not to be trusted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.encoders import Encoder
from cbm.errors import DataError
from cbm.progress import OnProgress, part, silent
from probes.gated import Instead, embed_gated, head_count

BETAS = (1e-3, 3e-3, 1e-2)
LOG_VARIANCE, WOBBLE = -9.0, 0.01  # where the gates start: noise of 0.011, each with a little of its own

Loss = Callable[[Float[Tensor, "n d"], Int[Tensor, "n"]], Float[Tensor, "n"]]
"""How far the answers are from the right ones, from embeddings and the positions of their images."""


@dataclass(frozen=True)
class GateRuns:
    """What gates of several seeds have learned along a path of betas.

    Attributes
    ----------
    log_alpha, mu
        By seed, beta, block and head.
    betas
        Growing.
    """

    log_alpha: Float[Tensor, "s p b h"]
    mu: Float[Tensor, "s p b h"]
    betas: tuple[float, ...]

    @property
    def kept(self) -> Float[Tensor, "p b h"]:
        """Share of the seeds that keep each head, for every beta."""
        return (self.log_alpha < 0).float().mean(0)

    @property
    def importance(self) -> Float[Tensor, "b h"]:
        """Signal over noise, `-log alpha`, averaged over seeds and betas; higher matters more."""
        return -self.log_alpha.mean((0, 1))

    def mask(self, position: int = -1) -> Bool[Tensor, "b h"]:
        """The heads that most seeds keep at one beta, the strongest if not told otherwise."""
        return self.kept[position] > 0.5


def information(mu: Float[Tensor, "*n"], log_variance: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """What a gate lets pass, in nats: the divergence from the best noise without signal, `log(1 + mu^2 / s^2) / 2`.

    References
    ----------
    Dai et al., "Compressing neural networks using the variational information bottleneck", ICML 2018, equation 8.

    Examples
    --------
    >>> round(float(information(torch.tensor(1.0), torch.tensor(-9.0))), 2)
    4.5
    """
    return torch.log1p(mu.square() / log_variance.exp()) / 2


def log_alpha(mu: Float[Tensor, "*n"], log_variance: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Noise over signal, `log s^2 - log mu^2`; a head is kept below 0. The sign of `mu` does not matter."""
    return log_variance - torch.log(mu.square() + 1e-8)


def learn_gates(
    encoder: Encoder,
    pixels: Float[Tensor, "n 3 y x"],
    loss: Loss,
    *,
    betas: Sequence[float] = BETAS,
    steps: int = 300,
    seeds: int = 3,
    batch: int = 16,
    rate: float = 0.1,
    instead: Instead | None = None,
    on_progress: OnProgress = silent,
) -> GateRuns:
    """Train gates on a frozen encoder.

    Parameters
    ----------
    betas
        What a nat through a gate costs; the gates of one start where those of the one before ended.
    steps
        Of Adam for the first beta; a third as many for each further one.
    instead
        What comes as far as a gate is closed; nothing, as in the paper, when not given.

    Raises
    ------
    DataError
        If there are no images, or no betas, steps or seeds.

    Notes
    -----
    The paper trains masks and weights of language models; this is its setting of masks only. Noise is drawn once a step for
    all images of a batch; TVA-Prune, the code by the same authors, draws it for each.

    References
    ----------
    Dutta et al., "VTrans: Accelerating transformer compression with variational information bottleneck based pruning", 2024.
    """
    if not (len(pixels) and betas and steps and seeds):
        raise DataError("gates need images, and at least one beta, step and seed")
    path = sorted(betas)
    runs = [
        _run(
            encoder,
            pixels,
            loss,
            path,
            steps,
            seed,
            batch,
            rate,
            instead,
            part(on_progress, seed / seeds, (seed + 1) / seeds),
        )
        for seed in range(seeds)
    ]
    return GateRuns(torch.stack([run[0] for run in runs]), torch.stack([run[1] for run in runs]), tuple(path))


def _run(
    encoder: Encoder,
    pixels: Tensor,
    loss: Loss,
    path: Sequence[float],
    steps: int,
    seed: int,
    batch: int,
    rate: float,
    instead: Instead | None,
    on_progress: OnProgress,
) -> tuple[Float[Tensor, "p b h"], Float[Tensor, "p b h"]]:
    """One seed: `log alpha` and `mu` at the end of every beta."""
    chance = torch.Generator().manual_seed(seed)
    shape = head_count(encoder)
    mu = (1 + WOBBLE * torch.randn(shape, generator=chance)).requires_grad_()
    log_variance = (LOG_VARIANCE + WOBBLE * torch.randn(shape, generator=chance)).requires_grad_()
    optimizer, found = torch.optim.Adam([mu, log_variance], lr=rate), []
    lengths = [steps, *[max(1, steps // 3)] * (len(path) - 1)]
    total, done = sum(lengths), 0
    for beta, length in zip(path, lengths, strict=True):
        for _ in range(length):
            rows = torch.randint(len(pixels), (min(batch, len(pixels)),), generator=chance)
            gates = mu + (log_variance / 2).exp() * torch.randn(shape, generator=chance)
            answer = loss(embed_gated(encoder, pixels[rows], gates, instead=instead), rows).mean()
            optimizer.zero_grad()
            (answer + beta * information(mu, log_variance).sum()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += 1
            on_progress(done / total, f"gates, seed {seed + 1}: beta {beta:g}, step {done} of {total}")
        found.append((log_alpha(mu, log_variance).detach().clone(), mu.detach().clone()))
    return torch.stack([pair[0] for pair in found]), torch.stack([pair[1] for pair in found])
