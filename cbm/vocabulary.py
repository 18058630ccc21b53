"""Candidate concepts in words: for each class, sentences that may describe it, cleaned before they become concepts.

The file layout is the one that LaBo made standard, `{"class": ["sentence", ...]}`. A sentence that names a class would
make the concept the answer, so such sentences go first; everything that is dropped is reported with the reason.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cbm.errors import DataError
from cbm.written_lists import read_written

LARGEST_FILE = 64 << 20  # bytes; the longest published list has 3 MB
LONGEST = 30  # words; the longest published sentence has 19
Candidates = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Dropped:
    """A candidate that was left out: its class, its own words, and why."""

    class_: str
    sentence: str
    reason: str


@dataclass(frozen=True)
class Cleaned:
    """Candidates that may become concepts.

    Attributes
    ----------
    sentences
        Distinct, in order of their first mention.
    owners
        For each sentence the positions of all classes that list it.
    dropped
        What was left out, and why.
    """

    sentences: tuple[str, ...]
    owners: tuple[tuple[int, ...], ...]
    dropped: tuple[Dropped, ...]

    def summary(self) -> str:
        """How many sentences stay and how many went for each reason, in one sentence."""
        went = Counter(re.sub(r" “.*”", "", one.reason) for one in self.dropped)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in went.most_common())
        some = "1 sentence" if len(self.sentences) == 1 else f"{len(self.sentences):,} sentences"
        return f"{some} to choose from" + (f"; left out: {reasons}" if reasons else "")


def read_candidates(path: str | Path) -> dict[str, tuple[str, ...]]:
    """The candidate sentences in a file: JSON `{"class": ["sentence", ...]}`, or what a language model printed.

    Raises
    ------
    DataError
        If the file cannot be read, or has neither layout; see `cbm.written_lists.read_written`.
    """
    try:
        if Path(path).stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} is larger than {LARGEST_FILE >> 20} MB", hint="give fewer sentences a class")
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error
    try:
        return candidates_in(text)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from error


def candidates_in(text: str) -> dict[str, tuple[str, ...]]:
    """The same from a text; `DataError` names the line where reading stopped."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return checked(read_written(text))
    return checked(given)


def checked(given: object) -> dict[str, tuple[str, ...]]:
    """Candidates from a JSON value; `DataError` says which class is malformed."""
    if not isinstance(given, Mapping) or not given:
        raise DataError("the candidates are not an object of classes", hint='expected {"class": ["sentence", ...]}')
    for name, sentences in given.items():
        texts = isinstance(sentences, list | tuple) and all(isinstance(one, str) for one in sentences)
        if not isinstance(name, str) or not texts:
            raise DataError(f"the candidates of {name!r} are not a list of sentences", hint='expected ["...", "..."]')
    return {name: tuple(sentences) for name, sentences in given.items()}


def shipped_candidates(classes: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """The sentences that ship for a data set with exactly these classes, or `None`: the demo world has some."""
    from assets import path

    for file in sorted(path("sentences").glob("*.json")):
        if not file.stem.endswith("_truth"):
            found = read_candidates(file)
            if set(found) == set(classes):
                return found
    return None


def clean(
    candidates: Candidates, classes: Sequence[str], *, longest: int = LONGEST, names: bool = True, every: bool = True
) -> Cleaned:
    """The sentences of these classes that may become concepts, each with all the classes that list it.

    Spaces are made single. What is left out: sentences that are empty or longer than `longest` words, those that name
    a class (with `names`), and repetitions within a class; upper and lower case are the same.

    Parameters
    ----------
    candidates
        Sentences by class. Classes match whatever their case, and underscores and hyphens are spaces; others are not looked at.
    every
        Whether every class needs a sentence.

    Raises
    ------
    DataError
        If a class has no sentence, or none that may stay, though it needs one; or if no class has any.

    Notes
    -----
    The published code keeps a shared sentence for one class only, and finds a name inside other words ("cat" in
    "category"), but not in another case. Here all owners stay, and names are whole words, plurals included.
    """
    pattern = _names_pattern(classes) if names else None
    by_name = {_plain(name): sentences for name, sentences in candidates.items()}
    owners: dict[str, list[int]] = {}
    spelled: dict[str, str] = {}
    dropped: list[Dropped] = []
    for label, name in enumerate(classes):
        for sentence in by_name.get(_plain(name), ()):
            text = " ".join(sentence.split())
            key = text.casefold()
            reason = _why_not(text, pattern, longest) or ("repeated" if label in owners.get(key, ()) else "")
            if reason:
                dropped.append(Dropped(name, sentence, reason))
            else:
                spelled.setdefault(key, text)
                owners.setdefault(key, []).append(label)
    if every or not owners:
        _refuse_silent(classes, owners, by_name)
    return Cleaned(tuple(spelled.values()), tuple(tuple(owners[key]) for key in spelled), tuple(dropped))


def clean_as_published(candidates: Candidates, *, names: bool = False) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Sentences as LaBo's code keeps them, sorted, and for each the first position in the list of all sentences.

    With `names`, sentences that contain a class name anywhere, in the same case, are left out. For comparison only.
    """
    first: dict[str, int] = {}
    for i, sentence in enumerate(sentence for sentences in candidates.values() for sentence in sentences):
        first.setdefault(sentence, i)
    kept = sorted(one for one in first if not (names and any(name in one for name in candidates)))
    return tuple(kept), tuple(first[one] for one in kept)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _names_pattern(classes: Sequence[str]) -> "re.Pattern[str]":
    names = sorted((re.escape(_plain(name)) for name in classes), key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(names)})(s|es)?\b")


def _why_not(text: str, pattern: "re.Pattern[str] | None", longest: int) -> str:
    if not text:
        return "empty"
    if len(text.split()) > longest:
        return f"longer than {longest} words"
    named = pattern.search(_plain(text)) if pattern else None
    return f"naming the class “{named[1]}”" if named else ""


def _refuse_silent(classes: Sequence[str], owners: Mapping[str, Sequence[int]], listed: Mapping[str, object]) -> None:
    spoken = {label for labels in owners.values() for label in labels}
    silent = [name for label, name in enumerate(classes) if label not in spoken]
    if silent:
        why = "has no sentence that may stay" if _plain(silent[0]) in listed else "is not among the candidates"
        more = f" (nor do {len(silent) - 1} others)" if len(silent) > 1 else ""
        raise DataError(
            f"the class {silent[0]!r} {why}{more}", hint="give every class some sentences that do not name it"
        )
