"""Manifests: one line an image, as CSV, Parquet or JSON lines, read as a stream of text cells.

All three become the same header and records, so a column means the same wherever it was written. A cell that makes
no sense is a `Problem` with its line; only a file that cannot be read at all is an error.
"""

import csv
import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cbm.errors import DataError
from cbm.rows import MAX_NAME, Listing, Problem, Row, clean_name, name_fault, split_name

MAX_ROWS = 5_000_000
MAX_COLUMNS = 20_000
MAX_LINE = 8 * 2**20
NAMES = {
    "path": ("path", "image", "file_name", "filename", "image_path"),
    "label": ("label", "class"),
    "split": ("split",),
    "id": ("id",),
    "group": ("group",),
    "mask": ("mask_path", "mask", "mask_file_name"),
    "digest": ("sha256",),
}
_MISSING = {"", "nan", "na", "n/a", "none", "null", "unknown", "?"}
_YES_NO = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one line as text, in the header's order, and where they were read (`line 12`)."""

    where: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """Which cell holds what; `None` for a column that the manifest does not have."""

    at: dict[str, int | None]
    concepts: dict[str, int]
    extras: dict[str, int]
    ignored: tuple[str, ...]


def list_manifest(path: Path, *, root: Path | None = None, keep_all: bool = False, label: bool = True) -> Listing:
    """Read every line of a manifest.

    Parameters
    ----------
    path
        A `.csv`, `.parquet` or `.jsonl` file with the columns `path` (or `image`, `file_name`) and `label` (or
        `class`), and optionally `split`, `id`, `group`, `mask_path`, `sha256`, `c:<concept>` (0 to 1, empty for
        unknown), `cw:<concept>` (how certain the annotator was) and `meta:<anything>`.
    root
        The folder that paths are relative to and may not leave; the manifest's own by default.
    keep_all
        Keep columns of other names as `meta:<name>` instead of warning about them.
    label
        Whether a column with the label is needed.

    Raises
    ------
    DataError
        If the file cannot be read as what its name says.
    """
    header, records = read_records(path)
    with closing(records):
        return list_records(root or path.parent, header, records, path.name, keep_all=keep_all, label=label)


def list_records(
    root: Path,
    header: tuple[str, ...],
    records: Iterable[Record],
    name: str,
    *,
    keep_all: bool = False,
    label: bool = True,
) -> Listing:
    """The rows of records with this header, wherever they were read; `name` is what problems call their source."""
    columns = _columns(header, keep_all)
    problems = _header_problems(name, header, columns, label)
    if any(problem.level == "error" for problem in problems):
        return Listing(root, (), problems=tuple(problems))
    rows: list[Row] = []
    for record in records:
        row, faults = _row(record, columns, len(header))
        problems += [Problem(kind, row.path, row.says(detail), row=len(rows)) for kind, detail in faults]
        rows.append(row)
    return Listing(root, tuple(rows), tuple(columns.concepts), tuple(columns.extras), problems=tuple(problems))


def read_records(path: Path) -> tuple[tuple[str, ...], Generator[Record, None, None]]:
    """The header of a manifest and an iterator over its lines.

    Raises
    ------
    DataError
        If it is none of CSV, Parquet and JSON lines, is not UTF-8, or has more than `MAX_ROWS` rows (while iterating).
    """
    readers = {".csv": _csv_records, ".parquet": _parquet_records, ".jsonl": _jsonl_records}
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise DataError(
            f"{path.name!r} is not a manifest that can be read", hint="a manifest is a .csv, .parquet or .jsonl file"
        )
    records = reader(path)
    header = tuple(clean_name(name) for name in next(records).cells)
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path.name!r} has {len(header)} columns; the limit is {MAX_COLUMNS}")
    return header, _limited(records, path)


def concept_value(text: str) -> tuple[float, str]:
    """A concept's value, NaN when unknown, and what is wrong with it (empty when nothing is).

    Examples
    --------
    >>> concept_value("0.25")
    (0.25, '')
    >>> concept_value("7")[1]
    'is 7; it must lie between 0 and 1'
    """
    plain = text.strip().lower()
    if plain in _MISSING:
        return float("nan"), ""
    try:
        value = _YES_NO[plain] if plain in _YES_NO else float(plain)
    except ValueError:
        return float("nan"), f"is {text.strip()[:40]!r}; it must be a number between 0 and 1, or empty for unknown"
    if not 0 <= value <= 1:
        return float("nan"), f"is {text.strip()[:40]}; it must lie between 0 and 1"
    return value, ""


def _limited(records: Iterator[Record], path: Path) -> Generator[Record, None, None]:
    for count, record in enumerate(records, start=1):
        if count > MAX_ROWS:
            raise DataError(f"{path.name!r} has more than {MAX_ROWS} rows", hint="import it in parts")
        yield record


def _csv_records(path: Path) -> Iterator[Record]:
    """The header, then the lines; a quoted cell may span lines, and the last one is named."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            yield Record("line 1", tuple(next(reader, ())))
            for cells in reader:
                if any(cells):
                    yield Record(f"line {reader.line_num}", tuple(cells))
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name!r} is not UTF-8 text ({error.reason})", hint="save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} of {path.name!r} is not CSV ({error})") from error


def _jsonl_records(path: Path) -> Iterator[Record]:
    """The union of all keys as the header, then the lines: two passes, because JSON lines have no header."""
    header: dict[str, None] = {}
    for _, item in _json_objects(path):
        header.update(dict.fromkeys(item))
        if len(header) > MAX_COLUMNS:
            break
    yield Record("line 1", tuple(header))
    for number, item in _json_objects(path):
        yield Record(f"line {number}", tuple(cell_text(item.get(name)) for name in header))


def _json_objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with path.open("rb") as file:
        for number in range(1, MAX_ROWS + 2):
            line = file.readline(MAX_LINE)
            if not line:
                return
            if line.strip():
                yield number, _json_object(line, f"line {number} of {path.name!r}")


def _json_object(line: bytes, where: str) -> dict[str, object]:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error})", hint="write one JSON object a line") from error
    if not isinstance(item, dict):
        raise DataError(f"{where} is not a JSON object", hint="write one JSON object a line")
    return item


def _parquet_records(path: Path) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            header = tuple(file.schema_arrow.names)
            yield Record("header", header)
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield Record(f"row {number}", tuple(cell_text(value) for value in values))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path.name!r} is not a Parquet file that can be read ({error})") from error


def cell_text(value: object) -> str:
    """A value of a table as the text of a cell: nothing is empty, a list or a mapping is JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _columns(header: tuple[str, ...], keep_all: bool) -> Columns:
    lower = [name.lower() for name in header]
    at = {what: next((lower.index(name) for name in names if name in lower), None) for what, names in NAMES.items()}
    rest = [i for i in range(len(header)) if i not in at.values()]
    concepts = {header[i][2:].strip(): i for i in rest if lower[i].startswith("c:")}
    extras = {header[i]: i for i in rest if lower[i].startswith(("cw:", "meta:"))}
    others = [i for i in rest if not lower[i].startswith(("c:", "cw:", "meta:"))]
    if keep_all:
        extras |= {f"meta:{header[i]}": i for i in others}
    return Columns(at, concepts, extras, () if keep_all else tuple(header[i] for i in others))


def _header_problems(name: str, header: tuple[str, ...], columns: Columns, label: bool) -> list[Problem]:
    has = f"it has {', '.join(map(repr, header[:12]))}" if header else "it is empty"
    needed = ("path", "label") if label else ("path",)
    problems = [
        Problem("missing_column", name, f"{name} has no column {' or '.join(map(repr, NAMES[what]))}; {has}")
        for what in needed
        if columns.at[what] is None
    ]
    twice = sorted({column for column in header if header.count(column) > 1}) if len(set(header)) < len(header) else []
    problems += [Problem("duplicate_column", name, f"{name} has two columns {column!r}") for column in twice]
    for column in (*columns.concepts, *columns.extras):
        fault = name_fault(column) if column else "is empty"
        if fault:
            problems.append(Problem("bad_name", name, f"{name}: the column name {column[:60]!r} {fault}"))
    for column in columns.ignored:
        detail = f"column {column!r} is left out; call it 'c:{column}' for a concept or 'meta:{column}' to keep it"
        problems.append(Problem("ignored_column", name, detail, "warning"))
    return problems


def _row(record: Record, columns: Columns, width: int) -> tuple[Row, list[tuple[str, str]]]:
    """One row and the (kind, detail) of what is wrong with it."""
    faults = []
    cells = record.cells
    if len(cells) != width:
        faults.append(("cells", f"{len(cells)} cells, but the header has {width}"))
        cells = (*cells, *[""] * width)[:width]
    tidy = {"path": str.strip, "mask": str.strip}  # file names are left as the file system spells them
    named = {what: "" if at is None else tidy.get(what, clean_name)(cells[at]) for what, at in columns.at.items()}
    faults += _cell_faults(named, columns)
    values = []
    for concept, at in columns.concepts.items():
        value, fault = concept_value(cells[at])
        values.append(value)
        if fault:
            faults.append(("concept_value", f"concept {concept!r} {fault}"))
    row = Row(
        path=named["path"],
        label=named["label"],
        split=split_name(named["split"]),
        id=named["id"],
        group=named["group"],
        mask=named["mask"],
        digest=named["digest"],
        concepts=tuple(values),
        extra=tuple(cells[at].strip() for at in columns.extras.values()),
        where=record.where,
    )
    return row, faults


def _cell_faults(named: dict[str, str], columns: Columns) -> Iterator[tuple[str, str]]:
    if not named["path"]:
        yield "missing_value", "no path is given"
    if not named["label"] and columns.at["label"] is not None:
        yield "missing_value", "no label is given"
    for what, text in named.items():
        fault = name_fault(text, 4096 if what in {"path", "mask"} else MAX_NAME)
        if fault:
            yield "bad_name", f"the {what} {text[:60]!r} {fault}"
