"""Second half of training the demo encoder: the text tower learns to say what the finished image tower sees.

The image tower is locked and its embeddings are kept; the text tower is trained contrastively against them,
with one sigmoid loss over all pairs of pictures and sentences. A sentence matches every picture in which all
that it says is true.

References
----------
Zhai et al., "LiT: zero-shot transfer with locked-image text tuning", CVPR 2022;
Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from assets.bf16_forward import embed_tokens
from assets.captions import GENERAL, caption, kind_of, prompt
from assets.training_pool import CONCEPTS
from assets.word_tokenizer import UNKNOWN, WordTokenizer

if TYPE_CHECKING:
    from open_clip.model import CLIP

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextPlan:
    """How long to learn, how many pictures and captions a step sees, and at what rate (falling as a cosine)."""

    steps: int = 900
    pictures: int = 2048
    captions: int = 48
    rate: float = 2e-3
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        return self.rate * min((step + 1) / 50, 1.0) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class Sentences:
    """Sentences as tokens; what each says (0 or 1 for every concept), and of which kind of picture."""

    tokens: Int64[Tensor, "m t"]
    says: Float[np.ndarray, "m k"]
    of_birds: Bool[np.ndarray, " m"]

    def match(self, concepts: Bool[np.ndarray, "n k"], birds: Bool[np.ndarray, " n"]) -> Float[Tensor, "n m"]:
        """Return 1 where everything that a sentence says is true of a picture."""
        missing = (~concepts).astype(np.float32) @ self.says.T
        return torch.from_numpy(((missing == 0) & (birds[:, None] == self.of_birds)).astype(np.float32))


def train_texts(
    model: CLIP,
    tokenizer: WordTokenizer,
    x: Float[Tensor, "n d"],
    concepts: Bool[np.ndarray, "n k"],
    birds: Bool[np.ndarray, " n"],
    plan: TextPlan,
) -> None:
    """Train the text tower, the scale and the bias of a model in place, against embeddings of pictures."""
    learned = [p for name, p in model.named_parameters() if not name.startswith("visual.")]
    optimizer = torch.optim.AdamW(learned, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(plan.steps):
        rng = np.random.default_rng([plan.seed, 2, step])
        rows = rng.choice(len(x), min(plan.pictures, len(x)), replace=False)
        texts = write_sentences(concepts[rows], birds[rows], plan.captions, tokenizer, rng)
        target = texts.match(concepts[rows], birds[rows])
        with torch.autocast("cpu", torch.bfloat16):
            y = embed_tokens(model, texts.tokens)
        logits = x[rows] @ y.T * model.logit_scale.exp() + model.logit_bias
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=0)
        single = len(CONCEPTS)
        total = (
            loss[:single].mean() + 3 * loss[single:].mean()
        )  # captions are true of few pictures, so their loss is small
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        if step % 100 == 99:
            one, many = loss[:single].mean().item(), loss[single:].mean().item()
            _log.info(
                "text step %d of %d, loss %.4f for one concept, %.4f for captions", step + 1, plan.steps, one, many
            )


def write_sentences(
    concepts: Bool[np.ndarray, "n k"],
    birds: Bool[np.ndarray, " n"],
    captions: int,
    tokenizer: WordTokenizer,
    rng: np.random.Generator,
) -> Sentences:
    """Return one sentence a concept, two general ones, and captions of some of the pictures."""
    texts = [prompt(concept, rng) for concept in CONCEPTS]
    texts += [str(rng.choice(GENERAL[kind])) for kind in ("bird", "cell")]
    of_birds = [*(kind_of(concept) == "bird" for concept in CONCEPTS), True, False]
    says = np.eye(len(texts) + captions, len(CONCEPTS), dtype=np.float32)
    says[len(CONCEPTS) :] = 0
    for row, image in enumerate(rng.integers(0, len(concepts), captions), start=len(texts)):
        true = rng.permutation(np.flatnonzero(concepts[image]))[: rng.integers(2, 9)]
        says[row, true] = 1
        texts.append(caption([CONCEPTS[i] for i in true], rng))
        of_birds.append(bool(birds[image]))
    return Sentences(_with_noise(tokenizer(texts), rng), says, np.array(of_birds))


def _with_noise(tokens: Int64[Tensor, "m t"], rng: np.random.Generator) -> Int64[Tensor, "m t"]:
    """Put an unknown word into some sentences, so that such words are learned to mean nothing."""
    for row in np.flatnonzero(rng.random(len(tokens)) < 0.12):
        at = int(rng.integers(1, int((tokens[row] != 0).sum())))
        if tokens[row, -1] == 0:
            tokens[row, at + 1 :] = tokens[row, at:-1].clone()
            tokens[row, at] = 2 + int(rng.integers(UNKNOWN))
    return tokens
