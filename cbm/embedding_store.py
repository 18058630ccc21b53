"""Embeddings on disk, addressed by content: one folder for each encoder contract, in it shards of some hundred rows.

A shard is one safetensors file, named after the images that it was planned for and written in one piece (temporary
name, fsync, rename); it is never changed afterwards. So several workers can share a store without a lock, and reading
maps the rows into memory instead of loading them.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Num, UInt8

from cbm.encoders import Encoder
from cbm.errors import StoreError
from cbm.preprocessing import Preprocessing

FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """Embeddings of a fixed list of images.

    Attributes
    ----------
    planned
        Content hashes of the images that were to be embedded.
    hashes, rows
        Those that were, and their embeddings `[m d]`.
    skipped
        Content hash to the reason, for the others.
    recipe
        What else decides the bytes (the batch size); part of the shard's name.
    """

    planned: tuple[str, ...]
    hashes: tuple[str, ...]
    rows: Float16[np.ndarray, "m d"]
    skipped: Mapping[str, str]
    recipe: str = ""

    @property
    def name(self) -> str:
        """File name: the same for the same plan."""
        return hashlib.sha256("\n".join((self.recipe, *self.planned)).encode()).hexdigest()[:32] + ".safetensors"


@dataclass
class _Index:
    """What the shards of one contract hold, as far as they have been read."""

    shards: set[str] = field(default_factory=set)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)  # content hash to shard and row
    skipped: dict[str, str] = field(default_factory=dict)


class EmbeddingStore:
    """Embeddings of any number of encoders and images below one folder.

    Parameters
    ----------
    root
        Made when something is written.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._indexes: dict[str, _Index] = {}

    def register(self, encoder: Encoder) -> None:
        """Note an encoder's id and preprocessing beside its embeddings."""
        manifest = {
            "format": FORMAT,
            "encoder_id": encoder.id,
            "contract": encoder.contract,
            "preprocessing": encoder.preprocessing.to_dict(),
            "dim": encoder.dim,
            "dtype": "float16",
        }
        path = self._folder(encoder.contract) / "manifest.json"
        if not path.exists():
            _write(path, json.dumps(manifest, indent=1).encode())

    def preprocessing(self, contract: str) -> Preprocessing:
        """How the images of these embeddings were prepared."""
        return Preprocessing.from_dict(self._manifest(contract)["preprocessing"])

    def contracts(self) -> dict[str, str]:
        """Contract to encoder id, for everything in the store."""
        found = [json.loads(path.read_text()) for path in sorted(self.root.glob("*/manifest.json"))]
        return {manifest["contract"]: manifest["encoder_id"] for manifest in found}

    def write(self, contract: str, shard: Shard) -> None:
        """Add a shard; writing the same one twice changes nothing."""
        _write(self._folder(contract) / shard.name, _to_bytes(shard))

    def present(self, contract: str) -> set[str]:
        """Content hashes of the images that have an embedding."""
        return set(self._index(contract).places)

    def skipped(self, contract: str) -> dict[str, str]:
        """Content hash to the reason, for images that were tried and have no embedding."""
        index = self._index(contract)
        return {image: reason for image, reason in index.skipped.items() if image not in index.places}

    def matrix(
        self, contract: str, hashes: Sequence[str], *, dtype: type[np.float32 | np.float16] = np.float32
    ) -> Num[np.ndarray, "n d"]:
        """The embeddings of these images, in this order.

        Raises
        ------
        StoreError
            If one of them has no embedding.
        """
        places, dim = self._found(contract, hashes)
        return self._gathered(contract, places, dim, dtype)

    def blocks(
        self, contract: str, hashes: Sequence[str], rows: int, *, dtype: type[np.float32 | np.float16] = np.float32
    ) -> Iterator[Num[np.ndarray, "m d"]]:
        """The same in blocks of so many rows, read when they are asked for, so that any number of images fits.

        Raises
        ------
        StoreError
            If one of them has no embedding; before the first block.
        """
        places, dim = self._found(contract, hashes)
        for start in range(0, len(places), rows):
            yield self._gathered(contract, places[start : start + rows], dim, dtype)

    def _found(self, contract: str, hashes: Sequence[str]) -> tuple[list[tuple[str, int]], int]:
        """The shard and row of each image, and the number of dimensions."""
        places = self._index(contract).places
        missing = [image for image in hashes if image not in places]
        if missing:
            raise StoreError(
                f"{len(missing)} of {len(hashes)} images are not embedded", hint="embed the data set again"
            )
        return [places[image] for image in hashes], self._manifest(contract)["dim"]

    def _gathered(
        self, contract: str, places: Sequence[tuple[str, int]], dim: int, dtype: type[np.float32 | np.float16]
    ) -> Num[np.ndarray, "m d"]:
        result = np.empty((len(places), dim), dtype)
        wanted: dict[str, list[int]] = {}
        for position, (name, _) in enumerate(places):
            wanted.setdefault(name, []).append(position)
        for name, positions in wanted.items():
            rows = [places[position][1] for position in positions]
            result[positions] = _Reader(self._folder(contract) / name).rows()[rows]
        return result

    def _folder(self, contract: str) -> Path:
        return self.root / contract[:32]

    def _manifest(self, contract: str) -> dict[str, Any]:
        path = self._folder(contract) / "manifest.json"
        if not path.exists():
            raise StoreError("nothing was embedded with this encoder", hint="embed the data set first")
        manifest: dict[str, Any] = json.loads(path.read_text())
        if manifest["format"] != FORMAT:
            raise StoreError(f"{path} has format {manifest['format']}, this version reads {FORMAT}")
        return manifest

    def _index(self, contract: str) -> _Index:
        """The index, after reading the shards that have come since (from this process or another)."""
        index = self._indexes.setdefault(contract, _Index())
        for path in sorted(self._folder(contract).glob("*.safetensors")):
            if path.name not in index.shards:
                reader = _Reader(path)
                index.places |= {image: (path.name, row) for row, image in enumerate(reader.hashes())}
                index.skipped |= reader.skipped
                index.shards.add(path.name)
        return index


class _Reader:
    """One shard file; reads its header at once and its rows through a memory map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        self.start = 8 + length
        self.tensors = header
        self.skipped: dict[str, str] = json.loads(header["__metadata__"]["shard"])["skipped"]
        if path.stat().st_size < self.start + max(self.tensors[name]["data_offsets"][1] for name in ("hashes", "rows")):
            raise StoreError(f"{path} is cut short", hint="delete this file and embed the data set again")

    def hashes(self) -> list[str]:
        return [row.tobytes().hex() for row in self._map("hashes", np.uint8)]

    def rows(self) -> Float16[np.ndarray, "m d"]:
        return self._map("rows", np.float16)

    def _map(self, name: str, dtype: type) -> Num[np.ndarray, "m d"]:
        shape = tuple(self.tensors[name]["shape"])
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(self.path, dtype, "r", self.start + self.tensors[name]["data_offsets"][0], shape)


def _to_bytes(shard: Shard) -> bytes:
    from safetensors.numpy import save

    hashes: UInt8[np.ndarray, "m 32"] = np.frombuffer(bytes.fromhex("".join(shard.hashes)), np.uint8).reshape(-1, 32)
    about = {"format": FORMAT, "recipe": shard.recipe, "skipped": dict(shard.skipped)}
    # one metadata key only: the order of several is not the same in every run
    return save({"rows": shard.rows, "hashes": hashes}, metadata={"shard": json.dumps(about, sort_keys=True)})


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is either there in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
