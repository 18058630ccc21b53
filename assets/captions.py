"""Says in many ways what a rendered picture shows: synonyms of every concept, prompts, and whole captions.

The demo encoder is trained on these sentences; the product's own prompts are among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from numpy.random import Generator

from assets import cells, species

_COLOURS = MappingProxyType(
    {
        "white": ("white", "snowy white", "whitish"),
        "yellow": ("yellow", "golden", "bright yellow"),
        "red": ("red", "scarlet", "crimson", "bright red"),
        "grey": ("grey", "gray", "slate grey", "ash gray"),
        "brown": ("brown", "dark brown"),
        "black": ("black", "jet black", "blackish"),
        "blue": ("blue", "bright blue", "azure"),
        "green": ("green", "grass green"),
        "rufous": ("rufous", "orange", "rusty", "reddish brown", "rust colored"),
    }
)
_NOUNS = MappingProxyType(
    {
        "bill": ("bill", "beak"),
        "crown": ("crown", "cap", "crown of the head", "top of the head"),
        "wing": ("wing", "wings"),
        "breast": ("breast", "chest"),
        "belly": ("belly", "abdomen", "underbelly"),
        "tail": ("tail", "tail feathers"),
        "legs": ("legs", "feet", "leg"),
    }
)
_KINDS = MappingProxyType(
    {
        "hooked bill": ("hooked", "hook shaped"),
        "cone-shaped bill": ("cone-shaped", "conical", "thick conical", "triangular"),
        "long straight bill": ("long straight", "straight", "long pointed", "dagger like", "spear shaped"),
        "curved bill": ("curved", "downcurved", "decurved", "long curved"),
        "plain wing": ("plain", "unmarked", "unpatterned", "solid"),
        "striped wing": ("striped", "stripy", "zebra striped"),
        "spotted wing": ("spotted", "dotted", "polka dotted", "speckled"),
        "streaked breast": ("streaked", "streaky", "dark streaked"),
        "plain breast": ("plain", "unmarked", "unstreaked", "solid"),
        "forked tail": ("forked", "swallow like", "v shaped", "deeply forked"),
        "fan-shaped tail": ("fan-shaped", "fanned", "fan like", "broad rounded", "spread"),
        "pointed tail": ("pointed", "tapered", "sharp", "pointy"),
        "square tail": ("square", "squared", "square ended", "blunt"),
        "long tail": ("long", "lengthy", "very long"),
        "short tail": ("short", "stubby", "very short"),
        "long legs": ("long", "tall", "very long"),
        "short legs": ("short", "stubby", "very short"),
    }
)
_WHOLE = MappingProxyType(
    {
        "tall crest": ("tall crest", "crest", "crested head", "spiky crest", "tuft on the head", "crest on its head", "crown with a crest"),
        "smooth head": ("smooth head", "no crest", "rounded head", "head without a crest", "crestless head"),
        "white eye ring": ("white eye ring", "white ring around the eye", "pale eye ring", "white eyering", "bold white circle around its eye"),
        "dark eye mask": ("dark eye mask", "black mask", "dark mask over the eye", "black eye mask", "masked face", "dark band through the eye"),
        "plain face": ("plain face", "unmarked face", "face without markings", "plain unmarked face"),
        "white wing bar": ("white wing bar", "white bar on the wing", "wing with a white bar", "single pale wing bar", "wing bar"),
        "large bird": ("large bird", "big bird", "large size", "large body", "bird of large size"),
        "small bird": ("small bird", "little bird", "small size", "small body", "tiny bird", "bird of small size"),
        "water background": ("water background", "water in the background", "background of water", "lake background", "sea behind it", "open water around it", "rippling water", "blue water and shore"),
        "land background": ("land background", "land in the background", "forest background", "meadow background", "trees behind it", "grass around it", "woodland and grass", "foliage behind it"),
        "big cell": ("big cell", "large cell", "big cell size", "large size"),
        "small cell": ("small cell", "little cell", "small cell size", "small size"),
        "round cell": ("round cell", "round cell shape", "rounded outline", "circular cell", "smooth round cell border"),
        "irregular cell": ("irregular cell", "irregular cell shape", "irregular outline", "uneven cell border"),
        "multilobed nucleus": ("multilobed nucleus", "segmented multilobed nucleus", "nucleus with several lobes", "segmented nucleus", "nucleus with many lobes", "multi lobed nucleus"),
        "bilobed nucleus": ("bilobed nucleus", "segmented bilobed nucleus", "nucleus with two lobes", "two lobed nucleus"),
        "band nucleus": ("band nucleus", "unsegmented band nucleus", "horseshoe shaped nucleus", "band shaped nucleus", "thin curved nucleus"),
        "round nucleus": ("round nucleus", "unsegmented round nucleus", "circular nucleus", "spherical nucleus"),
        "indented nucleus": ("indented nucleus", "unsegmented indented nucleus", "kidney shaped nucleus", "bean shaped nucleus", "notched nucleus"),
        "irregular nucleus": ("irregular nucleus", "irregularly shaped nucleus", "nucleus of irregular shape"),
        "high nucleus-cytoplasm ratio": ("high nucleus-cytoplasm ratio", "high nuclear cytoplasmic ratio", "nucleus filling most of the cell", "little cytoplasm", "scant cytoplasm", "large nucleus"),
        "low nucleus-cytoplasm ratio": ("low nucleus-cytoplasm ratio", "low nuclear cytoplasmic ratio", "much cytoplasm", "abundant cytoplasm", "small nucleus"),
        "dense chromatin": ("dense chromatin", "densely packed chromatin", "densely clumped chromatin", "dark chromatin", "dense chromatin density"),
        "loose chromatin": ("loose chromatin", "loosely packed chromatin", "fine lacy chromatin", "lacy chromatin", "loose chromatin density"),
        "vacuoles": ("vacuoles", "cytoplasm vacuole", "vacuoles in the cytoplasm", "white holes in the cytoplasm", "vacuolated cytoplasm"),
        "no vacuoles": ("no vacuoles", "no cytoplasm vacuole", "without vacuoles", "cytoplasm without vacuoles"),
        "clear cytoplasm": ("clear cytoplasm", "clear cytoplasm texture", "smooth cytoplasm"),
        "frosted cytoplasm": ("frosted cytoplasm", "frosted cytoplasm texture", "ground glass cytoplasm", "grainy cytoplasm"),
        "light blue cytoplasm": ("light blue cytoplasm", "pale blue cytoplasm", "pale cytoplasm", "light blue cytoplasm colour"),
        "blue cytoplasm": ("blue cytoplasm", "deep blue cytoplasm", "sky blue cytoplasm", "blue cytoplasm colour"),
        "purple blue cytoplasm": ("purple blue cytoplasm", "purplish cytoplasm", "purple cytoplasm", "violet cytoplasm"),
        "small granules": ("small granules", "fine granules", "tiny granules", "small granule type"),
        "round granules": ("round granules", "round granule type", "spherical granules", "bead like granules"),
        "coarse granules": ("coarse granules", "coarse granule type", "large granules covering the nucleus", "big coarse granules"),
        "nil granule type": ("nil granule type", "no granule type", "no granules", "without granules"),
        "pink granules": ("pink granules", "pink granule colour", "pale pink granules"),
        "red granules": ("red granules", "red granule colour", "orange red granules", "brick red granules"),
        "purple granules": ("purple granules", "purple granule colour", "dark purple granules", "violet granules"),
        "nil granule colour": ("nil granule colour", "no granule colour", "no granules", "no coloured granules"),
        "granular cytoplasm": ("granular cytoplasm", "granules", "cytoplasm with granules", "granularity", "granules in the cytoplasm"),
        "agranular cytoplasm": ("agranular cytoplasm", "no granules", "no granularity", "cytoplasm without granules"),
    }
)  # fmt: skip

PROMPTS = MappingProxyType(
    {
        "bird": (
            "{}", "a {}", "the {}", "{} bird", "a bird with {}", "a bird with a {}", "a photo of a bird with {}",
            "a photo of a bird with a {}", "a photo of {}", "a photo of a {}", "an image of a bird with {}",
            "a picture of a bird that has {}", "this bird has {}", "a bird that has a {}", "bird having {}",
            "a drawing of a bird with {}", "a close-up of a {}", "it has {}", "its {}", "a bird whose most visible trait is its {}",
        ),
        "cell": (
            "{}", "a {}", "the {}", "a blood cell with {}", "a white blood cell with {}", "a cell with {}", "a cell with a {}",
            "a photo of a blood cell with {}", "a photo of a cell with {}", "a photo of {}", "a photo of a {}",
            "an image of a cell with {}", "a microscope image of a cell that has {}", "this cell has {}", "a {} under the microscope",
            "a stained blood cell with {}", "it has {}",
        ),
    }
)  # fmt: skip
"""Prompts around one concept's phrase, by what is pictured."""

_OPENINGS = MappingProxyType(
    {
        "bird": ("a bird with", "a photo of a bird with", "this bird has", "a bird having", "a picture of a bird with", ""),
        "cell": ("a blood cell with", "a photo of a white blood cell with", "this cell has", "a cell with", "a blood smear showing", ""),
    }
)  # fmt: skip
GENERAL = MappingProxyType(
    {
        "bird": ("a bird", "a photo of a bird", "bird", "a picture of a bird"),
        "cell": ("a blood cell", "a photo of a white blood cell", "white blood cell", "a cell"),
    }
)
"""Sentences true of every picture of a kind."""


def kind_of(concept: str) -> str:
    """Return what a concept is said of: ``"bird"`` or ``"cell"``."""
    return "bird" if concept in species.GROUP_OF else "cell"


def describe(concept: str, rng: Generator) -> str:
    """Return a phrase for a concept, such as "beak that is yellow" for *yellow bill*."""
    if rng.random() < 0.3:
        return concept
    if concept in _WHOLE:
        return str(rng.choice(_WHOLE[concept]))
    adjective, noun = _adjective(concept, rng), _noun(concept, rng)
    form = rng.random()
    if form < 0.75:
        return f"{adjective} {noun}"
    verb = "are" if noun.endswith(("s", "feet")) else "is"
    return f"{noun} that {verb} {adjective}" if form < 0.9 else f"{noun} {adjective}"


def prompt(concept: str, rng: Generator) -> str:
    """Return a sentence about one concept."""
    templates = PROMPTS[kind_of(concept)]
    template = templates[0] if rng.random() < 0.2 else str(rng.choice(templates))
    return template.format(describe(concept, rng))


def caption(concepts: Sequence[str], rng: Generator) -> str:
    """Return a sentence about several concepts of one picture, as in "a bird with a hooked yellow bill and ..."."""
    kind = kind_of(concepts[0])
    phrases = _merged(list(concepts), rng)
    opening = str(rng.choice(_OPENINGS[kind]))
    last = f" and {phrases.pop()}" if len(phrases) > 1 else ""
    return f"{opening} {', '.join(phrases)}{last}".strip()


def _merged(concepts: list[str], rng: Generator) -> list[str]:
    """Phrases for concepts; two adjectives of one part often stand before one noun."""
    by_part: dict[str, list[str]] = {}
    for concept in concepts:
        by_part.setdefault(_part(concept) if rng.random() < 0.7 else concept, []).append(concept)
    phrases = []
    for members in by_part.values():
        if len(members) == 1:
            phrases.append(describe(members[0], rng))
        else:
            adjectives = " ".join(_adjective(member, rng) for member in members)
            phrases.append(f"{adjectives} {_noun(members[0], rng)}")
    return phrases


def _part(concept: str) -> str:
    return concept if concept in _WHOLE else concept.rsplit(" ", 1)[1]


def _noun(concept: str, rng: Generator) -> str:
    return str(rng.choice(_NOUNS[concept.rsplit(" ", 1)[1]]))


def _adjective(concept: str, rng: Generator) -> str:
    choices: Mapping[str, tuple[str, ...]] = _KINDS if concept in _KINDS else _COLOURS
    key = concept if concept in _KINDS else concept.rsplit(" ", 1)[0]
    return str(rng.choice(choices[key]))


def words() -> tuple[str, ...]:
    """Return every word that these sentences can hold, sorted."""
    texts = [*species.GROUP_OF, *cells.GROUP_OF, "and that is are"]
    for table in (_COLOURS, _NOUNS, _KINDS, _WHOLE, PROMPTS, _OPENINGS, GENERAL):
        texts += [text.replace("{}", " ") for entries in table.values() for text in entries]
    return tuple(sorted({word for text in texts for word in text.replace("-", " ").replace(",", " ").lower().split()}))
