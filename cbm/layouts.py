"""The layouts that images arrive in: class folders, a manifest, a Hugging Face folder, or as published.

They differ only in where a row's label, split and annotations are written, so each is read into the same `Listing`,
without opening a single picture.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cbm import dicom_rows
from cbm.dicom import is_dicom
from cbm.errors import DataError, UsageError, unknown
from cbm.folders import files_below, is_hidden
from cbm.hf_shards import tables_in
from cbm.hf_tables import list_tables
from cbm.images import SUFFIXES
from cbm.manifests import NAMES, list_manifest, read_records
from cbm.progress import OnProgress, silent
from cbm.published import MODULES, list_published, recognised
from cbm.rows import MAX_NAME, Listing, Problem, Row, Source, clean_name, is_known_split, name_fault, split_name

GENERAL = ("folder", "manifest", "hf")
LAYOUTS = ("auto", *GENERAL, *MODULES)
COPIED = "import it with a copy: `pellucid data import` without --reference, or cbm.importing.import_dataset"
KINDS = ("csv", "parquet", "jsonl")
_OTHER_PICTURES = {".gif", ".svg", ".heic", ".heif", ".avif", ".jp2", ".ico", ".psd", ".raw", ".tga"}


def list_images(
    path: Path,
    layout: str = "auto",
    *,
    root: Path | None = None,
    options: Mapping[str, object] | None = None,
    into: Path | None = None,
    salt: bytes | None = None,
    on_progress: OnProgress = silent,
) -> Listing:
    """Read the rows of a data set.

    Parameters
    ----------
    path
        A folder, or a manifest file.
    layout
        `auto` takes a file as a manifest; a folder with `manifest.*` as `manifest`, one that has the telltale file of a
        published data set as that, one with `metadata.*` or with tables of pictures as `hf`, one with a single CSV or
        Parquet file that lists images as `manifest`, and every other folder as class folders.
    root
        The folder that a manifest's paths are relative to and may not leave; the manifest's own by default.
    options
        How a published data set or tables are read, `label` for example, and how DICOM files are; see `cbm.published`,
        `cbm.hf_tables` and `cbm.dicom`.
    into
        A folder for pictures that are no picture files yet; without it, data sets that have such are refused.
    salt
        What the patients of DICOM files are hashed with; see `cbm.dicom_rows.with_pictures`.

    Raises
    ------
    DataError
        If the path does not exist, or cannot be read at all.
    UnknownName, UsageError
        If there is no such layout or option.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    if not path.exists():
        raise DataError(f"there is no file or folder {str(path)!r}", hint="check the path")
    used = _recognised(path) if layout == "auto" else layout
    if path.is_file() and used not in {"manifest", "hf"}:
        what = "a folder of class folders" if used == "folder" else f"the folder of {used}"
        raise DataError(f"{path.name!r} is a file, not {what}", hint="use the layout 'auto', or give the folder")
    given = options or {}
    of_dicom = {name: value for name, value in given.items() if name in dicom_rows.OPTIONS}
    of_layout = {name: value for name, value in given.items() if name not in of_dicom}
    listing = _listing(path, used, root, of_layout, into, on_progress)
    if not dicom_rows.has_dicom(listing):
        dicom_rows.refuse_options(of_dicom)
        return listing
    if into is None:
        raise DataError(f"{path.name!r} holds DICOM files, which are not used as they are", hint=COPIED)
    return dicom_rows.with_pictures(listing, into, of_dicom, salt=salt, on_progress=on_progress)


def _listing(
    path: Path,
    used: str,
    root: Path | None,
    options: Mapping[str, object],
    into: Path | None,
    on_progress: OnProgress,
) -> Listing:
    if used in MODULES:
        return list_published(used, path, options)
    tables = tables_in(path) if used == "hf" and path.is_dir() and not any(_metadata_files(unwrapped(path))) else None
    if tables is not None:
        if into is None:
            raise DataError(f"the pictures of {path.name!r} are inside tables", hint=COPIED)
        return list_tables(tables, into, options, on_progress=on_progress)
    if options:
        raise UsageError(
            f"there is no option {next(iter(options))!r} for this layout", hint="pellucid data layouts lists them"
        )
    return replace(_general(path, used, root), source=Source(used))


def _recognised(path: Path) -> str:
    """The layout of what lies at a path."""
    if path.is_file():
        return "hf" if path.stem == "metadata" else "manifest"
    top = unwrapped(path)
    if _named_manifest(top):
        return "manifest"
    known = recognised(path)
    if known:
        return known.name
    if any(_metadata_files(top)) or tables_in(path):
        return "hf"
    return "manifest" if _manifest_in(top) else "folder"


def _general(path: Path, layout: str, root: Path | None) -> Listing:
    if path.is_file():
        return list_manifest(path, root=root) if layout == "manifest" else list_metadata(path.parent, [path])
    top = unwrapped(path)
    if layout != "manifest":
        return list_hf(top) if layout == "hf" else list_folder(top)
    manifest = _manifest_in(top)
    if manifest is None:
        raise DataError(f"there is no manifest in {path.name!r}", hint="name it manifest.csv, or give its own path")
    return list_manifest(manifest, root=root or top)


def list_folder(top: Path) -> Listing:
    """Rows of `class/image` or `split/class/image`; deeper folders belong to their class.

    The first level is taken as splits when one of its folders is called like one (`train`, `val`, `validation`,
    `test`, ...) and all of them hold folders of pictures. Then folders of any other name are splits too (`shifted`).
    """
    files, problems = files_below(top)
    pictures = sorted(file for file in files if PurePosixPath(file).suffix.lower() in SUFFIXES or is_dicom(file))
    others = sorted(set(files).difference(pictures))
    parts = {file: file.split("/") for file in pictures}
    level = 1 if _has_splits(list(parts.values())) else 0
    rows: list[Row] = []
    for file in pictures:
        folders = parts[file][:-1]
        if len(folders) <= level:
            problems.append(Problem("stray", file, "is in no class folder and is left out", "warning"))
            continue
        row = Row(file, clean_name(folders[level]), split_name(folders[0]) if level else "")
        problems += [
            Problem("bad_name", file, f"the name {text[:60]!r} {name_fault(text, limit)}", row=len(rows))
            for text, limit in ((row.label, MAX_NAME), (row.split, MAX_NAME), (file, 4096))
            if name_fault(text, limit)
        ]
        rows.append(row)
    problems += [Problem("not_read", file, _why_not(file), "warning") for file in others]
    return Listing(top, tuple(rows), problems=tuple(problems))


def list_hf(top: Path) -> Listing:
    """Rows of a Hugging Face image folder: `metadata.csv|parquet|jsonl` with `file_name`, beside or above the images.

    A row without a label takes its class folder, and one without a split the split folder that it is in. Columns that
    are neither ours nor `c:` concepts are kept as `meta:` columns. Without metadata it is read as class folders.
    """
    metadata = sorted(_metadata_files(top))
    if not metadata:
        return list_folder(top)
    return list_metadata(top, metadata)


def list_metadata(top: Path, files: list[Path]) -> Listing:
    """Rows of these metadata files, as one listing."""
    return _merged(top, [_hf_part(top, file) for file in files])


def unwrapped(path: Path) -> Path:
    """The folder itself, or the one folder inside it when an archive wrapped everything into one."""
    entries = [entry for entry in path.iterdir() if not is_hidden(entry.name)]
    if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink() or is_known_split(entries[0].name):
        return path
    only = entries[0]
    inside = [entry for entry in only.iterdir() if not is_hidden(entry.name)]
    if not inside:
        return path
    folders_only = all(entry.is_dir() for entry in inside) and (len(inside) > 1 or is_known_split(inside[0].name))
    return only if folders_only or any(_metadata_files(only)) or _manifest_in(only) else path


def _named_manifest(folder: Path) -> Path | None:
    return next((folder / f"manifest.{kind}" for kind in KINDS if (folder / f"manifest.{kind}").is_file()), None)


def _manifest_in(folder: Path) -> Path | None:
    named = _named_manifest(folder)
    if named:
        return named
    tables = [file for file in folder.iterdir() if file.suffix.lower() in {".csv", ".parquet"} and file.is_file()]
    return tables[0] if len(tables) == 1 and _lists_images(tables[0]) else None


def _lists_images(table: Path) -> bool:
    header, records = read_records(table)
    records.close()
    return any(name.lower() in NAMES["path"] or name.startswith("c:") for name in header)


def _metadata_files(top: Path) -> Iterator[Path]:
    for level in ("", "*/", "*/*/"):
        for kind in KINDS:
            yield from top.glob(f"{level}metadata.{kind}")


def _has_splits(paths: list[list[str]]) -> bool:
    tops = {parts[0] for parts in paths if len(parts) > 1}
    deep = {parts[0] for parts in paths if len(parts) > 2}
    called = {top for top in tops if is_known_split(top)}
    unsorted_test = tops == called and any(split_name(top) == "train" for top in deep)
    return unsorted_test or (tops == deep and bool(called))


def _why_not(file: str) -> str:
    suffix = PurePosixPath(file).suffix.lower()
    if suffix in _OTHER_PICTURES:
        return f"{suffix[1:].upper()} files are not read and are left out; convert it to JPEG or PNG"
    return "is not a picture and is left out"


def _hf_part(top: Path, metadata: Path) -> Listing:
    listing = list_manifest(metadata, keep_all=True, label=False)
    folder = metadata.parent.relative_to(top).as_posix()
    rows = [_hf_row(row, "" if folder == "." else f"{folder}/", metadata.name) for row in listing.rows]
    missing = [
        Problem("missing_value", row.path, row.says("no label is given, and the image is in no class folder"), row=i)
        for i, row in enumerate(rows)
        if not row.label
    ]
    return replace(listing, rows=tuple(rows), problems=(*listing.problems, *missing))


def _hf_row(row: Row, prefix: str, file: str) -> Row:
    path = prefix + row.path
    folders = [part for part in PurePosixPath(path).parts[:-1] if part not in {"data", "."}]
    split = row.split
    if folders and is_known_split(folders[0]):
        split = split or split_name(folders.pop(0))
    label = row.label or (clean_name(folders[-1]) if folders else "")
    where = f"{prefix}{file}, {row.where}" if prefix else row.where
    return replace(row, path=path, mask=row.mask and prefix + row.mask, split=split, label=label, where=where)


def _merged(top: Path, parts: list[Listing]) -> Listing:
    """One listing of several, with the union of their columns."""
    concepts = tuple(dict.fromkeys(name for part in parts for name in part.concepts))
    extras = tuple(dict.fromkeys(name for part in parts for name in part.extras))
    rows: list[Row] = []
    problems: list[Problem] = []
    for part in parts:
        problems += [p if p.row is None else replace(p, row=p.row + len(rows)) for p in part.problems]
        for row in part.rows:
            values = dict(zip(part.concepts, row.concepts, strict=True))
            texts = dict(zip(part.extras, row.extra, strict=True))
            aligned = tuple(values.get(name, float("nan")) for name in concepts)
            rows.append(replace(row, concepts=aligned, extra=tuple(texts.get(name, "") for name in extras)))
    return Listing(top, tuple(rows), concepts, extras, tuple(problems))
