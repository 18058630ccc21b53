"""Checkpoints of sparse autoencoders: one safetensors file with a record in it, whole or not there at all."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cbm.errors import ModelError
from cbm.process_group import Group
from cbm.sae_steps import SaeConfig, Training
from cbm.whole_files import replacing

EVERY = 500  # steps


@dataclass(frozen=True)
class Checkpoint:
    """Where a training is kept, and after how many steps it is kept again."""

    path: Path
    every: int = EVERY


def key_of(digest: str, config: SaeConfig, widths: Sequence[int]) -> str:
    """What a checkpoint belongs to: these embeddings, this config, these widths."""
    about = {**asdict(config), "width": list(widths), "embeddings": digest}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def save(trainings: Sequence[Training], path: Path, key: str, steps: int) -> None:
    """Write a checkpoint; another one at this place is replaced in one move."""
    tensors = {f"{i}.{name}": tensor for i, one in enumerate(trainings) for name, tensor in one.tensors().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"key": key, "steps": str(steps)})


def restored(trainings: Sequence[Training], checkpoint: Checkpoint | None, key: str, group: Group) -> int:
    """Fill the trainings of all processes from the first one's checkpoint, if it is there; the steps they have had.

    Raises
    ------
    ModelError
        If the checkpoint belongs to another training, or is none.
    """
    steps = torch.zeros((), dtype=torch.int64)
    if checkpoint is not None and group.leads and checkpoint.path.exists():
        steps += _read(trainings, checkpoint.path, key)
    group.from_leader_(steps, *(tensor for one in trainings for tensor in one.tensors().values()))
    return int(steps)


def _read(trainings: Sequence[Training], path: Path, key: str) -> int:
    try:
        with safe_open(path, framework="pt") as file:
            tensors, record = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except Exception as error:  # safetensors raises its own type on damaged files
        raise ModelError(f"{path.name} is not a checkpoint", hint="delete it to begin anew") from error
    if not record or record.get("key") != key:
        raise ModelError(f"{path.name} belongs to another training", hint="delete it to begin anew")
    for i, training in enumerate(trainings):
        for name, tensor in training.tensors().items():
            tensor.copy_(tensors[f"{i}.{name}"])
    return int(record["steps"])
