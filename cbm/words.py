"""Lists of words that may become concepts: those that ship, those a person gives, and what is left out of them.

A word has a part of speech, so that phrases can be made of an adjective and a noun, and a group. A list is in the order
of its file: the words that ship begin with the commonest.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from cbm.errors import DataError

Part = Literal["noun", "adjective", ""]
LISTS = ("visual", "attributes", "all")
LONGEST = 300  # characters of a phrase
_ENDINGS = (("ies", "y"), ("ves", "f"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", ""))
_IRREGULAR = {"men": "man", "women": "woman", "feet": "foot", "teeth": "tooth", "geese": "goose", "mice": "mouse", "leaves": "leaf"}  # fmt: skip


@dataclass(frozen=True)
class Word:
    """A word or phrase that may become a concept; part of speech and group are empty where nobody knows them."""

    text: str
    part: Part = ""
    group: str = ""


@dataclass(frozen=True)
class Sifted:
    """Words that stay, and how many went for each reason."""

    words: tuple[Word, ...]
    dropped: tuple[tuple[str, int], ...] = ()

    def summary(self) -> str:
        """How many stay and how many went, and why, in one sentence."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped)
        some = "1 word" if len(self.words) == 1 else f"{len(self.words):,} words"
        return some + (f"; left out: {reasons}" if reasons else "")


@cache
def shipped(name: str = "all") -> tuple[Word, ...]:
    """The words that ship: "visual", "attributes" (colour, texture, shape ...), or "all", attributes first.

    Raises
    ------
    UnknownName
        If no list is called so.

    Examples
    --------
    >>> len(shipped("visual")) >= 10_000, {word.text: word.group for word in shipped("attributes")}["striped"]
    (True, 'pattern')
    """
    from assets import path
    from cbm.errors import unknown

    if name not in LISTS:
        raise unknown("word list", name, LISTS)
    if name == "all":
        return shipped("attributes") + shipped("visual")
    with path(f"vocabularies/{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(Word(row["word"], _part(row["part_of_speech"]), row["group"]) for row in csv.DictReader(file))


@cache
def blocked() -> frozenset[str]:
    """Words that are never offered as concepts: obscene or insulting ones, and such as name nothing visible."""
    from assets import path

    lines = path("vocabularies/blocked.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def as_words(texts: Iterable[str]) -> tuple[Word, ...]:
    """Words from plain texts: each once, whatever its case, with what the lists that ship know of it."""
    known = {word.text: word for word in shipped("all")}
    spelled: dict[str, str] = {}
    for text in (" ".join(text.split()) for text in texts):
        spelled.setdefault(text.casefold(), text)
    spelled.pop("", None)
    return tuple(
        Word(text, known[key].part, known[key].group) if key in known else Word(text) for key, text in spelled.items()
    )


def sift(
    words: Sequence[Word],
    *,
    parts: Container[str] | None = None,
    groups: Container[str] | None = None,
    drop_blocked: bool = True,
    names: Sequence[str] = (),
    most: int | None = None,
) -> Sifted:
    """The words that may become concepts.

    Parameters
    ----------
    parts, groups
        Parts of speech and groups to keep; `None` keeps all.
    drop_blocked
        Leave out phrases with a blocked word.
    names
        Class names: words that are or contain one are left out, plurals too, and the last word of a name as well,
        which says what kind of thing it is ("gull" in "ring-billed gull").
    most
        Keep so many at most, the first ones.
    """
    telling = names_and_kinds(names)
    kept: list[Word] = []
    why: Counter[str] = Counter()
    for word in words:
        if parts is not None and word.part not in parts:
            why["of another part of speech"] += 1
        elif groups is not None and word.group not in groups:
            why["of another group"] += 1
        elif len(word.text) > LONGEST:
            why[f"longer than {LONGEST} characters"] += 1
        elif drop_blocked and not blocked().isdisjoint(_tokens(word.text)):
            why["blocked"] += 1
        elif tells(word.text, telling):
            why["naming a class"] += 1
        elif most is not None and len(kept) >= most:
            why["less common"] += 1
        else:
            kept.append(word)
    return Sifted(tuple(kept), tuple(why.most_common()))


def names_and_kinds(names: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """Lemmas of whole class names and of their last words, for `tells`."""
    whole = [tuple(lemma(token) for token in _tokens(name)) for name in names]
    return frozenset(name for full in whole if full for name in (full, full[-1:]))


def tells(phrase: str, names: Container[tuple[str, ...]]) -> bool:
    """Whether a phrase holds one of these names, word by word and whatever its number.

    Examples
    --------
    >>> tells("two cats", names_and_kinds(["black cat"])), tells("catalogue", names_and_kinds(["black cat"]))
    (True, False)
    """
    lemmas = [lemma(token) for token in _tokens(phrase)]
    spans = ((i, j) for i in range(len(lemmas)) for j in range(i + 1, len(lemmas) + 1))
    return any(tuple(lemmas[i:j]) in names for i, j in spans)


def lemma(word: str) -> str:
    """A noun's singular, by rule.

    Examples
    --------
    >>> [lemma(word) for word in ("wings", "berries", "feet", "glass", "torches")]
    ['wing', 'berry', 'foot', 'glass', 'torch']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2 and not word.endswith(("ss", "us", "is")):
            return word[: len(word) - len(ending)] + instead
    return word


def grammar(
    adjectives: Sequence[str], nouns: Sequence[str], relations: Sequence[str] = (), *, atoms: bool = True
) -> Iterator[str]:
    """Phrases one after another, never as a list: adjectives, nouns, adjective noun, relation adjective noun.

    Examples
    --------
    >>> list(grammar(["red"], ["wing"], ["has"]))
    ['red', 'wing', 'red wing', 'has red wing']
    """
    if atoms:
        yield from adjectives
        yield from nouns
    for noun in nouns:
        for adjective in adjectives:
            yield f"{adjective} {noun}"
            yield from (f"{relation} {adjective} {noun}" for relation in relations)


def read_words(name: str, content: bytes) -> tuple[str, ...]:
    """The phrases of a file: text, one a line; CSV, the column `concept` or `word`, else the first; or lists in JSON.

    Parameters
    ----------
    name
        The file's name, whose ending says what it is.

    Raises
    ------
    DataError
        If it is no UTF-8 text, or JSON of another layout.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name!r} is not UTF-8 text", hint="save it as UTF-8") from error
    if name.lower().endswith(".json"):
        lines = _in_json(name, text)
    elif name.lower().endswith(".csv"):
        lines = _in_table(text)
    else:
        lines = text.splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _in_table(text: str) -> list[str]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    head = [cell.strip().casefold() for cell in rows[0]] if rows else []
    named = next((title for title in ("concept", "word") if title in head), None)
    column = head.index(named) if named else 0
    return [row[column] for row in (rows[1:] if named else rows) if len(row) > column]


def _in_json(name: str, text: str) -> list[str]:
    """The texts of `["a", "b"]`, or of `{"class": ["a", "b"]}`, class after class."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name!r} is not JSON ({error})", hint='write a list, such as ["striped wing"]') from error
    lists = list(read.values()) if isinstance(read, dict) else [read]
    if not all(isinstance(one, list) and all(isinstance(item, str) for item in one) for one in lists):
        raise DataError(f"{name!r} has something else than lists of texts", hint='write {"wren": ["striped wing"]}')
    return [item for one in lists for item in one]


def _part(text: str) -> Part:
    return "noun" if text == "noun" else "adjective" if text == "adjective" else ""


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())
