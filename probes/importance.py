"""Whether what counts for a model is what is there: CGIM over classes, CEM-existence over images.

Both are of Aysel, Cai and Prügel-Bennett (arXiv 2501.19271, 2025). Each is given as published and in a form in which a
perfect model scores 1 and a model that knows nothing scores by chance; the published forms do not, see *Notes*.
"CEM-existence" is their concept existence metric, not the concept embedding model of the same letters.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.errors import DataError
from probes.intervals import Estimate, bootstrap
from probes.localisation import Localisation, mean_over_images

PERMUTATIONS = 1000


@dataclass(frozen=True)
class GlobalImportance:
    """CGIM: how far a concept's importance over classes follows its true frequency over classes.

    Attributes
    ----------
    centred, published
        Means over concepts, between -1 and 1: of the cosine of centred rows, and of the plain cosine. The interval
        is over concepts.
    by_concept
        The centred one of each concept, `[k]`; NaN where the concept is as frequent in every class.
    p_values
        Probability that classes in another order agree as well or better, `[k]`, not corrected for their number.
    """

    centred: Estimate
    published: Estimate
    by_concept: Float[Tensor, "k"]
    p_values: Float[Tensor, "k"]


@dataclass(frozen=True)
class Existence:
    """CEM-existence: whether the concepts that count on an image are in the image.

    Attributes
    ----------
    published
        Share of the `top` most important concepts that are present, whatever was said of them.
    positive
        The same among concepts that the model claims to be there and that speak for the decision.
    truthful
        Share of the `top` concepts by size of importance of which the model says the truth: there, or not there.
    """

    published: Localisation
    positive: Localisation
    truthful: Localisation
    top: int


def cgim(
    importance: Float[Tensor, "k c"],
    frequency: Float[Tensor, "k c"],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> GlobalImportance:
    """Agreement of importance with true frequency over classes, concept by concept.

    Parameters
    ----------
    importance
        Weights of the head (CGIM 1), mean scores by class (2), or their product (3).
    frequency
        Share of each class's images that show each concept, see `class_frequency`.

    Raises
    ------
    DataError
        If every concept is as frequent in all classes.

    Notes
    -----
    The published cosine is not centred, so that positive random weights score 0.39 where a concept is in every fifth
    class. The product form (3) falls to the root of the prevalence for a perfect model with signed concepts, since the
    signs cancel.
    """
    centred = _cosine(_centred(importance), _centred(frequency))
    known = ~centred.isnan()
    if not bool(known.any()):
        raise DataError("every concept is as frequent in all classes, so its importance has nothing to follow")
    published = _cosine(importance, frequency).nan_to_num()
    generator, c = torch.Generator().manual_seed(seed), importance.shape[1]
    reached = torch.ones(len(centred))
    for _ in range(permutations):
        order = torch.randperm(c, generator=generator)
        reached += (_cosine(_centred(importance)[:, order], _centred(frequency)) >= centred - 1e-9).float()
    p_values = torch.where(known, reached / (permutations + 1), torch.nan)
    return GlobalImportance(_mean(centred[known], seed), _mean(published[known], seed), centred.float(), p_values)


def class_frequency(labels: Int[Tensor, "n"], present: Float[Tensor, "n k"], classes: int) -> Float[Tensor, "k c"]:
    """Share of each class's images that show each concept, unknown annotations (NaN) left out; 0 where none is known."""
    known = ~present.isnan()
    of_class = torch.nn.functional.one_hot(labels, classes).float()  # [n c]
    shown = (present.nan_to_num() >= 0.5).float().T @ of_class
    return shown / (known.float().T @ of_class).clamp(min=1)


def cem(
    importance: Float[Tensor, "n k"],
    present: Float[Tensor, "n k"],
    claimed: Bool[Tensor, "n k"],
    *,
    top: int = 5,
    seed: int = 0,
) -> Existence:
    """Whether the `top` most important concepts of each image are there.

    Parameters
    ----------
    importance
        What each concept adds to the logit of the predicted class, on each image.
    present
        Annotations, 0 to 1, NaN where unknown; such concepts are left out on that image.
    claimed
        Where the model says that the concept is there.

    Raises
    ------
    DataError
        If no image has `top` annotated concepts.

    Notes
    -----
    As published, a concept that counts because it is *absent* is taken for a false claim: a perfect model with signed
    concepts, a fifth of them active, scores 0.20, which is chance. Evidence from absence is therefore set apart.
    """
    known = ~present.isnan()
    use = known.sum(1) >= top
    if top < 1 or not bool(use.any()):
        raise DataError(f"no image has {top} annotated concepts", hint="ask for fewer of the most important concepts")
    importance, known, claimed = importance[use], known[use], claimed[use]
    there = present[use].nan_to_num() >= 0.5
    rate = _share(there, known)
    says = _share(claimed, known)
    true = claimed == there
    by_luck = says * rate + (1 - says) * (1 - rate)
    speaks = known & claimed & (importance > 0)
    return Existence(
        _top_share(importance, there, known, top, rate, seed),
        _top_share(importance, there, speaks, top, rate, seed),
        _top_share(importance.abs(), true, known, top, by_luck, seed),
        top,
    )


def _top_share(
    importance: Float[Tensor, "n k"],
    good: Bool[Tensor, "n k"],
    among: Bool[Tensor, "n k"],
    top: int,
    rate: Float[Tensor, "n"],
    seed: int,
) -> Localisation:
    """Mean share of good ones among each image's `top` most important; images without any candidate are left out."""
    order = importance.masked_fill(~among, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :top]
    counted = among.gather(1, order)
    some = counted.any(1)
    if not bool(some.any()):
        return Localisation(Estimate(0.0, 0.0, 1.0, 0), float(rate.mean()))
    shares = (good.gather(1, order) & counted).sum(1)[some].double() / counted.sum(1)[some]
    return Localisation(mean_over_images(shares, seed=seed), float(rate[some].mean()))


def _share(values: Bool[Tensor, "n k"], known: Bool[Tensor, "n k"]) -> Float[Tensor, "n"]:
    return (values & known).sum(1).double() / known.sum(1)


def _centred(rows: Float[Tensor, "k c"]) -> Float[Tensor, "k c"]:
    return rows - rows.mean(1, keepdim=True)


def _cosine(first: Float[Tensor, "k c"], second: Float[Tensor, "k c"]) -> Float[Tensor, "k"]:
    """Cosine of each pair of rows; 0 where the first is nothing, NaN where the second is."""
    first, second = first.double(), second.double()
    lengths = first.norm(dim=1), second.norm(dim=1)
    cosine = (first * second).sum(1) / (lengths[0] * lengths[1]).clamp(min=1e-12)
    return torch.where(lengths[1] > 1e-9, cosine, torch.nan)


def _mean(values: Float[Tensor, "k"], seed: int) -> Estimate:
    """Mean of numbers between -1 and 1, with an interval over them."""
    halves = (values + 1) / 2
    found = bootstrap(lambda counts: counts @ halves / counts.sum(1), len(halves), seed=seed)
    return Estimate(2 * found.value - 1, 2 * found.low - 1, 2 * found.high - 1, found.n)
