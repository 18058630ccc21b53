"""Embeddings on disk, addressed by content: one folder for each encoder contract, in it shards of some hundred rows.

A shard is one safetensors file, named after the images that it was planned for and written in one piece (temporary
name, fsync, rename); it is never changed afterwards. So several workers can share a store without a lock, and reading
maps the rows into memory instead of loading them. Beside many shards lies an index of them (`cbm.embedding_index`),
which anybody may write or delete: it says where to look, and what is found there is compared with what was asked for.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float16, Int64, Num, UInt8

from cbm.embedding_index import Index, as_bytes
from cbm.encoders import Encoder
from cbm.errors import StoreError
from cbm.preprocessing import Preprocessing
from cbm.tensor_files import mapped
from cbm.whole_files import write_bytes

FORMAT = 1
INDEX = "index.bin"
WORTH_AN_INDEX = 64  # shards that are in no index yet


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


class EmbeddingStore:
    """Embeddings of any number of encoders and images below one folder.

    Parameters
    ----------
    root
        Made when something is written.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._indexes: dict[str, Index] = {}

    def register(self, encoder: Encoder) -> None:
        """Note an encoder's id and preprocessing beside its embeddings.

        Raises
        ------
        StoreError
            If embeddings of another format are there.
        """
        manifest = {
            "format": FORMAT,
            "encoder_id": encoder.id,
            "contract": encoder.contract,
            "preprocessing": encoder.preprocessing.to_dict(),
            "dim": encoder.dim,
            "dtype": "float16",
        }
        path = self._folder(encoder.contract) / "manifest.json"
        if path.exists():
            self._manifest(encoder.contract)
        else:
            write_bytes(path, json.dumps(manifest, indent=1).encode())

    def preprocessing(self, contract: str) -> Preprocessing:
        """How the images of these embeddings were prepared."""
        return Preprocessing.from_dict(self._manifest(contract)["preprocessing"])

    def note(self, contract: str, name: str, value: Mapping[str, Any]) -> None:
        """Keep something that was found out about these embeddings, as `NAME.json` beside them."""
        write_bytes(self._folder(contract) / f"{name}.json", json.dumps(value, indent=1, sort_keys=True).encode())

    def noted(self, contract: str, name: str) -> dict[str, Any]:
        """What was kept under this name; empty if nothing was."""
        path = self._folder(contract) / f"{name}.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def contracts(self) -> dict[str, str]:
        """Contract to encoder id, for everything in the store."""
        found = [json.loads(path.read_text()) for path in sorted(self.root.glob("*/manifest.json"))]
        return {manifest["contract"]: manifest["encoder_id"] for manifest in found}

    def write(self, contract: str, shard: Shard) -> None:
        """Add a shard; writing the same one twice changes nothing."""
        write_bytes(self._folder(contract) / shard.name, _to_bytes(shard))

    def has(self, contract: str, hashes: Sequence[str]) -> Bool[np.ndarray, " n"]:
        """For each of these images, whether it has an embedding."""
        return self._index(contract).find(hashes)[0] >= 0

    def present(self, contract: str) -> set[str]:
        """Content hashes of the images that have an embedding; `has` costs less where they are many."""
        return {row.tobytes().hex() for row in self._index(contract).hashes}

    def skipped(self, contract: str) -> dict[str, str]:
        """Content hash to the reason, for images that were tried and have no embedding."""
        index = self._index(contract)
        images = list(index.skipped)
        return {
            image: index.skipped[image] for image, row in zip(images, index.find(images)[1], strict=True) if row < 0
        }

    def matrix(
        self, contract: str, hashes: Sequence[str], *, dtype: type[np.float32 | np.float16] = np.float32
    ) -> Num[np.ndarray, "n d"]:
        """The embeddings of these images, in this order.

        Raises
        ------
        StoreError
            If one of them has no embedding.
        """
        found = self._found(contract, hashes)
        return self._gathered(contract, hashes, *found, dtype)

    def blocks(
        self, contract: str, hashes: Sequence[str], rows: int, *, dtype: type[np.float32 | np.float16] = np.float32
    ) -> Iterator[Num[np.ndarray, "m d"]]:
        """The same in blocks of so many rows, read when they are asked for, so that any number of images fits.

        Raises
        ------
        StoreError
            If one of them has no embedding; before the first block.
        """
        shards, places = self._found(contract, hashes)
        for start in range(0, len(hashes), rows):
            part = slice(start, start + rows)
            yield self._gathered(contract, hashes[part], shards[part], places[part], dtype)

    def _found(self, contract: str, hashes: Sequence[str]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """The shard, by number, and the row of each image."""
        shards, rows = self._index(contract).find(hashes)
        missing = int((shards < 0).sum())
        if missing:
            raise StoreError(f"{missing} of {len(hashes)} images are not embedded", hint="embed the data set again")
        return shards, rows

    def _gathered(
        self,
        contract: str,
        hashes: Sequence[str],
        shards: Int64[np.ndarray, " n"],
        rows: Int64[np.ndarray, " n"],
        dtype: type[np.float32 | np.float16],
    ) -> Num[np.ndarray, "n d"]:
        names = self._indexes[contract].shards
        result = np.empty((len(hashes), self._manifest(contract)["dim"]), dtype)
        order = np.argsort(shards, kind="stable")
        for positions in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1) if len(order) else ():
            shard = _Reader(self._folder(contract) / names[shards[positions[0]]])
            wanted = rows[positions]
            if not np.array_equal(shard.hashes[wanted], as_bytes([hashes[i] for i in positions])):
                index = self._folder(contract) / INDEX
                raise StoreError(f"{index} does not fit {shard.path.name}", hint=f"delete {index}; it is made again")
            result[_run(positions)] = shard.rows[_run(wanted)]
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

    def _index(self, contract: str) -> Index:
        """The index, after reading the shards that have come since (from this process or another)."""
        folder = self._folder(contract)
        names = frozenset(name for name in _names(folder) if name.endswith(".safetensors"))
        index = self._indexes.get(contract)
        if index is None:
            index = Index.read(folder / INDEX)
        known = set(index.shards)
        if known != names:
            new = sorted(names - known)
            readers = (_Reader(folder / name) for name in new)
            index = index.only(names).plus(
                (reader.path.name, reader.hashes.copy(), reader.skipped) for reader in readers
            )
            if len(new) >= WORTH_AN_INDEX:
                with suppress(OSError):  # a store that can only be read is as good
                    write_bytes(folder / INDEX, index.to_bytes())
        self._indexes[contract] = index
        return index


class _Reader:
    """One shard file, mapped into memory.

    Attributes
    ----------
    hashes, rows
        Content hashes `[m 32]` and embeddings `[m d]`.
    skipped
        Content hash to the reason, for the images that have no row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            tensors, metadata = mapped(path)
        except ValueError as error:
            raise StoreError(
                f"{path} is cut short or damaged", hint="delete this file and embed the data set again"
            ) from error
        self.hashes: UInt8[np.ndarray, "m 32"] = tensors["hashes"]
        self.rows: Float16[np.ndarray, "m d"] = tensors["rows"]
        self.skipped: dict[str, str] = json.loads(metadata["shard"])["skipped"]


def _run(positions: Int64[np.ndarray, " m"]) -> slice | Int64[np.ndarray, " m"]:
    """The same positions as a slice where they follow one another, so that nothing is copied on the way."""
    first, last = int(positions[0]), int(positions[-1])
    follow = last - first == len(positions) - 1 and bool((np.diff(positions) == 1).all())
    return slice(first, last + 1) if follow else positions


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _to_bytes(shard: Shard) -> bytes:
    from safetensors.numpy import save

    about = {"format": FORMAT, "recipe": shard.recipe, "skipped": dict(shard.skipped)}
    # one metadata key only: the order of several is not the same in every run
    return save(
        {"rows": shard.rows, "hashes": as_bytes(shard.hashes)}, metadata={"shard": json.dumps(about, sort_keys=True)}
    )
