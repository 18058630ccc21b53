"""An encoder whose embeddings are known without asking it; the worker's tests let it take its time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Image as Picture
from torch import Tensor

from cbm.preprocessing import Preprocessing

PLAIN = Preprocessing(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


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
