"""The rows of a data set whose pictures are DICOM files, with a PNG for each and without the names of the files."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cbm.config import build
from cbm.dicom import FACTS, Options, Plain, is_dicom, pseudonym, read_plain, read_window
from cbm.errors import UsageError
from cbm.filechecks import resolve_inside
from cbm.images import UnreadableImage
from cbm.progress import OnProgress, silent
from cbm.rows import Listing, Problem, Row

OPTIONS = ("window", "frame")


def has_dicom(listing: Listing) -> bool:
    """Whether any row's picture is a DICOM file."""
    return any(is_dicom(row.path) for row in listing.rows)


def with_pictures(
    listing: Listing,
    into: Path,
    options: Mapping[str, object],
    *,
    salt: bytes | None = None,
    on_progress: OnProgress = silent,
) -> Listing:
    """The listing with a PNG in a folder for each DICOM file.

    A row's path and id become its number, its group a salted hash of its own group or of the patient; problems no longer
    name the files. An id and `meta:` columns that a manifest gives are kept as they are.

    Parameters
    ----------
    salt
        What patients are hashed with; random by default, so that they are called otherwise each time.

    Raises
    ------
    DataError
        If pydicom is not installed.
    UsageError, UnknownName
        If the options are wrong.
    """
    chosen, secret = build(Options, options), salt or secrets.token_bytes(32)
    read_window(chosen.window)
    root, digits = listing.root.resolve(), len(str(len(listing.rows)))
    rows: list[Row] = []
    called: dict[int, str] = {}
    problems: list[Problem] = []
    for number, row in enumerate(listing.rows):
        if not is_dicom(row.path):
            rows.append(replace(row, extra=(*row.extra, *[""] * len(FACTS))))
            continue
        called[number] = f"dicom-{number + 1:0{digits}}"
        plain = _plain(root, row, number, called[number], chosen, secret, problems)
        rows.append(_row(row, called[number], plain, into, secret))
        on_progress((number + 1) / len(listing.rows), f"decoded {number + 1} of {len(listing.rows)} files")
    extras = (*listing.extras, *(f"meta:dicom {name}" for name in FACTS))
    told = [*(_unnamed(problem, listing, called) for problem in listing.problems), *problems]
    patients = len({row.group for at, row in enumerate(rows) if at in called and row.group})
    says = f"{len(called):,} DICOM files of {patients:,} patients, without their names."
    source = replace(
        listing.source,
        says=f"{listing.source.says} {says}".strip(),
        options={**listing.source.options, "window": chosen.window, "frame": chosen.frame},
    )
    return replace(listing, rows=tuple(rows), extras=extras, problems=tuple(told), source=source)


def refuse_options(options: Mapping[str, object]) -> None:
    """Refuse options of DICOM files where there are none."""
    if options:
        raise UsageError(f"the option {next(iter(options))!r} is for DICOM files, and there is none here")


def _plain(
    root: Path, row: Row, number: int, name: str, options: Options, salt: bytes, problems: list[Problem]
) -> Plain | None:
    path = resolve_inside(root, row.path)
    try:
        if path is None or not path.is_file():
            raise UnreadableImage("there is no such file in the folder of the data set")
        plain = read_plain(path, options, salt)
    except UnreadableImage as error:
        detail = row.says(f"file {number + 1} in the order of the list: {error.message}")
        problems.append(Problem(error.fault, name, detail, row=number))
        return None
    if plain.burned_in:
        detail = row.says(f"file {number + 1} in the order of the list says that something is written into its pixels")
        problems.append(Problem("burned_in", name, detail, "warning", number))
    return plain


def _row(row: Row, name: str, plain: Plain | None, into: Path, salt: bytes) -> Row:
    group = pseudonym(row.group, salt) or (plain.patient if plain else "")
    if plain is None:
        return replace(row, path=name, group=group, extra=(*row.extra, *[""] * len(FACTS)))
    file = into / f"{name}.png"
    plain.picture.save(file, "PNG")
    return replace(row, path=name, group=group, file=file, digest="", extra=(*row.extra, *plain.facts))


def _unnamed(problem: Problem, listing: Listing, called: Mapping[int, str]) -> Problem:
    """A problem of the list itself, without the name of a DICOM file."""
    if not is_dicom(problem.path):
        return problem
    name = called.get(-1 if problem.row is None else problem.row, "a DICOM file")
    return replace(problem, path=name, detail=problem.detail.replace(problem.path, name))
