"""Tensors of a safetensors file, mapped into memory instead of read."""

import json
import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

TYPES = {"F16": np.float16, "F32": np.float32, "U8": np.uint8, "U32": np.uint32, "U64": np.uint64}


def mapped(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    """Read-only arrays by name, and the metadata.

    Raises
    ------
    ValueError
        If the file is shorter than it says, or is no safetensors file.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = 8 + int.from_bytes(file.read(8), "little")
        if not 8 < start <= size:
            raise ValueError(f"{path} is cut short")
        header = json.loads(file.read(start - 8))
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        if start + end > size:
            raise ValueError(f"{path} is cut short")
        flat = np.frombuffer(content[start + begin : start + end], TYPES[tensor["dtype"]])
        arrays[name] = flat.reshape(tensor["shape"])
    return arrays, metadata
