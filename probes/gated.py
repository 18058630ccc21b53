"""An encoder run with some of its attention heads closed, and what its embeddings are then worth to a model.

A head is named by its block and its place in it, both from 0. A gate of 1 lets all of a head's output pass, 0 nothing;
what comes instead of a closed head is nothing, or what the head gives on average (`mean_outputs`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from cbm.encoders import Encoder
from cbm.errors import EncoderError
from cbm.model import ConceptModel
from probes.attention import attention_tap, tapped

BATCH = 32
Instead = list[Tensor]  # one [heads t e] a block

Measure = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n"]]
"""One number an image from its embedding; differentiable."""


def tower_of(encoder: Encoder) -> nn.Module:
    """The vision tower whose attention can be tapped.

    Raises
    ------
    EncoderError
        If the encoder has no attention that is known here.
    """
    visual = getattr(encoder, "visual", None)
    if not isinstance(visual, nn.Module):
        raise EncoderError(
            f"{encoder.id} has no vision transformer that can be looked into", hint="builtin:demo is one that can"
        )
    tapped(visual)
    return visual


def head_count(encoder: Encoder) -> tuple[int, int]:
    """Number of blocks, and of heads in each."""
    attentions = tapped(tower_of(encoder))
    return len(attentions), int(attentions[0].num_heads)  # type: ignore[arg-type]


def embed_gated(
    encoder: Encoder,
    pixels: Float[Tensor, "n 3 y x"],
    gates: Float[Tensor, "*n b h"],
    *,
    instead: Instead | None = None,
) -> Float[Tensor, "n d"]:
    """Unit embeddings with the heads gated, for all images alike or each for itself; gradients flow into the gates."""
    visual = tower_of(encoder)
    like = next(visual.parameters())
    passing = gates.to(like.device, like.dtype).unbind(-2)
    with attention_tap(visual, gates=passing, instead=instead):
        return normalize(visual(pixels.to(like.device, like.dtype)).float(), dim=-1).to(gates.device)


def embedded(
    encoder: Encoder,
    pixels: Float[Tensor, "n 3 y x"],
    gates: Float[Tensor, "b h"] | None = None,
    *,
    instead: Instead | None = None,
) -> Float[Tensor, "n d"]:
    """Embeddings of many images, batch by batch and without gradients; the encoder's own where no gates are given."""
    if gates is None:
        return torch.cat([encoder.encode_pixels(batch) for batch in torch.split(pixels, BATCH)])
    with torch.no_grad():
        return torch.cat([embed_gated(encoder, batch, gates, instead=instead) for batch in torch.split(pixels, BATCH)])


def mean_outputs(encoder: Encoder, pixels: Float[Tensor, "n 3 y x"]) -> Instead:
    """What each head gives to each token on average over images, `[heads t e]` a block."""
    visual = tower_of(encoder)
    sums: Instead = []
    like = next(visual.parameters())
    with torch.no_grad(), attention_tap(visual) as tap:
        for batch in torch.split(pixels, BATCH):
            visual(batch.to(like.device, like.dtype))
            found = [block.outputs.sum(0) / len(pixels) for block in tap.blocks]
            sums = [s + f for s, f in zip(sums, found, strict=True)] if sums else found
    return sums


@dataclass(frozen=True)
class Question:
    """What heads may be important for: a model's decision, or one of its concepts.

    Attributes
    ----------
    full
        Embeddings of the images by the whole encoder.
    concept
        Its name; empty for the decision.
    """

    model: ConceptModel
    full: Float[Tensor, "n d"]
    concept: str = ""

    def distance(self, x: Float[Tensor, "*s n d"]) -> Float[Tensor, "*s n"]:
        """How far the answer on each image is from that of the whole encoder, in nats.

        For the decision, Kullback and Leibler's divergence of the class probabilities; for a concept, that of two normal
        distributions as wide as its scores are over the images: half the squared change in standard deviations.
        """
        return self.distance_at(x, slice(None))

    def distance_at(self, x: Float[Tensor, "*s n d"], images: slice | Tensor) -> Float[Tensor, "*s n"]:
        """The same for some of the images."""
        if self.concept:
            change = (self._score(x) - self._score(self.full[images])) / self._spread()
            return change.square() / 2
        whole = self._log_probabilities(self.full[images])
        return (whole.exp() * (whole - self._log_probabilities(x))).sum(-1)

    def height(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """A number that does not saturate: the concept's score in standard deviations, or the logit of the class that the
        whole encoder leads to, above the mean of all logits."""
        if self.concept:
            return self._score(x) / self._spread()
        logits, said = self.model.logits(x), self.model.predict(self.full)
        return logits.gather(1, said[:, None])[:, 0] - logits.mean(1)

    def _score(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        flat = self.model.scores(x.reshape(-1, x.shape[-1]))[:, self.model.concept(self.concept)]
        return flat.reshape(x.shape[:-1])

    def _spread(self) -> float:
        return max(float(self._score(self.full).std(unbiased=False)), 1e-8)

    def _log_probabilities(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n c"]:
        logits = self.model.logits(x.reshape(-1, x.shape[-1]))
        return torch.log_softmax(logits, -1).reshape(*x.shape[:-1], -1)
