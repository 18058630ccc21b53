"""A sparse autoencoder on its way: steps of Adam, alone or with other processes, and atoms that are drawn again."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from cbm.process_group import ALONE, Group
from cbm.sae import Dictionary, Kind, Precision
from cbm.sae_gradients import Step, gradients, losses
from cbm.streams import ROWS_AT_ONCE, Scaled

WEIGHTS = ("encoder", "bias", "decoder", "centre")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps of each
EPSILON = 1e-8
DRAWN_FROM = 65_536  # embeddings whose losses are compared when atoms are drawn


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
        Epochs, or a part of one, after which atoms that nothing used are drawn again; never within the last as many.
    held
        Embeddings, at even distances, from which nothing is learned, and on which the dictionary is tried meanwhile.
    precision
        Of the products when "relu" leaves many codes; weights, and what Adam remembers, are in single precision.
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
    resample: float = 10
    held: int = 0
    precision: Precision = "float32"
    seed: int = 0


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
        self.used = torch.zeros(len(start), dtype=torch.int64)  # since atoms were drawn
        self.seen, self.sums = torch.zeros_like(self.used), torch.zeros(3)  # since it was told
        self.room = torch.empty(0, len(start))

    def step(self, x: Float[Tensor, "n d"], *, of: int | None = None, group: Group = ALONE) -> Step:
        """One step of Adam; what the batch said before it.

        Parameters
        ----------
        of, group
            When `x` is this process's part of a batch: the size of the batch, and the processes with the other parts.
            The step is that of the whole batch, in all of them.
        """
        if len(self.room) < len(x):
            self.room = torch.empty(len(x), len(self.dictionary))
        room, precision = self.room[: len(x)], self.config.precision
        found = gradients(self.dictionary, x, l1=self.penalty, of=of, group=group, precision=precision, room=room)
        sums = torch.stack([found.losses.sum(), found.missed.sum(), torch.tensor(float(len(x)))])
        if group.size > 1:
            _sum(found, sums, group)
        for name, weight in self._weights().items():
            weight.grad = getattr(found, name)
        self.adam.step()
        normalize(self.dictionary.decoder, dim=1, out=self.dictionary.decoder)
        self.sums += sums
        self.seen += found.used
        self.used += found.used
        return found

    def tell(self) -> dict[str, float]:
        """What the embeddings said since this was last asked."""
        loss, missed, n = self.sums.tolist()  # of embeddings whose mean square length is 1
        told = {
            "loss": loss / n,
            "explained_variance": 1 - missed / n,
            "l0": float(self.seen.sum()) / n,
            "dead": float((self.seen == 0).double().mean()),
        } if n else {}  # fmt: skip
        self.sums.zero_()
        self.seen.zero_()
        return told

    def explained(self, x: Float[Tensor, "n d"]) -> float:
        """Share of the squared lengths of other embeddings, scaled as these are, that the dictionary explains."""
        return 1 - float(losses(self.dictionary, x, l1=0).sum() / x.square().sum())

    def draw_again(self, data: Scaled, draw: torch.Generator, group: Group = ALONE) -> None:
        """Point every dead atom to an embedding that is badly reconstructed, and forget what Adam knew of it."""
        some = data.some(DRAWN_FROM)
        dead = torch.nonzero(self.used == 0).flatten()[: len(some)]
        self.used.zero_()
        if not len(dead):
            return
        chosen = torch.multinomial(draw_chances(self._losses(data, some, group)), len(dead), generator=draw)
        towards = data.at(some[chosen]) - self.dictionary.centre
        share = 0.2 if self.config.kind == "relu" else 1.0  # among the k largest, a short row would never be
        alive = torch.ones(len(self.used), dtype=torch.bool).index_fill_(0, dead, False)
        rows = new_encoder_rows(self.dictionary.encoder, alive, towards, share=share)
        fresh = {"encoder": rows, "bias": torch.zeros(len(dead)), "decoder": normalize(towards, dim=1)}
        for name, value in fresh.items():
            weight = getattr(self.dictionary, name)
            weight[dead] = value
            for moment in MOMENTS[1:]:
                self.adam.state[weight][moment][dead] = 0.0

    def _losses(self, data: Scaled, rows: Int[Tensor, "m"], group: Group) -> Float[Tensor, "m"]:
        """Of these embeddings; each process computes its share."""
        found, parts = torch.zeros(len(rows)), torch.split(torch.arange(len(rows)), ROWS_AT_ONCE)
        for i in group.share(len(parts)):
            found[parts[i]] = losses(self.dictionary, data.at(rows[parts[i]]), l1=self.penalty)
        group.sum_(found)
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""
        held = {"used": self.used, "seen": self.seen, "sums": self.sums}
        for name, weight in self._weights().items():
            held |= {name: weight, **{f"{name}.{m}": self.adam.state[weight][m] for m in MOMENTS}}
        return held

    @property
    def penalty(self) -> float:
        """What each unit of a code costs."""
        return self.config.l1 if self.config.kind == "relu" else 0.0

    def _weights(self) -> dict[str, Tensor]:
        return {name: getattr(self.dictionary, name) for name in WEIGHTS}


def _sum(found: Step, sums: Float[Tensor, "3"], group: Group) -> None:
    """Make each process's part of a step the whole of it; of the atoms only those are sent that any of them used."""
    group.sum_(found.used, found.centre, sums)
    some = torch.nonzero(found.used).flatten()
    of_atoms = found.encoder, found.decoder, found.bias[:, None]
    sent = torch.cat([values[some] for values in of_atoms], dim=1)
    group.sum_(sent)
    for values, summed in zip(of_atoms, torch.split(sent, [v.shape[1] for v in of_atoms], dim=1), strict=True):
        values[some] = summed


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
