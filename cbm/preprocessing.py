"""From a picture to the numbers that an encoder was trained on: resize, crop, normalise.

`Preprocessing` is a value that is stored with every embedding, so that embeddings made with another size, crop or
normalisation are told apart instead of being mixed. It needs PIL and numpy only, and equals open_clip's transform.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float, Integer
from PIL import Image, ImageOps

from cbm.errors import EncoderError
from cbm.images import open_image

Precision = Literal["fp32", "bf16", "int8"]
Triple = tuple[float, float, float]
_Choice = TypeVar("_Choice", str, int, bool)

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
        and the rest is padded. `"squash"`: both are, whatever the shape. `"shortest-floor"`: as `"shortest"`, with a crop
        that starts at the half pixel rounded down, as transformers does (torchvision rounds it to the even one).
    resize
        Length of the short side (of both where squashed) before a crop, where it is not the size itself (256 before a
        crop of 224); else 0.
    interpolation, fill
        Of the resize; grey level of the padding.
    mean, std
        Of red, green and blue, on the scale 0 to 1.
    precision
        Of the products: `"fp32"`, `"bf16"` (weights too), or `"int8"` (onnxruntime's; see `cbm.int8_tower`).
    normalised
        Whether the encoder's embeddings are scaled to unit length.
    fast_decode
        Whether large JPEGs are decoded at a fraction of their size, and only the part that is kept is resized. The
        pixels differ by a hundredth of their deviation on average, so it belongs to the contract.
    """

    size: tuple[int, int] = (224, 224)
    mode: Literal["shortest", "longest", "squash", "shortest-floor"] = "shortest"
    resize: int = 0
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD
    precision: Precision = "fp32"
    normalised: bool = True
    fast_decode: bool = False

    def read(self, source: Path | str | bytes) -> Image.Image:
        """The picture in a file, decoded as finely as this preprocessing needs it.

        Raises
        ------
        UnreadableImage
            As `open_image`.
        """
        short = (
            2 * max(*self.size, self.resize) if self.fast_decode else 0
        )  # resizing from twice the size hides the rest
        return open_image(source, short_side=short)

    def __call__(self, image: Image.Image) -> Float[np.ndarray, "3 h w"]:
        """The picture as normalised float32 pixels, channel first."""
        frame = self.frame(image)
        pixels = np.empty((3, frame.height, frame.width), np.float32)
        centre, spread = np.array([self.mean, self.std], np.float32)
        for channel, levels in enumerate(frame.split()):  # three passes over a plane take half the time of a table
            plane = np.divide(np.asarray(levels), np.float32(255), out=pixels[channel], dtype=np.float32)
            plane -= centre[channel]
            plane /= spread[channel]
        return pixels

    def frame(self, image: Image.Image) -> Image.Image:
        """The part of the picture that the encoder sees, at its input size, before the colours are normalised."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        if self.fast_decode and self.mode == "shortest" and (not self.resize or self.resize >= max(self.size)):
            return self._only_what_is_kept(image)
        resized = image.resize(self._resized(image.width, image.height), _FILTER[self.interpolation])
        return _centre(resized, self.size, self.fill, floor=self.mode == "shortest-floor")

    def frame_mask(self, mask: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "rows columns"]:
        """The part of a mask that the encoder sees, at its input size; part numbers are never mixed, padding is 0."""
        resized = Image.fromarray(mask.astype(np.int32)).resize(self._resized(mask.shape[1], mask.shape[0]), _NEAREST)
        return np.asarray(_centre(resized, self.size, 0, floor=self.mode == "shortest-floor"))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        rows, columns = self.size
        if self.mode == "squash":
            return self.resize or columns, self.resize or rows
        if self.mode == "shortest-floor" or (self.mode == "shortest" and rows == columns):
            short = self.resize or rows  # torchvision truncates the long side
            return (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
        pick = max if self.mode == "longest" else min
        ratio = pick(height / rows, width / columns)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def _only_what_is_kept(self, image: Image.Image) -> Image.Image:
        """The frame by resizing its part of the picture alone; rarely a pixel differs by one of 255 levels."""
        (width, height), (rows, columns) = self._resized(image.width, image.height), self.size
        across, down = image.width / width, image.height / height
        left, top = round((width - columns) / 2), round((height - rows) / 2)
        box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
        return image.resize((columns, rows), _FILTER[self.interpolation], box=box)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; `from_dict` reads them back."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if not self.fast_decode:
            del values["fast_decode"]  # which older embeddings do not name; contracts are made of these values
        return values

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
_PIL_FILTERS: dict[int, Literal["bicubic", "bilinear"]] = {2: "bilinear", 3: "bicubic"}  # PIL's numbers


def from_open_clip(settings: dict[str, object], *, precision: Precision = "fp32") -> Preprocessing:
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


def from_transformers(settings: Mapping[str, object], *, precision: Precision = "fp32") -> Preprocessing:
    """The preprocessing of an image processor of transformers, as its `preprocessor_config.json` tells.

    Raises
    ------
    EncoderError
        If it does something else than resize with PIL's bicubic or bilinear filter, crop the middle and normalise.
    """
    try:
        for step in ("do_resize", "do_rescale", "do_normalize"):
            _choice(settings.get(step, True), (True,), step)
        if not math.isclose(float(settings.get("rescale_factor", 1 / 255)), 1 / 255, rel_tol=1e-6):  # type: ignore[arg-type]
            raise ValueError("its rescale_factor is not 1/255")
        size: object = settings["size"]
        sides = size if isinstance(size, Mapping) else {"shortest_edge": size}
        crops = bool(settings.get("do_center_crop", "crop_size" in settings and "shortest_edge" in sides))
        frame, mode, resize = _framing(sides, settings.get("crop_size") if crops else None)
        return Preprocessing(
            size=frame,
            mode=mode,
            resize=resize,
            interpolation=_PIL_FILTERS[_choice(settings.get("resample", 3), tuple(_PIL_FILTERS), "resample")],
            mean=_triple(settings["image_mean"]),
            std=_triple(settings["image_std"]),
            precision=precision,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise EncoderError(f"this model's preprocessing is not one that we know: {error}") from error


def _framing(
    sides: Mapping[str, object], crop: object
) -> tuple[tuple[int, int], Literal["squash", "shortest-floor"], int]:
    """Size, mode and resize from what transformers calls size and crop size."""
    if "height" in sides and "width" in sides and crop is None:
        return _pair((sides["height"], sides["width"])), "squash", 0
    if "shortest_edge" not in sides or crop is None:
        raise ValueError("its images are neither squashed nor cropped to one size")
    frame = _pair((crop["height"], crop["width"]) if isinstance(crop, Mapping) else crop)
    short = int(sides["shortest_edge"])  # type: ignore[call-overload]
    return frame, "shortest-floor", 0 if frame == (short, short) else short


def from_crop(
    size: tuple[int, int],
    resize: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str,
    squash: bool = False,
    precision: Precision = "fp32",
) -> Preprocessing:
    """The preprocessing of torchvision's and timm's classifiers: resize, crop the middle, normalise.

    Parameters
    ----------
    resize
        Length of the short side before the crop; of both sides with `squash`.

    Raises
    ------
    EncoderError
        If the filter is neither bicubic nor bilinear, or the crop is not square.
    """
    try:
        filter_ = _choice(interpolation, tuple(_FILTER), "interpolation")
        if size[0] != size[1]:
            raise ValueError(f"a crop of {size[0]} x {size[1]} is not square")
        return Preprocessing(
            size=size,
            mode="squash" if squash else "shortest",
            resize=0 if resize == size[0] else resize,
            interpolation=filter_,  # type: ignore[arg-type]
            mean=_triple(mean),
            std=_triple(std),
            precision=precision,
        )
    except (ValueError, TypeError) as error:
        raise EncoderError(f"this model's preprocessing is not one that we know: {error}") from error


def _centre(image: Image.Image, size: tuple[int, int], fill: int, *, floor: bool = False) -> Image.Image:
    """Crop the middle, or pad around it, as torchvision does (its rounding included), or as transformers does."""
    rows, columns = size
    wide, high = max(0, columns - image.width), max(0, rows - image.height)
    if wide or high:
        border = (wide // 2, high // 2, (wide + 1) // 2, (high + 1) // 2)
        image = ImageOps.expand(image, border=border, fill=(fill, fill, fill) if image.mode == "RGB" else fill)
    start = int if floor else round
    left, top = start((image.width - columns) / 2), start((image.height - rows) / 2)
    return image.crop((left, top, left + columns, top + rows))


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    rows, columns = (int(side) for side in size)  # type: ignore[attr-defined]
    return rows, columns


def _triple(values: object) -> Triple:
    red, green, blue = (float(value) for value in values)  # type: ignore[attr-defined]
    return red, green, blue


def _choice(value: object, choices: tuple[_Choice, ...], name: str = "") -> _Choice:
    for choice in choices:
        if value == choice:
            return choice
    what = f"its {name} {value!r}" if name else repr(value)
    raise ValueError(f"{what} is not one of {', '.join(map(str, choices))}")


def _words(value: object) -> str:
    return " x ".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)
