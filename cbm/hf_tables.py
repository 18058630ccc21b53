"""Hugging Face data sets whose pictures are inside tables: a folder that `save_to_disk` wrote, or one of Parquet shards.

Only the tables and the JSON files beside them are read, as a stream and with pyarrow alone; a script in the folder is never
run. Pictures are written out under the hash of their content.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cbm.archive_limits import LIMITS
from cbm.config import build, option
from cbm.errors import DataError, unknown
from cbm.hf_shards import Schema, Shard, rows_of, schema_of, shards_of
from cbm.images import MAX_FILE_BYTES
from cbm.manifests import Record, cell_text, list_records
from cbm.progress import OnProgress, silent
from cbm.rows import Listing, Source

SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"II": ".tif", b"MM": ".tif", b"BM": ".bmp"}


@dataclass(frozen=True)
class Options:
    """Which columns hold what."""

    label: str | None = option(
        None, help="the column that is predicted; by default the one called label, or a class label"
    )
    image: str | None = option(None, help="the column with the pictures; by default the one called image, or the first")


def list_tables(top: Path, into: Path, options: Mapping[str, object], *, on_progress: OnProgress = silent) -> Listing:
    """The rows of every shard, with their pictures written into a folder.

    The columns `group`, `c:`, `cw:` and `meta:` are what they are in a manifest; every other one is kept as `meta:`.

    Raises
    ------
    DataError
        If a table cannot be read, or there is no column of pictures or of labels.
    UnknownName
        If the columns that the options name do not exist.
    """
    chosen, shards = build(Options, options), shards_of(top)
    schema, info = schema_of(shards[0])
    image = _column(schema, chosen.image, schema.images, ("image", "img"), "pictures")
    labels = _label_columns(schema, image)
    label = _column(schema, chosen.label, labels, ("label", "labels"), "labels")
    others = [name for name in schema.columns if name not in {image, label, "split", "path"} | set(schema.images)]
    written = _Pictures(top, into)
    records = _records(shards, image, label, others, schema, written, on_progress)
    header = ("path", "label", "split", *map(_column_name, others))
    listing = list_records(top, header, records, "the tables")
    rows = tuple(replace(row, file=written.files.get(row.path)) for row in listing.rows)
    says = f"This is a Hugging Face data set: {len(rows):,} rows, pictures in {image!r}, label {label!r}."
    source = Source(
        "hf",
        title="Hugging Face data set",
        says=says,
        terms=str(info.get("license") or "no licence is written in it")[:500],
        contact=str(info.get("homepage") or "")[:500],
        cite=" ".join(str(info.get("citation") or "").split())[:500],
        options={"label": label, "image": image},
        labels=tuple(labels),
    )
    return replace(listing, rows=rows, source=source)


class _Pictures:
    """Where the pictures of rows were written, by the rows' paths."""

    def __init__(self, top: Path, into: Path) -> None:
        self.files: dict[str, Path] = {}
        self._top, self._into, self._size = top, into, 0

    def keep(self, cell: object, path: str) -> str:
        """Write the picture in a cell and return the row's path; of a cell that names a file beside the tables, that."""
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if not isinstance(content, bytes):
            named = cell.get("path") if isinstance(cell, Mapping) else None
            return str(named) if named else ""
        if len(content) > MAX_FILE_BYTES:
            raise DataError(f"the picture of {path} is larger than {MAX_FILE_BYTES // 2**20} MiB")
        digest = hashlib.sha256(content).hexdigest()
        file = self._into / digest[:2] / f"{digest}{SUFFIXES.get(content[:2], '.image')}"
        if not file.exists():
            self._size += len(content)
            if self._size > LIMITS.total_bytes:
                raise DataError(
                    f"the pictures take more than {LIMITS.total_bytes // 2**30} GiB", hint="import it in parts"
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.files[path] = file
        return path


def _label_columns(schema: Schema, image: str) -> list[str]:
    """The columns that could be the label: class labels, or one that is called so."""
    called = [name for name in schema.columns if name.lower() in {"label", "labels", "class", "target"}]
    return list(dict.fromkeys([*schema.classes, *(name for name in called if name != image)]))


def _column(schema: Schema, asked: str | None, fitting: Sequence[str], usual: tuple[str, ...], what: str) -> str:
    if asked is not None and asked not in schema.columns:
        raise unknown("column", asked, schema.columns)
    found = asked or next((name for name in (*usual, *fitting) if name in fitting), None)
    if found is None:
        has = ", ".join(map(repr, schema.columns[:12]))
        raise DataError(
            f"no column of the tables holds {what}; they have {has}", hint="name it with --set label=... or image=..."
        )
    return found


def _records(
    shards: list[Shard],
    image: str,
    label: str,
    others: list[str],
    schema: Schema,
    written: _Pictures,
    on_progress: OnProgress,
) -> Iterator[Record]:
    """One record a row, in the order of path, label, split and the other columns."""
    names, total = [schema.classes.get(name) for name in (label, *others)], len(shards)
    counts: dict[str, int] = {}
    for number, shard in enumerate(shards):
        on_progress(number / total, f"reading table {number + 1} of {total}")
        for values in rows_of(shard.path, [image, label, *others]):
            at = counts[shard.split] = counts.get(shard.split, -1) + 1
            path = written.keep(values[0], f"{shard.split or 'data'}/{at:07}")
            told, *rest = map(_cell, values[1:], names)
            yield Record(f"{shard.path.name}, row {at + 1}", (path, told, shard.split, *rest))


def _cell(value: object, names: tuple[str, ...] | None) -> str:
    """A value as text; the number of a class as its name."""
    if names is None:
        return cell_text(value)
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else ""


def _column_name(name: str) -> str:
    return name if name == "group" or name.startswith(("c:", "cw:", "meta:")) else f"meta:{name}"
