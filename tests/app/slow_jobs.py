"""Job kinds that only the tests of the worker have; a worker loads them as an extension."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL.Image import Image as Picture
from torch import Tensor

from app import tasks
from app.workspace import Workspace
from cbm.errors import DataError
from cbm.preprocessing import Preprocessing
from cbm.progress import OnProgress

Params = Mapping[str, Any]
PLAIN = Preprocessing(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def count(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Count in small steps, and say so."""
    for i in range(params["steps"]):
        on_progress(i / params["steps"], f"step {i}")
        time.sleep(params.get("seconds", 0.01))
    print("counted to", params["steps"])
    return {"steps": params["steps"]}


def deaf(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Never report, so never notice a cancellation, the first time; leave the process number in a file."""
    file = Path(params["file"])
    first = not file.exists()
    file.write_text(str(os.getpid()))
    time.sleep(600 if first else 0)
    return {}


def die(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """End as if the system had run out of memory, the first `times` times."""
    file = Path(params["file"])
    starts = int(file.read_text()) if file.exists() else 0
    file.write_text(str(starts + 1))
    if starts < params["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"starts": starts + 1}


def refuse(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Fail with an explanation."""
    raise DataError("there are no images", hint="choose another folder")


def crash(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Fail as a bug would."""
    return {"quotient": 1 / 0}


tasks.TASKS.update({"count": count, "deaf": deaf, "die": die, "refuse": refuse, "crash": crash})


@dataclass
class ColourEncoder:
    """The mean red, green and blue of a picture as a unit vector, and a pause for each batch."""

    seconds: float = 0.0
    contract: str = "c" * 64
    id: str = "test:colour"
    dim: int = 3
    preprocessing: Preprocessing = PLAIN

    def encode_images(self, images: Sequence[Picture]) -> Tensor:
        return self.encode_pixels(torch.stack([torch.from_numpy(self.preprocessing(image)) for image in images]))

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return torch.nn.functional.normalize(pixels.mean((2, 3)), dim=1)


def embed_slowly(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """The job "embed" itself, with an encoder that takes its time."""
    with patch("app.store.load_encoder", lambda ws, id: ColourEncoder(params["seconds"])):
        return tasks.run(ws, "embed", {"dataset": params["dataset"], "encoder": "test:colour"}, on_progress)


tasks.TASKS["embed_slowly"] = embed_slowly
