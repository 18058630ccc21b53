"""Data sets in the layouts in which they were published, by name: one file each, one line each here.

A person unpacks what the publishers give away and imports that folder. Each reader turns it into the same `Listing` as
every other layout; what the publishers wrote wrongly becomes a `Problem`, and a part that is missing one sentence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from cbm.config import build, specs
from cbm.errors import UsageError, unknown
from cbm.folders import find, wrappers
from cbm.rows import Listing

MODULES = {
    "cub": "cbm.published.cub",
    "awa2": "cbm.published.awa2",
    "celeba": "cbm.published.celeba",
    "derm7pt": "cbm.published.derm7pt",
    "wbcatt": "cbm.published.wbcatt",
    "skincon": "cbm.published.skincon",
}
TITLES = {
    "cub": "CUB-200-2011",
    "awa2": "Animals with Attributes 2",
    "celeba": "CelebA",
    "derm7pt": "Derm7pt",
    "wbcatt": "WBCAtt",
    "skincon": "SkinCon",
}  # so that a list of them loads none


@dataclass(frozen=True)
class Published:
    """One published data set.

    Attributes
    ----------
    telltales
        Files of which one is enough to recognise it, in the folder or one level below.
    tree
        The folder as it is expected, a line a path.
    concepts
        What its concepts are called there, for the sentence that says what was found.
    options
        A frozen dataclass of options; `label`, where there is one, chooses what is to be predicted.
    read
        From the folder and the options to a listing; its `source` may name the labels that could be chosen.
    """

    name: str
    title: str
    telltales: tuple[str, ...]
    tree: str
    concepts: str
    terms: str
    contact: str
    cite: str
    options: type[Any]
    read: Callable[[Path, Any], Listing]


def published(name: str) -> Published:
    """The published data set of that name; `UnknownName` with close matches if there is none."""
    if name not in MODULES:
        raise unknown("published data set", name, MODULES)
    found: Published = import_module(MODULES[name]).PUBLISHED
    return found


def recognised(top: Path) -> Published | None:
    """The published data set that a folder holds, by its telltale files; or `None`."""
    return next((known for known in map(published, MODULES) if _place(known, top)), None)


def list_published(name: str, top: Path, options: Mapping[str, object]) -> Listing:
    """The rows of a published data set, with what was recognised as its `source`.

    Raises
    ------
    DataError
        If a part that it cannot be read without is missing.
    UnknownName, UsageError
        If an option or its value does not exist.
    """
    known = published(name)
    place = _place(known, top)
    if place is None:
        tell = " or ".join(known.telltales)
        raise UsageError(f"{top.name!r} is not {known.title}: there is no {tell}", hint=f"it looks like\n{known.tree}")
    config = build(known.options, options)
    listing = known.read(place, config)
    used = {spec.name: str(getattr(config, spec.name)) for spec in specs(known.options)}
    source = replace(
        listing.source,
        layout=name,
        title=known.title,
        says=f"This is {known.title}: {_counts(known, listing)}.",
        terms=known.terms,
        contact=known.contact,
        cite=known.cite,
        options=used | dict(listing.source.options),
    )
    return replace(listing, source=source)


def _place(known: Published, top: Path) -> Path | None:
    """The outermost folder that has a telltale file in it or one level below."""
    return next((place for place in wrappers(top) if find(place, *known.telltales)), None)


def _counts(known: Published, listing: Listing) -> str:
    classes = len({row.label for row in listing.rows})
    return f"{len(listing.concepts)} {known.concepts}, {classes} classes, {len(listing.rows):,} images listed"
