"""Models saved by the Label-free CBM project: a folder of `.pt` tensors and a list of concepts, read without unpickling.

`torch.load` reads tensors only (`weights_only`), from archives whose size is checked first; nothing else in the folder
is opened. This is the only place that reads `.pt` files.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.archive_limits import Limits
from cbm.archives import is_archive, opened
from cbm.bottleneck import LinearBottleneck
from cbm.errors import BundleError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe

LARGEST_TENSOR = 1 << 30  # bytes of one file, unpacked
MARK = "W_c.pt"  # the file that tells such a folder from others
LIMITS = Limits(entries=1000, file_bytes=LARGEST_TENSOR, total_bytes=4 * LARGEST_TENSOR)
LARGEST_LIST = 16 << 20  # bytes of the list of concepts
SHAPES = {"W_c": ("k", "d"), "W_g": ("c", "k"), "b_g": ("c",), "proj_mean": ("k",), "proj_std": ("k",)}


def is_saved(path: str | Path) -> bool:
    """Whether this is a folder as that project saves it, or a zip file of one."""
    path = Path(path)
    if not is_archive(path):
        return (path / MARK).is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == MARK for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_saved(path: str | Path, *, classes: Sequence[str] | None = None, encoder_id: str = "") -> ConceptModel:
    """The model in a folder with `W_c.pt`, `W_g.pt`, `b_g.pt`, `proj_mean.pt`, `proj_std.pt` and `concepts.txt`.

    A zip file of the folder will do; it is unpacked within limits, and only the model's files are read.

    Parameters
    ----------
    classes
        Names in the order of the head's rows; "class 1", "class 2", ... when not given, for the folder has none.
    encoder_id
        The backbone whose features the model reads.

    Raises
    ------
    BundleError
        If a file is missing, too large, not an archive of one tensor, or does not fit the others.
    DataError
        If a zip file is damaged or unsafe.
    """
    with opened(Path(path), limits=LIMITS) as folder:
        place = next((found.parent for found in sorted(folder.rglob(MARK))), folder)
        return _read(place, Path(path).stem, classes, encoder_id)


def _read(place: Path, name: str, classes: Sequence[str] | None, encoder_id: str) -> ConceptModel:
    tensors = {name: _tensor(place / f"{name}.pt") for name in SHAPES}
    flat = {name: t.flatten() if len(SHAPES[name]) == 1 else t for name, t in tensors.items()}
    names = _names(place / "concepts.txt")
    _check_shapes(flat, len(names), len(classes) if classes is not None else len(flat["b_g"]))
    spread = flat["proj_std"]
    if not bool((spread > 0).all()):
        raise BundleError(f"the concept {names[int((spread <= 0).nonzero()[0])]!r} has no spread in proj_std.pt")
    labels = tuple(classes) if classes is not None else tuple(f"class {i + 1}" for i in range(len(flat["b_g"])))
    return ConceptModel(
        concepts=names,
        classes=labels,
        bottleneck=LinearBottleneck(flat["W_c"] / spread[:, None], -flat["proj_mean"] / spread),
        head=LinearHead(flat["W_g"], flat["b_g"]),
        recipe=Recipe("labelfree", encoder_id=encoder_id, notes=(f"read from the Label-free CBM folder {name}",)),
    )


def _tensor(path: Path) -> Float[Tensor, "..."]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_TENSOR:
            raise BundleError(f"{path.name} unpacks to {size:,} bytes; the limit is {LARGEST_TENSOR:,}")
        value = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleError(
            f"{path.name} cannot be read: {error.strerror or error}", hint="give the whole folder"
        ) from error
    except zipfile.BadZipFile as error:
        raise BundleError(f"{path.name} is not an archive as torch.save writes it", hint="save it again") from error
    except BundleError:
        raise
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, ValueError and more on what is no tensor
        raise BundleError(f"{path.name} holds something else than a tensor; it was not opened") from error
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.is_sparse:
        raise BundleError(f"{path.name} does not hold one tensor of numbers")
    if not bool(torch.isfinite(value).all()):
        raise BundleError(f"{path.name} holds numbers that are not finite")
    return value.detach().float().contiguous()


def _names(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise BundleError(f"{path.name} is larger than {LARGEST_LIST >> 20} MB")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path.name} cannot be read", hint="give the whole folder") from error
    while lines and not lines[-1].strip():
        lines.pop()
    names = tuple(line.strip() for line in lines)
    if not all(names) or len(set(names)) < len(names):
        raise BundleError(f"{path.name} has a blank line or a concept twice", hint="one concept a line")
    return names


def _check_shapes(tensors: dict[str, Tensor], k: int, c: int) -> None:
    sizes = {"k": k, "c": c, "d": tensors["W_c"].shape[-1:].numel()}
    for name, letters in SHAPES.items():
        wanted = tuple(sizes[letter] for letter in letters)
        if tuple(tensors[name].shape) != wanted:
            raise BundleError(
                f"{name}.pt has shape {tuple(tensors[name].shape)}; {k} concepts and {c} classes ask for {wanted}"
            )
