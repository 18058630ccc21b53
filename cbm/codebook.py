"""From a list of words to the words that describe each class: read, voted on by unlabelled images, and sifted.

Two stages keep a grammar small. Words are voted on first; then phrases of an adjective and a noun are made for each
class, from words that passed there and from parts that the images show, and words and phrases are voted on together.
The product of all adjectives with all nouns is never written down.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from cbm.encoders import TextEncoder
from cbm.errors import DataError
from cbm.progress import OnProgress, part
from cbm.sources import read_phrases
from cbm.voting import Scale, Votes, above_chance, lift, scale_of, vote, voters, without_twins
from cbm.word_banks import known_to
from cbm.words import Sifted, Word, grammar, sift

PARTS = frozenset({"part", "body"})  # groups of nouns that phrases are made of wherever the images show them
TWINS = 0.95  # cosine from which two words are nearly the same
NAME = 0.95  # cosine with a class name from which a word is another word for it
LARGEST = 500  # words of a class, as published


@dataclass(frozen=True)
class Rules:
    """What a word must do to describe a class.

    Attributes
    ----------
    voters
        Images that vote for a class; `None` is as many as the pool has a class on average, and 500 at most.
    top
        Words that each names.
    fewest
        Votes that a word needs.
    chance
        By how many standard errors a class's voters must be closer to it than images drawn by chance.
    visual
        How much its similarity must vary over images, as a share of the median word's: what is equally close to all
        pictures describes none.
    phrases
        Adjectives, and nouns, of each class that phrases are made of; 0 makes none.
    drop_named
        Leave out words that name a class, or are as close to its name as another word for it.
    """

    voters: int | None = None
    top: int = 5
    fewest: int = 2
    chance: float = 3.0
    visual: float = 0.5
    phrases: int = 12
    drop_named: bool = True


@dataclass(frozen=True)
class Codebook:
    """Words with unit vectors, and for each class those that describe it, the most telling first.

    Attributes
    ----------
    of_class
        Positions of words, by class; empty where no word passed.
    votes, lifts, chances
        What the words got; see `cbm.voting`.
    scale
        Of the pool and the words.
    notes
        What was left out on the way, and what is weak.
    """

    words: tuple[Word, ...]
    vectors: Float[Tensor, "v d"]
    of_class: tuple[tuple[int, ...], ...]
    votes: Votes
    lifts: Float[Tensor, "c v"]
    chances: Float[Tensor, "c v"]
    scale: Scale
    notes: tuple[str, ...]


def readable(
    words: Sequence[Word], encoder: TextEncoder, classes: Sequence[str], *, most: int, drop_named: bool
) -> Sifted:
    """The words that an encoder knows and that may become concepts, `most` of them, sorted.

    Raises
    ------
    DataError
        If there is none.
    """
    known = known_to(encoder, words)
    sifted = sift(known.words, names=classes if drop_named else (), most=most)
    if not sifted.words:
        raise DataError(
            f"none of {len(words):,} words can be used: {len(words) - len(known.words):,} are unknown to the encoder, "
            f"{len(known.words):,} blocked or naming a class",
            hint="give other words",
        )
    return Sifted(tuple(sorted(sifted.words, key=lambda word: word.text)), known.dropped + sifted.dropped)


def make_codebook(
    pool: Float[Tensor, "n d"],
    prototypes: Float[Tensor, "c d"],
    words: Sequence[Word],
    encoder: TextEncoder,
    classes: Sequence[str],
    rules: Rules,
    on_progress: OnProgress,
) -> Codebook:
    """Let the images of the pool say which words describe each class.

    Parameters
    ----------
    pool
        Unit embeddings of images; their labels, if they have any, play no part.
    prototypes
        Of the classes; a row of zeros has no voters.
    """
    count = rules.voters or max(rules.top, min(500, round(len(pool) / len(classes))))
    chosen, closeness = voters(pool - pool.mean(0), prototypes, count)
    first = tuple(words)
    vectors = normalize(read_phrases(encoder, [w.text for w in first], on_progress=part(on_progress, 0.0, 0.5)), dim=1)
    named = _named(encoder, classes) if rules.drop_named else None
    book = _voted(pool, chosen, closeness, first, vectors, named, rules, part(on_progress, 0.5, 0.6))
    fresh = _phrases(book, pool, rules)
    if not fresh:
        return book
    more = normalize(read_phrases(encoder, [w.text for w in fresh], on_progress=part(on_progress, 0.6, 0.9)), dim=1)
    both, vectors = first + fresh, torch.cat([vectors, more])
    return _voted(pool, chosen, closeness, both, vectors, named, rules, part(on_progress, 0.9, 1.0))


def tokens(
    x: Float[Tensor, "n d"], y: Int[Tensor, "n"], book: Codebook, *, top: int, most: int
) -> tuple[tuple[int, ...], ...]:
    """For each class the words of its codebook that its own images name most often, `most` of them at most.

    An image names the `top` words of its class's codebook that are nearest to it, on the scale of the pool. A class
    without images keeps the first words of its codebook.
    """
    found = []
    for label, ranked in enumerate(book.of_class):
        images = x[y == label]
        if not ranked or not len(images):
            found.append(ranked[:most])
            continue
        places = torch.tensor(ranked)
        scores = (images - book.scale.mean) @ (book.vectors[places] / book.scale.spread[places, None]).T
        count = Counter(scores.topk(min(top, len(ranked)), dim=1).indices.flatten().tolist())
        order = sorted(count, key=lambda i: (-count[i], i))[:most]
        found.append(tuple(ranked[i] for i in order))
    return tuple(found)


def _named(encoder: TextEncoder, classes: Sequence[str]) -> Float[Tensor, "m d"]:
    """Unit vectors of the class names that the encoder knows."""
    knows = getattr(encoder, "knows", lambda text: True)
    names = [name.replace("_", " ") for name in classes if knows(name.replace("_", " "))]
    return normalize(read_phrases(encoder, names), dim=1) if names else torch.zeros(0, encoder.dim)


def _voted(
    pool: Float[Tensor, "n d"],
    chosen: Sequence[Int[Tensor, "_"]],
    closeness: Float[Tensor, "c"],
    words: tuple[Word, ...],
    vectors: Float[Tensor, "v d"],
    named: Float[Tensor, "m d"] | None,
    rules: Rules,
    on_progress: OnProgress,
) -> Codebook:
    scale = scale_of(pool, vectors)
    visual = scale.spread >= rules.visual * scale.spread.median()
    apart = _apart(vectors, named)
    allowed = torch.nonzero(visual & apart).flatten()
    inner = Scale(scale.mean, scale.spread[allowed])
    ballot = vote(pool, chosen, closeness, vectors[allowed], scale=inner, top=rules.top, on_progress=on_progress)
    lifts, chances = lift(ballot), above_chance(pool, chosen, vectors[allowed], inner)
    passed = (ballot.counts >= rules.fewest) & (chances >= rules.chance) & (lifts > 1)
    of_class = []
    for label in range(len(chosen)):
        places = torch.nonzero(passed[label]).flatten()
        ranked = places[lifts[label, places].argsort(descending=True, stable=True)].tolist()
        of_class.append(tuple(without_twins(ranked, vectors[allowed], cosine=TWINS, most=LARGEST)))
    return Codebook(
        words=tuple(words[i] for i in allowed.tolist()),
        vectors=vectors[allowed],
        of_class=tuple(of_class),
        votes=ballot,
        lifts=lifts,
        chances=chances,
        scale=inner,
        notes=(
            f"{len(words):,} words and phrases: {int((~visual).sum()):,} are as close to one image as to another, "
            f"{int((visual & ~apart).sum()):,} stand for a class name, {int((~passed.any(0)).sum()):,} describe no class",
        ),
    )


def _apart(vectors: Float[Tensor, "v d"], named: Float[Tensor, "m d"] | None) -> Bool[Tensor, "v"]:
    if named is None or not len(named):
        return torch.ones(len(vectors), dtype=torch.bool)
    return torch.cat([(block @ named.T).amax(1) < NAME for block in torch.split(vectors, 1024)])


def _phrases(book: Codebook, pool: Float[Tensor, "n d"], rules: Rules) -> tuple[Word, ...]:
    """Adjective and noun, class by class, of words that describe it and of parts that the images show; each once."""
    if not rules.phrases:
        return ()
    shown = _parts_shown(book, pool, rules.phrases)
    there = {word.text for word in book.words}
    made: dict[str, None] = {}
    for ranked in book.of_class:
        own = [book.words[i] for i in ranked]
        adjectives = [word.text for word in own if word.part == "adjective"][: rules.phrases]
        nouns = [word.text for word in own if word.part == "noun" and " " not in word.text][: rules.phrases]
        made.update(dict.fromkeys(grammar(adjectives, list(dict.fromkeys([*shown, *nouns])), atoms=False)))
    return tuple(Word(text, "", "phrase") for text in sorted(made) if text not in there)


def _parts_shown(book: Codebook, pool: Float[Tensor, "n d"], most: int) -> list[str]:
    """The names of parts that are closest to the images of the pool on average."""
    parts = [i for i, word in enumerate(book.words) if word.part == "noun" and word.group in PARTS]
    nearness = (book.vectors[parts] @ pool.mean(0)).tolist()
    order = sorted(zip(nearness, parts, strict=True), key=lambda pair: (-pair[0], pair[1]))
    kept = without_twins([i for _, i in order], book.vectors, cosine=TWINS, most=most)
    return [book.words[i].text for i in kept]
