"""V2C-CBM: unlabelled images choose, from a list of common words, those that describe each class.

Nobody writes a sentence, neither a person nor a language model. The words that images of a class are closest to, and
others are not, become its concepts; a selection and a head as in LaBo follow.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.bank import ConceptBank, Origin, Quality
from cbm.codebook import Codebook, Rules, make_codebook, readable, tokens
from cbm.config import option
from cbm.encoders import TextEncoder
from cbm.errors import DataError, ModelError
from cbm.holdout import fitting_and_held_out
from cbm.methods import Method, Need, labo, resolved
from cbm.model import ConceptModel, Recipe
from cbm.progress import OnProgress, part
from cbm.selection import Pick
from cbm.sources import measure_bank, read_phrases
from cbm.training_set import TrainingSet
from cbm.vocabulary import Cleaned
from cbm.voting import Votes, published_concepts, vote, voters
from cbm.words import LISTS, Sifted, as_words, shipped

MOST = 100  # words of a class that the selection chooses from
FEW = 5  # concepts of a class below which it is said
WEAK = 0.1  # similarity of a class's nearest voter below which the pool hardly shows it
LOOKED_AT = 3  # examples of classes that a note names


@dataclass(frozen=True)
class Config(labo.Config):
    """Options of the words and the votes; the rest are LaBo's."""

    vocabulary: Literal["visual", "attributes", "all"] = option(
        "all", help="the words that ship to begin with, unless others are given", choices=LISTS
    )
    words: int = option(5000, help="use so many of them, the first ones that the encoder knows", low=2, high=50_000)
    phrases: int = option(
        12, help="adjectives and nouns of a class that phrases are made of; 0 makes none", low=0, high=100
    )
    prototypes: Literal["images", "names"] = option(
        "images", help="how a class finds its voters: by its training images, or by its name", choices=("images", "names")
    )  # fmt: skip
    voters: int | None = option(
        None, help="unlabelled images that vote for a class; none takes the pool's size a class, 500 at most", low=1, high=100_000
    )  # fmt: skip
    top: int = option(5, help="words that an image names", low=1, high=100)
    votes: int = option(3, help="votes that a word needs", low=1, high=10_000)
    chance: float = option(
        3.0, help="standard errors by which a class's voters must be closer to a word than images drawn by chance", low=-100, high=100
    )  # fmt: skip
    visual: float = option(
        0.5, help="how much a word's similarity must vary over images, as a share of the median word's", low=0, high=2
    )
    voting: Literal["lift", "published"] = option(
        "lift", help="rank words by how much more often than elsewhere they are named, or count them as the published code does",
        choices=("lift", "published"),
    )  # fmt: skip


@dataclass(frozen=True)
class _Found:
    """Candidate words of each class, and what is known of them."""

    texts: tuple[str, ...]
    vectors: Float[Tensor, "v d"]
    of_class: tuple[tuple[int, ...], ...]
    votes: Votes
    book: Codebook | None
    notes: tuple[str, ...]


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """A concept model on words that unlabelled images chose.

    The training images are the pool, their labels unread: with `shots`, labels of so many are used and the others
    still vote.

    Raises
    ------
    ModelError
        If no text encoder is there.
    DataError
        If the training images do not do, or no word can be used or describes any class.

    References
    ----------
    He et al., "V2C-CBM: building concept bottlenecks with vision-to-concept tokenizer", AAAI 2025.

    Notes
    -----
    The published code lacks the gates that the paper states: here words that name a class, are obscene, vary little over
    images, get few votes, or are no closer than chance are left out, and a class with few words keeps few. Words compete on
    one scale, and are ranked by how much more often than elsewhere they are named, so that those named everywhere sink.
    `voting=published` counts as that code does, without gates, but does not fill up with words that nobody voted for.
    """
    if data.encoder is None:
        raise ModelError(f"the model cannot be fitted: {Need.TEXT_ENCODER.value}")
    on_progress(0.0, "reading words")
    train, held = fitting_and_held_out(data, seed=config.seed)
    few = labo.few_shot(train, config.shots, seed=config.seed)
    given = as_words(data.vocabulary) if data.vocabulary else shipped(config.vocabulary)
    sifted = readable(given, data.encoder, data.classes, most=config.words, drop_named=config.drop_named)
    pool = normalize(train.x, dim=1)
    found = _find(pool, few, data.encoder, sifted, config, part(on_progress, 0.0, 0.6))
    cleaned = _as_candidates(found)
    picks = _picks(few, found, cleaned, config, part(on_progress, 0.6, 0.7))
    kept = sorted({pick.position for row in picks for pick in row})
    owners = [tuple(label for label, row in enumerate(picks) if any(p.position == i for p in row)) for i in kept]
    units = normalize(found.vectors[kept], dim=1)
    learned = labo.learn(few, held, units, owners, config, part(on_progress, 0.7, 1.0))
    bank = measure_bank(_bank(train, found, picks, kept, units), data)
    notes = (sifted.summary(), *found.notes, *_weak(data.classes, found, picks), _pool_note(train))
    recipe = Recipe(
        METHOD.name, resolved(config), data.encoder_id, data.contract, len(few),
        notes=(*notes, labo.association_note(learned, owners)),
    )  # fmt: skip
    return labo.model_of(data, few, bank, learned, recipe)


def _prototypes(few: TrainingSet, config: Config, encoder: TextEncoder) -> Float[Tensor, "c d"]:
    """A direction for each class, less what all have in common; zero for one that has no image."""
    if config.prototypes == "names":
        names = read_phrases(encoder, [name.replace("_", " ") for name in few.classes])
        return names - names.mean(0)
    units = normalize(few.x, dim=1)
    means = torch.zeros(len(few.classes), units.shape[1]).index_add_(0, few.labels, units)
    counts = torch.bincount(few.labels, minlength=len(few.classes))
    means = means / counts.clamp_min(1)[:, None]
    return torch.where((counts > 0)[:, None], means - means[counts > 0].mean(0), 0.0)


def _find(
    pool: Float[Tensor, "n d"],
    few: TrainingSet,
    encoder: TextEncoder,
    sifted: Sifted,
    config: Config,
    on_progress: OnProgress,
) -> _Found:
    prototypes = normalize(_prototypes(few, config, encoder), dim=1)
    if config.voting == "published":
        texts = tuple(word.text for word in sifted.words)
        vectors = read_phrases(encoder, texts, on_progress=part(on_progress, 0.0, 0.8))
        chosen, closeness = voters(pool, prototypes, config.voters or min(500, len(pool) // 2))
        ballot = vote(pool, chosen, closeness, vectors, top=config.top, on_progress=part(on_progress, 0.8, 1.0))
        rows = tuple(map(tuple, published_concepts(ballot.counts)))
        found = _Found(texts, vectors, rows, ballot, None, ())
    else:
        rules = Rules(
            config.voters, config.top, config.votes, config.chance, config.visual, config.phrases, config.drop_named
        )
        book = make_codebook(pool, prototypes, sifted.words, encoder, few.classes, rules, on_progress)
        rows = tokens(normalize(few.x, dim=1), few.labels, book, top=config.top, most=MOST)
        texts = tuple(word.text for word in book.words)
        found = _Found(texts, book.vectors, rows, book.votes, book, book.notes)
    if not any(found.of_class):
        raise DataError(
            "no word describes any class", hint="give words for what the images show, or lower chance, votes or visual"
        )
    return found


def _as_candidates(found: _Found) -> Cleaned:
    owners: dict[int, list[int]] = {}
    for label, ranked in enumerate(found.of_class):
        for i in ranked:
            owners.setdefault(i, []).append(label)
    return Cleaned(found.texts, tuple(tuple(owners.get(i, ())) for i in range(len(found.texts))), ())


def _picks(
    few: TrainingSet, found: _Found, cleaned: Cleaned, config: Config, on_progress: OnProgress
) -> list[list[Pick]]:
    """LaBo's choice among each class's words; as published there is none, and the first words are kept."""
    if config.voting == "published":
        return [[Pick(i, float("nan"), float("nan")) for i in row[: config.per_class]] for row in found.of_class]
    return labo.choose_sentences(few, cleaned, found.vectors, config, on_progress)


def _bank(
    pool: TrainingSet, found: _Found, picks: Sequence[Sequence[Pick]], kept: Sequence[int], units: Float[Tensor, "k d"]
) -> ConceptBank:
    """The chosen words, each with the classes that it describes, the votes for it, and an image that named it."""
    reasons: dict[int, list[str]] = {}
    for label, row in enumerate(picks):
        for pick in row:
            reasons.setdefault(pick.position, []).append(_why(found, label, pick.position, pool.classes[label]))
    return ConceptBank(
        names=tuple(found.texts[i] for i in kept),
        vectors=units,
        intercepts=torch.zeros(len(kept)),
        origin=tuple(
            Origin("vocabulary", f"{'; '.join(reasons[i])}; named best by {pool.ids[int(found.votes.examples[i])]}")
            for i in kept
        ),
        quality=tuple(Quality() for _ in kept),
        encoder_id=pool.encoder_id,
        contract=pool.contract,
    )


def _why(found: _Found, label: int, position: int, class_: str) -> str:
    votes = f"{int(found.votes.counts[label, position])} of {len(found.votes.voters[label])} images for {class_}"
    if found.book is None:
        return votes
    return (
        f"{votes}, {float(found.book.lifts[label, position]):.1f} times as often as elsewhere, "
        f"{float(found.book.chances[label, position]):.0f} standard errors above chance"
    )


def _weak(classes: Sequence[str], found: _Found, picks: Sequence[Sequence[Pick]]) -> list[str]:
    """What to distrust: classes with few words, and classes that the pool hardly shows."""
    short = [f"{name} ({len(row)})" for name, row in zip(classes, picks, strict=True) if len(row) < FEW]
    far = [name for name, near in zip(classes, found.votes.closeness.tolist(), strict=True) if near < WEAK]
    notes = []
    if short:
        notes.append(f"{len(short)} classes have few words: {', '.join(short[:LOOKED_AT])}")
    if far:
        notes.append(
            f"the pool hardly shows {len(far)} classes (best similarity below {WEAK:g}): {', '.join(far[:LOOKED_AT])}"
        )
    return notes


def _pool_note(pool: TrainingSet) -> str:
    digest = hashlib.sha256("\n".join(pool.ids).encode()).hexdigest()[:16]
    return f"{len(pool):,} training images voted, their labels unread (SHA-256 of their ids begins {digest})"


METHOD = Method(
    name="v2c",
    title="V2C-CBM",
    summary="Lets unlabelled images choose, from common words, those that describe each class; no sentences needed.",
    paper="He et al.: V2C-CBM, Building Concept Bottlenecks with Vision-to-Concept Tokenizer, AAAI 2025",
    needs=(Need.TEXT_ENCODER,),
    config=Config,
    fit=fit,
)
