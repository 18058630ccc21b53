"""From a picture to the numbers that an encoder was trained on: resize, crop, normalise.

`Preprocessing` is a value that is stored with every embedding, so that embeddings made with another size, crop or
normalisation are told apart instead of being mixed. It needs PIL and numpy only, and equals open_clip's transform.
"""

from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer
from PIL import Image, ImageOps

from cbm.errors import EncoderError

Triple = tuple[float, float, float]

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of an encoder; `preprocessing(image)` does it.

    Attributes
    ----------
    size
        Height and width of the input, in pixels.
    mode
        `"shortest"`: the short side is resized to the size, then the middle is cropped. `"longest"`: the long side is,
        and the rest is padded. `"squash"`: both are, whatever the shape.
    resize
        Length of the short side before a crop, where it is not the size itself (256 before a crop of 224); else 0.
    interpolation, fill
        Of the resize; grey level of the padding.
    mean, std
        Of red, green and blue, on the scale 0 to 1.
    precision
        Of the weights: `"fp32"` or `"bf16"`.
    normalised
        Whether the encoder's embeddings are scaled to unit length.
    """

    size: tuple[int, int] = (224, 224)
    mode: Literal["shortest", "longest", "squash"] = "shortest"
    resize: int = 0
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD
    precision: Literal["fp32", "bf16"] = "fp32"
    normalised: bool = True

    def __call__(self, image: Image.Image) -> Float[np.ndarray, "3 h w"]:
        """The picture as normalised float32 pixels, channel first."""
        pixels = np.asarray(self.frame(image))  # [h w 3], 0 to 255
        table = _normalised_levels(self.mean, self.std)
        return np.stack([table[channel][pixels[:, :, channel]] for channel in range(3)])

    def frame(self, image: Image.Image) -> Image.Image:
        """The part of the picture that the encoder sees, at its input size, before the colours are normalised."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        resized = image.resize(self._resized(image.width, image.height), _FILTER[self.interpolation])
        return _centre(resized, self.size, self.fill)

    def frame_mask(self, mask: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "rows columns"]:
        """The part of a mask that the encoder sees, at its input size; part numbers are never mixed, padding is 0."""
        resized = Image.fromarray(mask.astype(np.int32)).resize(self._resized(mask.shape[1], mask.shape[0]), _NEAREST)
        return np.asarray(_centre(resized, self.size, 0))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        rows, columns = self.size
        if self.mode == "squash":
            return columns, rows
        if self.mode == "shortest" and rows == columns:
            short = self.resize or rows  # torchvision truncates the long side
            return (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
        pick = max if self.mode == "longest" else min
        ratio = pick(height / rows, width / columns)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> "Preprocessing":
        """The preprocessing that `to_dict` wrote."""
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**plain)  # type: ignore[arg-type]

    def difference(self, other: "Preprocessing") -> str:
        """What differs, in words ("size 224 x 224, not 128 x 128"); empty if nothing does."""
        names = [field.name for field in fields(self)]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        return "; ".join(f"{name} {_words(mine)}, not {_words(its)}" for name, mine, its in pairs if mine != its)


_NEAREST = Image.Resampling.NEAREST
_FILTER = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def from_open_clip(settings: dict[str, object], *, precision: Literal["fp32", "bf16"] = "fp32") -> Preprocessing:
    """The preprocessing that open_clip stores with a model (its `preprocess_cfg`).

    Raises
    ------
    EncoderError
        If it asks for something other than bicubic or bilinear, or an unknown resize mode.
    """
    try:
        size, mode = _pair(settings["size"]), _choice(settings["resize_mode"], ("shortest", "longest", "squash"))
        interpolation = _choice(settings["interpolation"], tuple(_FILTER))
        if mode == "shortest" and size[0] != size[1]:
            interpolation = "bicubic"  # open_clip ignores the setting in this case
        return Preprocessing(
            size=size,
            mode=mode,  # type: ignore[arg-type]
            interpolation=interpolation,  # type: ignore[arg-type]
            fill=int(settings["fill_color"]),  # type: ignore[call-overload]
            mean=_triple(settings["mean"]),
            std=_triple(settings["std"]),
            precision=precision,
        )
    except (ValueError, TypeError) as error:
        raise EncoderError(f"this model's preprocessing is not one that we know: {error}") from error


def _centre(image: Image.Image, size: tuple[int, int], fill: int) -> Image.Image:
    """Crop the middle, or pad around it, as torchvision does (its rounding included)."""
    rows, columns = size
    wide, high = max(0, columns - image.width), max(0, rows - image.height)
    if wide or high:
        border = (wide // 2, high // 2, (wide + 1) // 2, (high + 1) // 2)
        image = ImageOps.expand(image, border=border, fill=(fill, fill, fill) if image.mode == "RGB" else fill)
    left, top = round((image.width - columns) / 2), round((image.height - rows) / 2)
    return image.crop((left, top, left + columns, top + rows))


@cache
def _normalised_levels(mean: Triple, std: Triple) -> Float[np.ndarray, "3 256"]:
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    centre, spread = np.array([mean, std], dtype=np.float32)
    table: np.ndarray = (levels - centre[:, None]) / spread[:, None]
    return table


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    rows, columns = (int(side) for side in size)  # type: ignore[attr-defined]
    return rows, columns


def _triple(values: object) -> Triple:
    red, green, blue = (float(value) for value in values)  # type: ignore[attr-defined]
    return red, green, blue


def _choice(value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
    return str(value)


def _words(value: object) -> str:
    return " x ".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)
