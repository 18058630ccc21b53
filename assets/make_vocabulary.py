"""Writes the words that ship: nouns and adjectives for what can be seen, the commonest first.

    pip install timm spacy-lookups-data
    python -m assets.make_vocabulary

*Visual* means one of two things. A noun names a class of ImageNet-21k, of which people collected pictures: an animal, a plant,
a thing, a part of the body, food, a material, a shape, a look, or something in nature. Or a word is much more frequent in
the names and definitions of these classes than in English at large: then it says what such a thing is like ("scaly", "oval") and is not just
frequent ("like", "part"). Names, definitions and parts of speech are WordNet's; how frequent a word is in English, spaCy's. See
`vocabularies/README.md` for their licences.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from bisect import bisect_right
from collections import Counter
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

# Offsets of WordNet 3.0 follow its lexicographer files, so an offset says what kind of thing a noun is.
KINDS = (
    (0, ""), (1_313_000, "animal"), (2_668_000, "thing"), (4_616_000, "look"), (5_217_000, "body"), (5_611_000, ""),
    (7_555_000, "food"), (7_938_000, ""), (9_186_000, "nature"), (9_604_000, ""), (11_408_000, "nature"), (11_530_000, "plant"),
    (13_240_000, ""), (13_860_000, "shape"), (13_920_000, ""), (14_580_000, "material"), (15_113_000, ""),
)  # fmt: skip
TELLING = {
    "class": -0.3,
    "noun": 1.2,
    "adjective": 1.2,
}  # how much more frequent in definitions, as a natural logarithm
USES = 2  # definitions that have to use a word that names no class itself
ABSTRACT = re.compile(r"(ness|ity|ism|tion|sion|ment|ship|hood|logy|ance|ence|ics|ist|cy|ing)$")
NO_LOOK = re.compile(r"(able|ible|ical|less|ian|ese|ward)$")
RARE_PAIR = -12.7  # log-probability that the rarer of two words has at least
UNSEEN = -20.5  # log-probability of a word that is not in the table
CAPITAL = 0.7  # a word so much more frequent with a capital letter is a name
WORD = re.compile(r"[a-z]{3,16}(?:-[a-z]{3,12})?")
HERE = Path(__file__).resolve().parent / "vocabularies"


def visual_words() -> list[tuple[str, str, str]]:
    """Word, part of speech and kind; the commonest first."""
    names, glosses = _classes()
    parts, common = _wordnet(), _probabilities()
    nouns, adjectives = set(parts["noun"]), set(parts["adj"])
    kinds = _kinds(names, nouns)
    telling = _telling(names, glosses, common)
    uses = Counter(word for gloss in glosses for word in set(WORD.findall(gloss.lower())))
    found = {(word, "noun"): kind for word, kind in kinds.items() if telling[word] > TELLING["class"]}
    for word in (word for word, count in uses.items() if count >= USES and word not in kinds):
        if word in adjectives and telling[word] > TELLING["adjective"] and not NO_LOOK.search(word):
            found[word, "adjective"] = ""
        elif word in nouns and telling[word] > TELLING["noun"] and not ABSTRACT.search(word):
            found[word, "noun"] = ""
    bad, taken = blocked(), set(attributes())
    kept = [
        (word, part, kind)
        for (word, part), kind in found.items()
        if word not in taken and bad.isdisjoint(word.split("-")) and _is_common(word, common)
    ]
    kept += _pairs(names, {word for word, _, _ in kept} | taken, common)
    return sorted(kept, key=lambda entry: (-_frequency(entry[0], common), entry))


def _pairs(names: list[tuple[str, str]], words: set[str], common: dict[str, float]) -> list[tuple[str, str, str]]:
    """Names of two words that are both visual and not rare: "coffee mug"."""
    pairs = {name: kind for kind, listed in names for name in listed.split(", ") if name.count(" ") == 1}
    return [
        (name, "noun", kind)
        for name, kind in pairs.items()
        if words.issuperset(name.split()) and _frequency(name, common) > RARE_PAIR
    ]


def _frequency(word: str, common: dict[str, float]) -> float:
    """Log-probability of a word; of two words that of the rarer one."""
    return min(common.get(part, UNSEEN) for part in word.split())


def _telling(names: list[tuple[str, str]], glosses: list[str], common: dict[str, float]) -> dict[str, float]:
    """Logarithm of how much more frequent each word is in names and definitions than in English."""
    texts = [*glosses, *(listed for _, listed in names)]
    count = Counter(word for text in texts for word in WORD.findall(text.lower()))
    total = sum(count.values())
    return {word: math.log(n / total) - common.get(word, UNSEEN) for word, n in count.items()}


def _is_common(word: str, common: dict[str, float]) -> bool:
    """Among the million commonest, or of two parts; no proper name: those are more frequent with a capital letter."""
    here = common.get(word, UNSEEN)
    return (word in common or "-" in word) and common.get(word.capitalize(), UNSEEN) < here + CAPITAL


def attributes() -> dict[str, str]:
    """The attribute words, written by hand, with their group."""
    with (HERE / "attributes.csv").open(encoding="utf-8", newline="") as file:
        return {row["word"]: row["group"] for row in csv.DictReader(file)}


def blocked() -> set[str]:
    """Words that are never offered."""
    lines = (HERE / "blocked.txt").read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def _classes() -> tuple[list[tuple[str, str]], list[str]]:
    """Names and definitions of ImageNet-21k's classes of a visible kind."""
    folder = Path(find_spec("timm").origin).parent / "data" / "_info"  # importing timm would load torch
    rows = []
    for name in ("lemma", "definition"):
        text = (folder / f"imagenet_synset_to_{name}.txt").read_text(encoding="utf-8")
        rows.append(dict(line.split("\t", 1) for line in text.splitlines()))
    visible = [synset for synset in rows[0] if _kind(synset)]
    return [(_kind(synset), rows[0][synset]) for synset in visible], [rows[1][synset] for synset in visible]


def _kind(synset: str) -> str:
    return KINDS[bisect_right(KINDS, int(synset[1:]), key=lambda entry: entry[0]) - 1][1]


def _kinds(names: list[tuple[str, str]], nouns: set[str]) -> dict[str, str]:
    """Single words among the names, each with the kind of most of the classes that it names."""
    counts: dict[str, Counter[str]] = {}
    for kind, listed in names:
        for name in listed.split(", "):
            if WORD.fullmatch(name) and name in nouns:
                counts.setdefault(name, Counter())[kind] += 1
    return {name: count.most_common(1)[0][0] for name, count in counts.items()}


def _wordnet() -> dict[str, list[str]]:
    found: dict[str, list[str]] = _table("en_lemma_index")
    return found


def _probabilities() -> dict[str, float]:
    found: dict[str, float] = _table("en_lexeme_prob")
    return found


def _table(name: str) -> dict:
    packed = (files("spacy_lookups_data") / "data" / f"{name}.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed))


def write_words() -> None:
    """Write `vocabularies/visual.csv` again."""
    with (HERE / "visual.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("word", "part_of_speech", "group"))
        writer.writerows(visual_words())


if __name__ == "__main__":
    write_words()
