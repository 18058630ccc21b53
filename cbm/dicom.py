"""DICOM files as pictures without the patient: pixels and a few technical facts come along, and nothing else.

Stored values go through the rescale slope and intercept and then through a window to 8 bits; MONOCHROME1 is inverted. The
patient's identity becomes a salted hash, so that one patient's images can be kept in one split; file names, which often
hold a name or a number of the patient, are replaced too. Letters that are burned into the pixels stay: a file that says
so is told.

References
----------
DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (rescale), C.11.2 (windows); PS3.15 annex E (confidentiality profiles).
"""

import hmac
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from cbm.config import option
from cbm.errors import DataError, UsageError
from cbm.images import MAX_FILE_BYTES, MAX_PIXELS, UnreadableImage

SUFFIXES = frozenset({".dcm", ".dicom"})
COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"}
GREY = {"MONOCHROME1", "MONOCHROME2"}
EXACT, TINY = "LINEAR_EXACT", 1e-9  # the function without half a value's shift; a width that divides
DEFLATED = "1.2.840.10008.1.2.1.99"
CODES = ("Modality", "BodyPartExamined", "ViewPosition", "ImageLaterality", "Laterality")
NUMBERS = ("Rows", "Columns", "BitsStored", "NumberOfFrames", "SliceThickness", "PixelSpacing")
FACTS = (*CODES, *NUMBERS)


@dataclass(frozen=True)
class Options:
    """How stored values become a picture."""

    window: str = option(
        "auto",
        help="CENTER,WIDTH in the units of the file, such as 40,400; by default the file's own, else percentiles",
    )
    frame: Literal["first", "middle"] = option(
        "first", choices=("first", "middle"), help="which of several frames is taken"
    )


@dataclass(frozen=True)
class Plain:
    """A picture without its patient: what may be kept of a DICOM file."""

    picture: Image.Image
    facts: tuple[str, ...]
    patient: str
    burned_in: bool


def is_dicom(path: str) -> bool:
    """Whether a file is called like one.

    Examples
    --------
    >>> is_dicom("scans/1.DCM"), is_dicom("scans/1.png")
    (True, False)
    """
    return Path(path).suffix.lower() in SUFFIXES


def read_window(text: str) -> tuple[float, float] | None:
    """`CENTER,WIDTH` as two numbers; `None` for `auto`.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text == "auto":
        return None
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError:
        center, width = 0.0, 0.0
    if not (width >= 1 and np.isfinite([center, width]).all()):
        raise UsageError(
            f"the window {text!r} is not CENTER,WIDTH", hint="write two numbers, such as 40,400 or -600,1500"
        )
    return center, width


def read_plain(path: Path, options: Options, salt: bytes) -> Plain:
    """The picture of a file, with what may be kept of it.

    Raises
    ------
    DataError
        If pydicom is not installed.
    UnreadableImage
        If the file is no DICOM picture, is too large, or is compressed in a way that cannot be decoded here. The message
        holds nothing from the file.
    """
    pydicom = _pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote what is written in the file
        try:
            header = _header(pydicom, path)
            values = _frame(pydicom, path, header, options.frame)
            picture = _picture(pydicom, values, header, read_window(options.window))
        except UnreadableImage:
            raise
        except Exception as error:  # noqa: BLE001 a message of the decoder's may quote the patient's name
            raise UnreadableImage(f"the DICOM file cannot be decoded ({type(error).__name__})") from None
    burned_in = str(header.get("BurnedInAnnotation", "")).strip().upper() == "YES"
    return Plain(Image.fromarray(picture), _facts(header), pseudonym(_patient(header), salt), burned_in)


def pseudonym(patient: str, salt: bytes) -> str:
    """A name for a patient that says nothing to whoever has not the salt; empty for an empty one."""
    if not patient:
        return ""
    return "patient-" + hmac.new(salt, patient.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:16]


def windowed(
    values: Float64[np.ndarray, "h w"], center: float, width: float, function: str = "LINEAR"
) -> UInt8[np.ndarray, "h w"]:
    """Values through a window to 0..255, by the function of DICOM PS3.3 C.11.2.1.2 or C.11.2.1.3 that is named."""
    if function == "SIGMOID":
        shares = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    elif function == EXACT:
        shares = (values - center) / width + 0.5
    else:
        shares = (values - (center - 0.5)) / max(width - 1, TINY) + 0.5
    return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise DataError("DICOM files need pydicom", hint="pip install 'pellucid[dicom]'") from error
    return pydicom


def _header(pydicom: Any, path: Path) -> Any:
    """The data set without its pixels, after its size has been looked at."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UnreadableImage(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB", fault="too_large")
    syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")
    if syntax == DEFLATED:  # it would be inflated to whatever it says before anything could be checked
        raise UnreadableImage("deflated DICOM files are not read", hint="save it uncompressed")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    rows, columns = int(header.get("Rows", 0)), int(header.get("Columns", 0))
    if rows < 1 or columns < 1:
        raise UnreadableImage("the DICOM file holds no picture")
    if rows * columns > MAX_PIXELS:
        raise UnreadableImage(f"it has {rows * columns:,} pixels; the limit is {MAX_PIXELS:,}", fault="too_large")
    if header.get("PhotometricInterpretation") not in COLOURS | GREY:
        raise UnreadableImage("the DICOM file has a colour model that is not read", fault="colour_mode")
    return header


def _frame(pydicom: Any, path: Path, header: Any, frame: str) -> np.ndarray:
    count = int(header.get("NumberOfFrames", 1) or 1)
    try:
        found = pydicom.pixels.pixel_array(path, index=count // 2 if frame == "middle" else 0)
    except (RuntimeError, NotImplementedError):
        syntax = pydicom.uid.UID(header.file_meta.TransferSyntaxUID)
        name = syntax.name if not syntax.is_private else "a private transfer syntax"
        raise UnreadableImage(f"its pixels cannot be decoded here ({name})", hint="save it uncompressed") from None
    return np.asarray(found)


def _picture(pydicom: Any, values: np.ndarray, header: Any, window: tuple[float, float] | None) -> np.ndarray:
    """8 bits a channel, `[h, w]` or `[h, w, 3]`."""
    if header.PhotometricInterpretation in COLOURS:
        if header.PhotometricInterpretation == "PALETTE COLOR":
            values = pydicom.pixels.apply_color_lut(values, header)
        wide = values.dtype.itemsize > 1
        return np.ascontiguousarray((values >> 8 if wide else values).astype(np.uint8)[..., :3])
    rescaled = np.asarray(pydicom.pixels.apply_modality_lut(values, header)).astype(np.float64)
    grey: np.ndarray = _grey(pydicom, rescaled, values, header, window)
    return np.uint8(255) - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _grey(
    pydicom: Any,
    rescaled: Float64[np.ndarray, "h w"],
    values: np.ndarray,
    header: Any,
    window: tuple[float, float] | None,
) -> UInt8[np.ndarray, "h w"]:
    """Through the window that was asked for, else the file's table or window, else from the 1st to the 99th percentile."""
    if window is not None:
        return windowed(rescaled, *window)
    if header.get("VOILUTSequence"):
        table = header.VOILUTSequence[0]
        looked_up = pydicom.pixels.apply_voi_lut(rescaled.astype(np.int64), header, prefer_lut=True)
        most = 2.0 ** int(table.LUTDescriptor[2]) - 1
        return windowed(np.asarray(looked_up, np.float64), most / 2, most, EXACT)
    center, width = (_first(header.get(f"Window{name}")) for name in ("Center", "Width"))
    if center is not None and width is not None and width >= 1:
        return windowed(rescaled, center, width, str(header.get("VOILUTFunction") or "LINEAR").upper())
    padding = header.get("PixelPaddingValue")
    inside = rescaled if padding is None else rescaled[values != padding]
    low, high = np.percentile(inside if inside.size else rescaled, (1, 99))
    return windowed(rescaled, (low + high) / 2, max(high - low, TINY), EXACT)


def _first(value: Any) -> float | None:
    """The first of several numbers, or the only one."""
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) and len(value) else value
    return None if first is None or first == "" else float(first)


def _facts(header: Any) -> tuple[str, ...]:
    """What is kept: codes of at most 16 capitals, digits, blanks and underscores, and numbers."""
    return (*(_code(header.get(name)) for name in CODES), *(_number(header.get(name)) for name in NUMBERS))


def _code(value: Any) -> str:
    text = str(value or "").strip()
    return text if len(text) <= 16 and all(c.isdigit() or c in "_ " or "A" <= c <= "Z" for c in text) else ""


def _number(value: Any) -> str:
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    try:
        return " ".join(f"{float(part):g}" for part in parts if part is not None)
    except (TypeError, ValueError):
        return ""


def _patient(header: Any) -> str:
    told = [str(header.get(name, "") or "").strip() for name in ("PatientID", "IssuerOfPatientID")]
    return "\0".join(told) if told[0] else ""
