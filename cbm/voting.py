"""The vision-to-concept tokenizer of V2C: unlabelled images vote for the words that describe them best.

For each class the images of a pool that look most like it are its voters; each names the few words that it is closest
to. What a class's voters name more often than others' do says what the class looks like. Images and words pass in
blocks: what is held beside the embeddings is one block of similarities and the counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.progress import OnProgress, silent

IMAGES_AT_ONCE = 512  # with 20,000 words, 41 MB of similarities
CLASSES_AT_ONCE = 16
TOP = 5  # words an image names, as published


@dataclass(frozen=True)
class Scale:
    """What similarities are like over a pool, so that words can be compared: mean of the images, spread of each word.

    Attributes
    ----------
    mean
        Of the images.
    spread
        Standard deviation of each word's similarity over the images.
    """

    mean: Float[Tensor, "d"]
    spread: Float[Tensor, "v"]


@dataclass(frozen=True)
class Votes:
    """Who voted, and for what.

    Attributes
    ----------
    counts
        How many voters of each class named each word.
    voters
        For each class the positions of its voters in the pool, the most similar first; empty for a class that cannot be
        told from the others.
    closeness
        For each class the similarity of its nearest voter.
    examples
        For each word the position of the image that named it with the largest similarity, or -1.
    """

    counts: Int[Tensor, "c v"]
    voters: tuple[Int[Tensor, "_"], ...]
    closeness: Float[Tensor, "c"]
    examples: Int[Tensor, "v"]

    @property
    def sizes(self) -> Float[Tensor, "c"]:
        """Number of voters of each class."""
        return torch.tensor([len(positions) for positions in self.voters], dtype=torch.float32)


def voters(
    pool: Float[Tensor, "n d"], prototypes: Float[Tensor, "c d"], count: int
) -> tuple[tuple[Int[Tensor, "_"], ...], Float[Tensor, "c"]]:
    """For each class the `count` images that are most similar to its prototype, and the similarity of the first.

    Parameters
    ----------
    prototypes
        The mean of a class's unit vectors, whatever they are of: the mean dot product with them is the dot product with
        their mean. A row of zeros is a class without a prototype, which has no voters.
    """
    chosen: list[Int[Tensor, _]] = []
    nearest: list[float] = []
    for rows in torch.split(prototypes, CLASSES_AT_ONCE):
        found = (pool @ rows.T).topk(min(count, len(pool)), dim=0)
        for row, similar, positions in zip(rows, found.values.T, found.indices.T, strict=True):
            there = bool(row.any())
            chosen.append(positions.clone() if there else positions[:0].clone())
            nearest.append(float(similar[0]) if there else 0.0)
    return tuple(chosen), torch.tensor(nearest)


def scale_of(pool: Float[Tensor, "n d"], words: Float[Tensor, "v d"]) -> Scale:
    """Mean of the images and spread of the words' similarities, from the images' covariance."""
    mean = pool.mean(0)
    covariance = torch.zeros(pool.shape[1], pool.shape[1], dtype=torch.float64)
    for block in torch.split(pool, 8 * IMAGES_AT_ONCE):
        inside = (block - mean).double()
        covariance += inside.T @ inside
    covariance = (covariance / len(pool)).float()
    variance = torch.cat([((block @ covariance) * block).sum(1) for block in torch.split(words, 8 * IMAGES_AT_ONCE)])
    return Scale(mean, variance.clamp_min(0).sqrt())


def vote(
    pool: Float[Tensor, "n d"],
    chosen: Sequence[Int[Tensor, "_"]],
    closeness: Float[Tensor, "c"],
    words: Float[Tensor, "v d"],
    *,
    scale: Scale | None = None,
    top: int = TOP,
    on_progress: OnProgress = silent,
) -> Votes:
    """Let the chosen images name `top` words each.

    Parameters
    ----------
    chosen, closeness
        As `voters` gives them. An image that is chosen for several classes is looked at once.
    scale
        With one, words compete by how far above its own mean a similarity is, in standard deviations. Without, by the
        similarity itself, as in the published code; then a few words are close to every image.

    References
    ----------
    He et al., "V2C-CBM: building concept bottlenecks with vision-to-concept tokenizer", AAAI 2025.
    """
    v = len(words)
    counts = torch.zeros(len(chosen) * v, dtype=torch.int64)
    best = torch.full((v,), -torch.inf)
    examples = torch.full((v,), -1)
    classes_of = _memberships(chosen)
    looked_at = torch.tensor(sorted(classes_of), dtype=torch.int64)
    shown = words if scale is None else words / scale.spread.clamp_min(1e-12)[:, None]
    for start in range(0, len(looked_at), IMAGES_AT_ONCE):
        on_progress(start / len(looked_at), f"{len(looked_at):,} images name {top} of {v:,} words")
        block = looked_at[start : start + IMAGES_AT_ONCE]
        x = pool[block] if scale is None else pool[block] - scale.mean
        named = (x @ shown.T).topk(min(top, v), dim=1)
        for image, tokens in zip(block.tolist(), named.indices, strict=True):
            for label in classes_of[image]:
                counts[label * v + tokens] += 1  # the words that one image names are distinct
        _keep_best(best, examples, named.values, named.indices, block)
    return Votes(counts.reshape(len(chosen), v), tuple(chosen), closeness, examples)


def lift(votes: Votes, *, prior: float = 1.0) -> Float[Tensor, "c v"]:
    """How much more often a class's voters name a word than voters of all classes do on average; 1 is as often.

    Parameters
    ----------
    prior
        Votes that every word is given, and expected to get, beforehand, so that few votes do not lift much.
    """
    sizes = votes.sizes[:, None]
    rates = votes.counts / sizes.clamp_min(1)
    mean = rates.sum(0) / (sizes > 0).sum().clamp_min(1)
    return (votes.counts + prior) / (sizes * mean + prior)


def above_chance(
    pool: Float[Tensor, "n d"], chosen: Sequence[Int[Tensor, "_"]], words: Float[Tensor, "v d"], scale: Scale
) -> Float[Tensor, "c v"]:
    """By how many standard errors a class's voters are closer to a word than as many images drawn by chance would be.

    Notes
    -----
    The mean similarity of `m` images drawn from `n` without replacement has the pool's mean and a standard error of
    `spread / sqrt(m) * sqrt((n - m) / (n - 1))`.
    """
    n = len(pool)
    means = torch.stack(
        [pool[rows].mean(0) - scale.mean if len(rows) else torch.zeros_like(scale.mean) for rows in chosen]
    )
    sizes = torch.tensor([float(len(rows)) for rows in chosen]).clamp_min(1)
    error = torch.sqrt((n - sizes).clamp_min(1e-6) / max(n - 1, 1) / sizes)
    return (means @ words.T) / scale.spread.clamp_min(1e-12) / error[:, None]


def published_concepts(counts: Int[Tensor, "c v"], *, keep: int = 50) -> list[list[int]]:
    """For each class the words with most votes, as the published code keeps them, but only those that got a vote."""
    order = counts.argsort(dim=1, descending=True, stable=True)[:, :keep]
    return [[i for i in row.tolist() if count[i] > 0] for row, count in zip(order, counts, strict=True)]


def without_twins(ranked: Sequence[int], words: Float[Tensor, "v d"], *, cosine: float, most: int) -> list[int]:
    """The first `most` of these words that are not nearly the same as one before them; `words` are unit vectors."""
    kept: list[int] = []
    for i in ranked:
        if len(kept) == most:
            break
        if not kept or float((words[kept] @ words[i]).max()) < cosine:
            kept.append(i)
    return kept


def _memberships(chosen: Sequence[Int[Tensor, "_"]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for label, positions in enumerate(chosen):
        for image in positions.tolist():
            found.setdefault(image, []).append(label)
    return found


def _keep_best(
    best: Float[Tensor, "v"],
    examples: Int[Tensor, "v"],
    values: Float[Tensor, "b k"],
    tokens: Int[Tensor, "b k"],
    images: Int[Tensor, "b"],
) -> None:
    """Remember, in place, the image with the largest similarity for each word that was named."""
    order = values.flatten().argsort(stable=True).numpy()  # ascending, so that the last one written is the largest
    words = tokens.flatten().numpy()[order]
    last = dict(zip(words.tolist(), order.tolist(), strict=True))
    where = torch.tensor(list(last), dtype=torch.int64)
    at = torch.tensor(list(last.values()), dtype=torch.int64)
    found = values.flatten()[at]
    better = found > best[where]
    best[where[better]] = found[better]
    examples[where[better]] = images[at[better] // values.shape[1]]
