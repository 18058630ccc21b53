"""Pictures as the rest of the library wants them: upright, 8-bit RGB, and never larger than a stated size.

Files come from anywhere, so this is a border: the format is decided by the content and not by the name, the number of
pixels is read from the header before anything is decoded, and every way in which a decoder can fail becomes one
`UnreadableImage` with a reason.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer
from PIL import Image, UnidentifiedImageError

from cbm.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 512 * 2**20

# Pillow only warns up to twice its own limit. Our limit is lower and checked below; this guards every other caller.
warnings.simplefilter("error", Image.DecompressionBombWarning)

Fault = Literal["unreadable", "truncated", "too_large", "colour_mode"]
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F"}
_WIDE_MODES = {"I;16", "I;16B", "I;16L", "I;16N"}
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(DataError):
    """A file that is not a picture that we can use; `fault` is the reason in one word."""

    def __init__(self, message: str, hint: str = "", fault: Fault = "unreadable") -> None:
        super().__init__(message, hint)
        self.fault = fault


@dataclass(frozen=True)
class ImageFacts:
    """What a picture is before we change it: size as shown (upright), format, colour mode, and whether EXIF turns it."""

    width: int
    height: int
    format: str
    mode: str
    rotated: bool


def open_image(source: Path | str | bytes, *, short_side: int = 0) -> Image.Image:
    """The picture as an upright 8-bit RGB image.

    EXIF orientation is applied; transparency is laid over white; 16-bit values keep their upper eight bits; integer
    and floating-point pictures that fit neither 0..1, 0..255 nor 0..65535 are stretched to their own range. Of a file
    with several frames or pages the first is taken.

    Parameters
    ----------
    source
        A path, or the bytes of the file.
    short_side
        A JPEG may be decoded to a half, a quarter or an eighth of each side, as long as its short side keeps so many
        pixels: several times faster and smaller in memory, and not quite the same as resizing all of its pixels. 0 for
        all pixels.

    Raises
    ------
    UnreadableImage
        If it is not a JPEG, PNG, WebP, TIFF or BMP, is cut short, or has more than `MAX_PIXELS` pixels.
    """
    with _opened(source) as image:
        turn = _UPRIGHT.get(_orientation(image))
        if short_side:
            image.draft(None, (short_side, short_side))
        image.load()
        plain = _to_rgb(image)
        return plain.transpose(turn) if turn is not None else plain


def inspect_image(source: Path | str | bytes) -> ImageFacts:
    """Decode the whole picture to be sure that it can be, and return what it is.

    Raises
    ------
    UnreadableImage
        As `open_image`.
    """
    with _opened(source) as image:
        orientation = _orientation(image)
        width, height = image.size if orientation < 5 else image.size[::-1]
        mode = image.mode
        image.draft(None, (1, 1))  # a JPEG is still read to its end, but only an eighth of each side is computed
        image.load()
        return ImageFacts(width, height, _format(image), mode, orientation in _UPRIGHT)


def announced_pixels(content: bytes) -> int:
    """How many pixels the header of an image file announces; 0 if it cannot be read."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return image.width * image.height
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, *_DECODER_ERRORS, struct.error, UserWarning):
        return 0


def open_mask(source: Path | str | bytes) -> Integer[np.ndarray, "h w"]:
    """A mask of parts: one integer a pixel, 0 where there is none.

    Grey, palette (its indices, not its colours) and 16-bit pictures are read as they are stored; a colour picture has
    no such meaning and is refused.
    """
    with _opened(source) as image:
        image.load()
        if image.mode not in {"1", "L", "P", "I"} | _WIDE_MODES:
            raise UnreadableImage(
                f"a mask in colour mode {image.mode} has no part numbers",
                hint="save masks as 8-bit grey, 16-bit grey or palette pictures",
                fault="colour_mode",
            )
        return np.asarray(image).astype(np.int32)


def thumbnail_jpeg(source: Path | str | bytes | Image.Image, size: int = 256, quality: int = 85) -> bytes:
    """JPEG bytes whose longer side is at most `size` pixels, without any metadata of the original."""
    image = source.convert("RGB") if isinstance(source, Image.Image) else open_image(source)
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@contextmanager
def _opened(source: Path | str | bytes) -> Iterator[Image.Image]:
    """The lazily opened picture; whatever its decoder raises inside the block becomes an `UnreadableImage`."""
    try:
        content = read_file(source)
        if content[:8] == b"\x89PNG\r\n\x1a\n" and content[12:16] == b"IHDR" and len(content) >= 24:
            _check_pixels(struct.unpack(">II", content[16:24]))  # Pillow does not tell the size of a damaged PNG
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_pixels(image.size)
            _check_mode(image.mode)
            yield image
    except UnreadableImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_many_pixels(re.sub(r".*?(\d+) pixels.*", r"\1", str(error), flags=re.DOTALL)) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(
            "the content is not a JPEG, PNG, WebP, TIFF or BMP picture", hint="convert the file or remove it"
        ) from error
    except (*_DECODER_ERRORS, struct.error, zlib.error, UserWarning) as error:
        raise _decoding_failure(error) from error


def read_file(source: Path | str | bytes) -> bytes:
    """The bytes of an image file.

    Raises
    ------
    UnreadableImage
        If there is no such file, or it is larger than `MAX_FILE_BYTES`.
    """
    if isinstance(source, bytes):
        return source
    path = Path(source)
    if not path.is_file():
        raise UnreadableImage("there is no such file", hint="check the path")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UnreadableImage(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB", fault="too_large")
    return path.read_bytes()


def _check_pixels(size: tuple[int, int]) -> None:
    pixels = size[0] * size[1]
    if pixels == 0:
        raise UnreadableImage("the picture has no pixels")
    if pixels > MAX_PIXELS:
        raise _too_many_pixels(f"{size[0]} x {size[1]} = {pixels}")


def _too_many_pixels(announced: str) -> UnreadableImage:
    return UnreadableImage(
        f"the header announces {announced} pixels; the limit is {MAX_PIXELS // 10**6} million",
        hint="make the picture smaller before importing it",
        fault="too_large",
    )


def _check_mode(mode: str) -> None:
    if mode not in _MODES | _WIDE_MODES:
        raise UnreadableImage(
            f"colour mode {mode} is not supported", hint="convert the picture to RGB", fault="colour_mode"
        )


def _decoding_failure(error: Exception) -> UnreadableImage:
    reason = str(error) or type(error).__name__
    short = ("truncat", "not processed", "buffer is not large enough", "incomplete", "end of file", "eof", "not enough")
    if isinstance(error, EOFError) or any(word in reason.lower() for word in short):
        return UnreadableImage(f"the file is cut short ({reason})", hint="copy or download it again", fault="truncated")
    return UnreadableImage(f"the picture cannot be decoded ({reason})", hint="convert the file or remove it")


def _format(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)  # a phone's JPEG with a second picture inside


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) when there is none or the EXIF block is damaged."""
    try:
        value = image.getexif().get(0x0112, 1)
    except (*_DECODER_ERRORS, struct.error, UserWarning):
        return 1  # damaged metadata does not make the picture itself unusable
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE_MODES:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        return _from_numbers(np.asarray(image).astype(np.float64)).convert("RGB")
    if image.has_transparency_data or image.mode == "RGBa":
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_numbers(values: np.ndarray) -> Image.Image:
    """An 8-bit grey picture from wider numbers, by the smallest of the usual ranges that holds them."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        scaled = (values / 2 - low / 2) / max(high / 2 - low / 2, np.finfo(float).tiny) * 255  # halves cannot overflow
    elif high > 255:
        scaled = values / 257
    else:
        scaled = values * 255 if high <= 1 else values
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
