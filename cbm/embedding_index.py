"""Where the embedding of an image is: a sorted table of content hashes, mapped into memory, found by bisection.

The table is made of what the shards say and can be made again at any time; on disk it only saves opening thousands of
files. A million images are 48 MB of file and next to no memory.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt32, UInt64

from cbm.tensor_files import mapped

CHUNK = 65_536  # hashes looked up at once
NOWHERE = np.iinfo(np.uint32).max


def as_bytes(hashes: Sequence[str]) -> UInt8[np.ndarray, "n 32"]:
    """SHA-256 digests from their hexadecimal form."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 32)


@dataclass(frozen=True)
class Index:
    """The images of some shards, ordered by their hash.

    Attributes
    ----------
    shards
        File names.
    prefix
        The first eight bytes of each hash as a number; ascending.
    hashes
        Content hashes, 32 bytes each.
    places
        Position in `shards`, and row there.
    skipped
        Content hash to the reason, for images that have no embedding.
    """

    shards: tuple[str, ...] = ()
    prefix: UInt64[np.ndarray, " n"] = field(default_factory=lambda: np.empty(0, np.uint64))
    hashes: UInt8[np.ndarray, "n 32"] = field(default_factory=lambda: np.empty((0, 32), np.uint8))
    places: UInt32[np.ndarray, "n 2"] = field(default_factory=lambda: np.empty((0, 2), np.uint32))
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prefix)

    def only(self, names: frozenset[str]) -> "Index":
        """Without the shards that are not among `names`; what was skipped stays."""
        kept = [number for number, name in enumerate(self.shards) if name in names]
        if len(kept) == len(self.shards):
            return self
        renumbered = np.full(len(self.shards), NOWHERE, np.uint32)
        renumbered[kept] = np.arange(len(kept), dtype=np.uint32)
        stay = renumbered[self.places[:, 0]] != NOWHERE
        places = np.stack([renumbered[self.places[stay, 0]], self.places[stay, 1]], axis=1)
        return Index(tuple(self.shards[k] for k in kept), self.prefix[stay], self.hashes[stay], places, self.skipped)

    def plus(self, found: Iterable[tuple[str, UInt8[np.ndarray, "m 32"], Mapping[str, str]]]) -> "Index":
        """With further shards: the name, the hashes of the rows, and what was skipped, of each."""
        shards, hashes, places, skipped = list(self.shards), [self.hashes], [self.places], dict(self.skipped)
        for name, rows, reasons in found:
            numbered = np.empty((len(rows), 2), np.uint32)
            numbered[:, 0], numbered[:, 1] = len(shards), np.arange(len(rows))
            shards.append(name)
            hashes.append(rows)
            places.append(numbered)
            skipped |= reasons
        if len(shards) == len(self.shards):
            return self
        every = np.concatenate(hashes)
        prefix = np.ascontiguousarray(every[:, :8]).view(">u8").ravel().astype(np.uint64)
        order = np.argsort(prefix, kind="stable")
        return Index(tuple(shards), prefix[order], every[order], np.concatenate(places)[order], skipped)

    def find(self, hashes: Sequence[str]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """The shard and the row of each image; -1 where there is none."""
        shards, rows = np.full(len(hashes), -1, np.int64), np.full(len(hashes), -1, np.int64)
        for start in range(0, len(hashes) if len(self) else 0, CHUNK):
            at = self._positions(as_bytes(hashes[start : start + CHUNK]))
            here = np.flatnonzero(at >= 0)
            shards[start + here], rows[start + here] = self.places[at[here]].T
        return shards, rows

    def _positions(self, wanted: UInt8[np.ndarray, "m 32"]) -> Int64[np.ndarray, " m"]:
        prefix = np.ascontiguousarray(wanted[:, :8]).view(">u8").ravel().astype(np.uint64)
        order = np.argsort(prefix)  # so that the table is read from its beginning to its end
        result = np.full(len(wanted), -1, np.int64)
        at, wanted, prefix = np.searchsorted(self.prefix, prefix[order]), wanted[order], prefix[order]
        while True:  # more than once only where hashes begin alike
            inside = np.minimum(at, len(self) - 1)
            alike = (at < len(self)) & (self.prefix[inside] == prefix)
            equal: Bool[np.ndarray, " m"] = alike & (self.hashes[inside] == wanted).all(1)
            result[order[equal]] = at[equal]
            further = alike & ~equal
            if not further.any():
                return result
            at, wanted, prefix, order = at[further] + 1, wanted[further], prefix[further], order[further]

    def to_bytes(self) -> bytes:
        """The content of an index file."""
        from safetensors.numpy import save

        about = {"shards": self.shards, "skipped": dict(self.skipped)}
        return save(
            {"prefix": self.prefix, "hashes": self.hashes, "places": self.places},
            metadata={"index": json.dumps(about, sort_keys=True)},
        )

    @classmethod
    def read(cls, path: Path) -> "Index":
        """The index in a file; an empty one where there is none, or none that is whole."""
        try:
            tensors, metadata = mapped(path)
            about = json.loads(metadata["index"])
            table = (tensors["prefix"], tensors["hashes"], tensors["places"])
            return cls(tuple(about["shards"]), *table, about["skipped"])
        except (OSError, ValueError, KeyError):
            return cls()
