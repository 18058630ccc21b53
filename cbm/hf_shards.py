"""The tables of a Hugging Face data set on disk: which there are, which split each is of, and their rows as a stream.

References
----------
The layouts are those of `datasets` 5.2: `dataset_dict.json` names the splits, `state.json` the Arrow streams of one,
`dataset_info.json` (or the schema's metadata, key `huggingface`) the features; Parquet shards are called
`SPLIT-00000-of-00001.parquet` or lie in a folder called like their split.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbm.errors import DataError
from cbm.folders import is_hidden, wrappers
from cbm.rows import is_known_split, split_name

SHARD = re.compile(r"(?P<split>[^/]+?)-\d{5}-of-\d{5}(-[0-9a-f]+)?")
MAX_JSON = 16 * 2**20
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Shard:
    """One table on disk and the split that its rows are in, empty where nothing says so."""

    path: Path
    split: str


@dataclass(frozen=True)
class Schema:
    """The columns that tables have in common: which hold pictures, and the names of the classes of which."""

    columns: tuple[str, ...]
    images: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]


def tables_in(path: Path) -> Path | None:
    """The folder of a Hugging Face data set with its pictures inside tables, or `None`; wrapping folders are opened."""
    return next((place for place in wrappers(path) if _is_saved(place) or _is_repository(place)), None)


def _is_saved(place: Path) -> bool:
    return (place / "dataset_dict.json").is_file() or (
        (place / "state.json").is_file() and (place / "dataset_info.json").is_file()
    )


def _is_repository(place: Path) -> bool:
    first = next(_parquet_files(place), None)
    if first is None:
        return False
    try:
        return bool(_image_columns(_arrow_schema(first), {}))
    except DataError:
        return False


def _parquet_files(place: Path) -> Iterator[Path]:
    for pattern in ("*.parquet", "*/*.parquet", "*/*/*.parquet"):
        for file in sorted(place.glob(pattern)):
            parts = file.relative_to(place).parts
            if not any(map(is_hidden, parts)) and file.stem not in {"metadata", "manifest"}:
                yield file


def shards_of(top: Path) -> list[Shard]:
    """Every shard in the order of the splits."""
    if (top / "dataset_dict.json").is_file():
        names = _json(top / "dataset_dict.json").get("splits")
        names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        found = [shard for name in names for shard in _saved(_beside(top, name), name)]
    elif _is_saved(top):
        found = _saved(top, str(_json(top / "state.json").get("_split") or ""))
    else:
        found = [Shard(file, _split_of(file, top)) for file in _parquet_files(top)]
    if not found:
        raise DataError(f"there is no table in {top.name!r}", hint="save the data set again with save_to_disk")
    return found


def _saved(folder: Path, split: str) -> list[Shard]:
    files = _json(folder / "state.json").get("_data_files")
    names = [file.get("filename") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return [Shard(_beside(folder, str(name)), split_name(split)) for name in names]


def _beside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"{name!r} leaves the folder of the data set", hint="do not trust this data set")
    return path


def _split_of(file: Path, top: Path) -> str:
    found = SHARD.fullmatch(file.stem)
    name = found["split"] if found else file.stem if is_known_split(file.stem) else ""
    if not name and file.parent != top and file.parent.name != "data":
        name = file.parent.name
    return split_name(name)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON:
            raise ValueError("it is too large")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path.name!r} cannot be read ({error})", hint="save the data set again") from error
    return content if isinstance(content, dict) else {}


def schema_of(shard: Shard) -> tuple[Schema, dict[str, Any]]:
    """The columns of the tables, and what else is written about the data set."""
    schema = _arrow_schema(shard.path)
    beside = shard.path.parent / "dataset_info.json"
    info = _json(beside) if beside.is_file() else _info(schema)
    features = info.get("features")
    features = {k: v for k, v in features.items() if isinstance(v, dict)} if isinstance(features, dict) else {}
    classes = {
        name: tuple(map(str, told["names"]))
        for name, told in features.items()
        if told.get("_type") == "ClassLabel" and isinstance(told.get("names"), list)
    }
    return Schema(tuple(schema.names), _image_columns(schema, features), classes), info


def _info(schema: Any) -> dict[str, Any]:
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info")
    except (ValueError, AttributeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _image_columns(schema: Any, features: Mapping[str, dict[str, Any]]) -> tuple[str, ...]:
    """Columns of the type that `datasets` stores pictures in, or said to be pictures and stored as bytes."""
    import pyarrow

    def holds(field: Any) -> bool:
        if pyarrow.types.is_struct(field.type):
            return {child.name for child in field.type} >= {"bytes", "path"}
        return features.get(field.name, {}).get("_type") == "Image" and pyarrow.types.is_binary(field.type)

    return tuple(field.name for field in schema if holds(field))


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The rows of a table as Python values, in the order of these columns, a few at a time."""
    with _batches(path, columns) as batches:
        for batch in batches:
            batch.validate(full=True)  # a table from outside may point outside its own memory
            missing = [name for name in columns if name not in batch.schema.names]
            if missing:
                raise DataError(f"{path.name} has no column {missing[0]!r}, as other tables have")
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                part = batch.slice(start, ROWS_AT_ONCE)
                yield from zip(*(part.column(name).to_pylist() for name in columns), strict=True)


@contextmanager
def _batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """The record batches of an Arrow stream or file, or of a Parquet file; whatever pyarrow raises becomes one error."""
    import pyarrow
    from pyarrow import ipc, parquet

    try:
        if path.suffix == ".parquet":
            with parquet.ParquetFile(path) as file:
                there = [name for name in columns if name in file.schema_arrow.names]
                yield file.iter_batches(batch_size=ROWS_AT_ONCE, columns=there)
        else:
            with pyarrow.memory_map(str(path)) as source:
                if source.read(6) == b"ARROW1":
                    reader = ipc.open_file(source)
                    yield (reader.get_batch(number) for number in range(reader.num_record_batches))
                else:
                    source.seek(0)
                    yield ipc.open_stream(source)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path.name!r} is not a table that can be read ({error})", hint="save the data set again"
        ) from error


def _arrow_schema(path: Path) -> Any:
    import pyarrow
    from pyarrow import ipc, parquet

    try:
        if path.suffix == ".parquet":
            return parquet.read_schema(path)
        with pyarrow.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                return ipc.open_file(source).schema
            source.seek(0)
            return ipc.open_stream(source).schema
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path.name!r} is not a table that can be read ({error})", hint="save the data set again"
        ) from error
