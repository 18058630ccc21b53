"""LaBo: a few sentences a class, chosen from many candidates, and how much each counts for each class.

The sentences are written by a language model; an encoder that reads text turns them into concepts. Each class is a
weighted mean of them, which holds it to what the sentences say: that helps most where there are few images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cbm.association import Association, held_mass, prior, train_association
from cbm.bank import ConceptBank, Origin, Quality
from cbm.config import option
from cbm.errors import DataError, ModelError
from cbm.heads import LinearHead
from cbm.holdout import fitting_and_held_out
from cbm.methods import Method, Need, posthoc, resolved
from cbm.model import ConceptModel, Recipe
from cbm.progress import OnProgress, part
from cbm.selection import (
    Pick,
    certified,
    choose,
    choose_as_published,
    class_similarity,
    discriminability,
    discriminability_as_published,
    random_choice,
)
from cbm.sources import read_sentences
from cbm.training_set import TrainingSet
from cbm.vocabulary import Cleaned, clean

TEMPERATURE = 0.01  # of the similarities that tell classes apart; CLIP's own
Selection = Literal["submodular", "published", "random"]


@dataclass(frozen=True)
class Config:
    """Options of the choice of sentences and of the association."""

    per_class: int = option(25, help="sentences chosen for each class, if it has as many", low=1, high=1000)
    coverage: float = option(
        0.5, help="share of covering what the sentences say in their choice; the rest is telling classes apart", low=0, high=1
    )  # fmt: skip
    selection: Selection = option(
        "submodular", help="how sentences are chosen: as in the paper, as the published code does it, or by chance",
        choices=("submodular", "published", "random"),
    )  # fmt: skip
    drop_named: bool = option(True, help="leave out sentences that name a class")
    shots: Literal["1", "2", "4", "8", "16", "all"] = option(
        "all", help="training images of each class; validation images are all used", choices=("1", "2", "4", "8", "16", "all")
    )  # fmt: skip
    association: Literal["softmax", "sparsemax", "relu"] = option(
        "softmax", help="how much sentences count for a class: shares that are never zero, shares of few, or any positive numbers",
        choices=("softmax", "sparsemax", "relu"),
    )  # fmt: skip
    l1: float = option(0.0, help="penalty on the association of the class where it is largest", low=0, high=10)
    diversity: float = option(0.0, help="reward of class similarities that vary between images", low=0, high=10)
    prior_mass: float = option(
        0.9, help="share that a class's own sentences hold before training", low=0.01, high=0.999
    )
    scale: float = option(100.0, help="logit that one unit of cosine is worth at the start", low=0.1, high=1e4)
    learn_scale: bool = option(True, help="learn the scale too; published: no")
    rate: float = option(0.02, help="step length of Adam", low=1e-6, high=10)
    steps: int = option(500, help="largest number of steps; validation images may end it earlier", low=0, high=100_000)
    seed: int = option(0, help="which training images are used or held out, and which sentences chance picks", low=0)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """A language bottleneck on the training set's candidate sentences.

    Scores are standardised over the training images and the head's weights adapted, so that logits are those of the
    weighted means of sentences while a contribution says what sets an image apart from the average one.

    Raises
    ------
    ModelError
        If there are no candidates or no text encoder.
    DataError
        If the training images do not do, or a class has no sentence that may stay.

    References
    ----------
    Yang et al., "Language in a bottle: language model guided concept bottlenecks for interpretable image
    classification", CVPR 2023.

    Notes
    -----
    Other than in the published code, embeddings of texts are of unit length, coverage compares sentences by their cosine as the
    paper has it, a sentence may belong to several classes, the prior holds the share it is given, and training stops by
    the cross-entropy on validation images.
    """
    if data.encoder is None:
        raise ModelError(f"the model cannot be fitted: {Need.TEXT_ENCODER.value}")
    if not data.candidates:
        raise ModelError(f"the model cannot be fitted: {Need.CANDIDATES.value}")
    on_progress(0.0, "reading sentences")
    train, held = fitting_and_held_out(data, seed=config.seed)
    train = few_shot(train, config.shots, seed=config.seed)
    cleaned = clean(data.candidates, data.classes, names=config.drop_named)
    vectors = read_sentences(data.encoder, cleaned.sentences, on_progress=part(on_progress, 0.0, 0.3))
    picks = choose_sentences(train, cleaned, vectors, config, part(on_progress, 0.3, 0.5))
    worth = _worth(train, cleaned, vectors, picks, config)
    kept = sorted({pick.position for row in picks for pick in row})
    owners = [cleaned.owners[i] for i in kept]
    units = vectors[kept]
    found = learn(train, held, units, owners, config, part(on_progress, 0.5, 1.0))
    bank = _bank(data, cleaned, picks, kept, units)
    recipe = Recipe(
        METHOD.name, resolved(config), data.encoder_id, data.contract, len(train),
        notes=(cleaned.summary() + worth, association_note(found, owners)),
    )  # fmt: skip
    return model_of(data, train, bank, found, recipe)


def learn(
    train: TrainingSet,
    held: TrainingSet,
    units: Float[Tensor, "k d"],
    owners: Sequence[Sequence[int]],
    config: Config,
    on_progress: OnProgress,
) -> Association:
    """How much each concept counts for each class, from the prior that `owners` give."""
    start = prior(owners, len(train.classes), mass=config.prior_mass, activation=config.association)
    return train_association(
        train.x, train.labels, units, start, held=(held.x, held.labels), activation=config.association,
        scale=config.scale, learn_scale=config.learn_scale, l1=config.l1, diversity=config.diversity,
        rate=config.rate, steps=config.steps, on_progress=on_progress,
    )  # fmt: skip


def few_shot(train: TrainingSet, shots: str, *, seed: int = 0) -> TrainingSet:
    """That many images of each class, drawn by chance in the order of the seed; "all" takes all."""
    if shots == "all":
        return train
    labels = train.labels.numpy()
    order = np.random.default_rng(seed).permutation(len(train))
    chosen = [order[labels[order] == label][: int(shots)] for label in np.unique(labels)]
    return train.where(np.sort(np.concatenate(chosen)))


def choose_sentences(
    train: TrainingSet, cleaned: Cleaned, vectors: Float[Tensor, "m d"], config: Config, on_progress: OnProgress
) -> list[list[Pick]]:
    """For each class its chosen candidates, as the config has it."""
    classes = len(train.classes)
    if config.selection == "random":
        return random_choice(cleaned.owners, classes, count=config.per_class, seed=config.seed)
    similarity = class_similarity(train.x, train.labels, classes, vectors)
    if config.selection == "published":
        value = discriminability_as_published(similarity)
        if not bool(torch.isfinite(value).all()):
            raise DataError(
                "the published choice needs positive similarities, and this encoder gives a negative one",
                hint="use selection=submodular",
            )
        first = [owners[:1] for owners in cleaned.owners]
        return choose_as_published(vectors, value, first, classes, count=config.per_class, weight=config.coverage)
    return choose(
        vectors, discriminability(similarity, temperature=TEMPERATURE), cleaned.owners, classes,
        count=config.per_class, coverage=config.coverage, on_progress=on_progress,
    )  # fmt: skip


def _worth(
    train: TrainingSet, cleaned: Cleaned, vectors: Float[Tensor, "m d"], picks: list[list[Pick]], config: Config
) -> str:
    """How good the choice is at least, where that is known."""
    if config.selection != "submodular":
        return ""
    value = discriminability(
        class_similarity(train.x, train.labels, len(train.classes), vectors), temperature=TEMPERATURE
    )
    share = certified(vectors, value, cleaned.owners, picks, coverage=config.coverage)
    return f"; the choice is worth at least {math.floor(1000 * share) / 10:g}% of the best one"


def _bank(
    data: TrainingSet,
    cleaned: Cleaned,
    picks: Sequence[Sequence[Pick]],
    kept: Sequence[int],
    units: Float[Tensor, "k d"],
) -> ConceptBank:
    """The chosen sentences, each with the classes that it was chosen for and why."""
    reasons: dict[int, list[str]] = {}
    for name, row in zip(data.classes, picks, strict=True):
        for rank, pick in enumerate(row, start=1):
            why = (
                f", tells classes apart {pick.value:.2f}, covers {pick.covers:.2f}" if pick.value == pick.value else ""
            )
            reasons.setdefault(pick.position, []).append(f"number {rank} of {name}{why}")
    return ConceptBank(
        names=tuple(cleaned.sentences[i] for i in kept),
        vectors=units,
        intercepts=torch.zeros(len(kept)),
        origin=tuple(Origin("sentence", "; ".join(reasons[i])) for i in kept),
        quality=tuple(Quality() for _ in kept),
        encoder_id=data.encoder_id,
        contract=data.contract,
    )


def model_of(
    data: TrainingSet, train: TrainingSet, bank: ConceptBank, found: Association, recipe: Recipe
) -> ConceptModel:
    """The association as a head on standardised scores, with the logits that it has on cosines."""
    cosines = train.x.double() @ bank.vectors.T.double()
    weight = found.scale * found.association.double()
    bias = weight @ cosines.mean(0)
    return ConceptModel(
        concepts=bank.names,
        classes=data.classes,
        bottleneck=posthoc.standardised_distances(bank, train.x)[0],
        head=LinearHead((weight * cosines.std(0, correction=0)).float(), (bias - bias.mean()).float()),
        recipe=recipe,
        bank=bank,
    )


def association_note(found: Association, owners: Sequence[Sequence[int]]) -> str:
    """What share of a class's weight its own concepts and its strongest ones hold, in one sentence."""
    association = found.association
    shares = association / association.sum(1, keepdim=True).clamp_min(1e-12)
    own = held_mass(shares, owners)
    top = float(shares.topk(min(10, shares.shape[1]), dim=1).values.sum(1).mean())
    used = float((shares > 0).sum(1).float().mean())
    return (
        f"a class gives {own:.0%} of its weight to its own concepts and {top:.0%} to its ten strongest, and uses "
        f"{used:.3g} of {shares.shape[1]} ({found.steps} steps, scale {found.scale:.3g})"
    )


METHOD = Method(
    name="labo",
    title="LaBo",
    summary="Chooses telling sentences for each class and learns how much each counts; made for few images.",
    paper="Yang et al.: Language in a Bottle (LaBo), CVPR 2023",
    needs=(Need.TEXT_ENCODER, Need.CANDIDATES),
    config=Config,
    fit=fit,
)
