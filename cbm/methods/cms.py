"""Concept matrix search: an image belongs to the class whose text has the most similar concept profile.

A profile says how close an image, or the text of a class, lies to every concept of a bank. Nothing is fitted and no
image is used. Profiles are compared by cosine, which needs their lengths but not the profiles: with the Gram matrix of
the concepts, classifying an image costs the same for ten concepts and for ten thousand.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from cbm.bottleneck import ProfileBottleneck
from cbm.config import option
from cbm.encoders import TextEncoder
from cbm.errors import DataError, ModelError
from cbm.heads import LinearHead
from cbm.methods import Method, Need, posthoc, resolved
from cbm.model import ConceptModel, Recipe
from cbm.progress import OnProgress
from cbm.selection import members_of
from cbm.sources import bank_from_texts, read_sentences
from cbm.training_set import TrainingSet
from cbm.vocabulary import clean

Rows = Literal["cosine", "sum"]
NOTES = {False: "a class is its name", True: "a class is the mean of its candidate sentences"}
ClassTexts = Literal["auto", "names", "sentences"]


@dataclass(frozen=True)
class Config:
    """Options of the comparison."""

    centre: bool = option(
        True, help="compare with the average concept taken off; without it, as published, all profiles look alike"
    )
    rows: Rows = option(
        "cosine", help="profiles as they are, or each divided by its sum, which turns those with a negative one over",
        choices=("cosine", "sum"),
    )  # fmt: skip
    classes: ClassTexts = option(
        "auto", help="a class is its name or the mean of its candidate sentences; auto takes sentences if there are any",
        choices=("auto", "names", "sentences"),
    )  # fmt: skip
    template: str = option("", help="prompt with {} for the class name; the encoder's own prompts when empty")
    scale: float = option(20.0, help="logit that one unit of cosine between profiles is worth", low=0.1, high=1e5)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """The model that compares the concept profiles of images with those of the class names; uses no image.

    A score is the entry of the image's profile, scaled to unit length; a weight is that of the class. They multiply
    to contributions that add up to the cosine.

    Raises
    ------
    ModelError
        If the training set has no concept bank or no text encoder, or no candidate sentences when these are wanted.
    DataError
        If the bank belongs to another encoder, or a class text has nothing in common with any concept.

    References
    ----------
    Semenov, Ivanov, Beznosikov, Gasnikov, "Sparse concept bottleneck models: Gumbel tricks in contrastive learning",
    2024 (concept matrix search).

    Notes
    -----
    The published code divides each profile by its sum before taking cosines. That changes nothing but the sign of a
    profile whose sum is negative; `rows="sum"` does the same. Its `calculate_similarity_score` compares the first class
    by the cosine and every other one by the cosine of cubes, because it overwrites its own argument; here all classes
    are compared by the cosine. That a class may be its candidate sentences is ours. Intercepts of a bank learned from
    images are not used: a text has none.
    """
    bank = posthoc.bank_of(data)
    if data.encoder is None:
        raise ModelError(f"the model cannot be fitted: {Need.TEXT_ENCODER.value}")
    on_progress(0.0, f"reading {len(data.classes)} classes")
    described = config.classes == "sentences" or (config.classes == "auto" and bool(data.candidates))
    texts = _described(data, data.encoder) if described else _named(data, data.encoder, config)
    concepts = concept_rows(bank.vectors, centre=config.centre)
    profiles = ProfileBottleneck(
        weight=concepts.float(),
        bias=torch.zeros(len(bank)),
        gram=(concepts.T @ concepts).float(),
        total=concepts.sum(0).float() if config.rows == "sum" else None,
    )
    weight = profiles(texts)
    strange = [name for name, row in zip(data.classes, weight, strict=True) if not bool(row.any())]
    if strange:
        raise DataError(f"the text of class {strange[0]!r} is not like any concept", hint="use more concepts")
    return ConceptModel(
        concepts=bank.names,
        classes=data.classes,
        bottleneck=profiles,
        head=LinearHead(weight * config.scale, torch.zeros(len(data.classes))),
        recipe=Recipe(METHOD.name, resolved(config), data.encoder_id, data.contract, notes=(NOTES[described],)),
        bank=bank,
    )


def _named(data: TrainingSet, encoder: TextEncoder, config: Config) -> Float[Tensor, "c d"]:
    names = [name.replace("_", " ") for name in data.classes]
    return bank_from_texts(encoder, names, templates=(config.template,) if config.template else None).vectors


def _described(data: TrainingSet, encoder: TextEncoder) -> Float[Tensor, "c d"]:
    """Mean embedding of each class's sentences, those included that other classes share."""
    if not data.candidates:
        raise ModelError(f"the model cannot be fitted: {Need.CANDIDATES.value}", hint="or compare with class names")
    cleaned = clean(data.candidates, data.classes, names=False)
    vectors = read_sentences(encoder, cleaned.sentences)
    return torch.stack([vectors[members].mean(0) for members in members_of(cleaned.owners, len(data.classes))])


def concept_rows(vectors: Float[Tensor, "k d"], *, centre: bool) -> Float[Tensor, "k d"]:
    """Unit concept vectors in double precision, with their mean taken off when `centre`."""
    unit = normalize(vectors.double(), dim=1)
    return unit - unit.mean(0) if centre and len(unit) > 1 else unit


def profile_cosines(
    x: Float[Tensor, "n d"],
    concepts: Float[Tensor, "k d"],
    classes: Float[Tensor, "c d"],
    *,
    rows: Rows = "cosine",
    centre: bool = False,
) -> Float[Tensor, "n c"]:
    """Cosine between the concept profiles of images and of class texts, without computing the images' profiles.

    With concepts `D` and `G = D.T @ D` it is `x G l / sqrt((x G x)(l G l))`: `n d (d + c)` products, whatever `k` is.
    """
    d = concept_rows(concepts, centre=centre).to(x.dtype)
    profiles = classes @ d.T  # [c k]
    lengths = ((x @ (d.T @ d)) * x).sum(1).clamp_min(0).sqrt()
    cosines = x @ (normalize(profiles, dim=1) @ d).T / lengths.clamp_min(torch.finfo(x.dtype).tiny)[:, None]
    return cosines * _signs(x, d, profiles) if rows == "sum" else cosines


def nearest_profile(
    x: Float[Tensor, "n d"], concepts: Float[Tensor, "k d"], classes: Float[Tensor, "c d"], *, rows: Rows = "cosine"
) -> Int[Tensor, "n"]:
    """The class that `profile_cosines` is largest for; the length of an image's profile decides nothing and is spared."""
    d = normalize(concepts, dim=1)
    profiles = classes @ d.T
    logits = x @ (normalize(profiles, dim=1) @ d).T
    return (logits * _signs(x, d, profiles) if rows == "sum" else logits).argmax(1)


def by_strongest_concept(
    x: Float[Tensor, "n d"], concepts: Float[Tensor, "k d"], classes: Float[Tensor, "c d"], *, rows_at_once: int = 1024
) -> Int[Tensor, "n"]:
    """The class for which the image's strongest concept has the largest share of the class's profile ("max score").

    Shares and strength are of profiles divided by their sums, as published.
    """
    d = normalize(concepts, dim=1)
    profiles = classes @ d.T
    class_of = (profiles / profiles.sum(1, keepdim=True)).argmax(0)  # [k]
    predicted = torch.empty(len(x), dtype=torch.long)
    for start in range(0, len(x), rows_at_once):
        part = x[start : start + rows_at_once]
        sign = torch.where(part @ d.sum(0) < 0, -1.0, 1.0)
        predicted[start : start + rows_at_once] = class_of[(part @ d.T * sign[:, None]).argmax(1)]
    return predicted


def _signs(x: Float[Tensor, "n d"], d: Float[Tensor, "k d"], profiles: Float[Tensor, "c k"]) -> Float[Tensor, "n c"]:
    """What dividing both profiles by their sums does to a cosine: it keeps or changes its sign."""
    images = torch.where(x @ d.sum(0) < 0, -1.0, 1.0).to(x.dtype)
    return torch.outer(images, torch.where(profiles.sum(1) < 0, -1.0, 1.0).to(x.dtype))


METHOD = Method(
    name="cms",
    title="Concept matrix search",
    summary="Compares how close images and class texts lie to each concept; needs no training image.",
    paper="Semenov et al.: Sparse Concept Bottleneck Models: Gumbel Tricks in Contrastive Learning, 2024",
    needs=(Need.CONCEPT_BANK, Need.TEXT_ENCODER),
    config=Config,
    fit=fit,
)
