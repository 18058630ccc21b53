"""The encoders that come with Pellucid and need no network: `builtin:demo` and `builtin:photo`."""

from collections.abc import Callable

from assets import path
from cbm import photo
from cbm.clip import ClipEncoder, make_clip_encoder, offline
from cbm.encoders import EncoderInfo, Precision
from cbm.errors import EncoderError, unknown
from cbm.preprocessing import Preprocessing
from cbm.torchvision_guard import ensure_torchvision

NOTES = {
    "demo": "small vision transformer trained on the rendered demo world",
    "photo": "for your own photographs; good with labelled examples, knows objects from text, weak at parts and patterns",
}


def load(rest: str, device: str, precision: Precision, allow_download: bool) -> ClipEncoder:
    """The encoder `builtin:REST`; never needs a download."""
    if rest not in NOTES:
        raise unknown("built-in encoder", rest, NOTES)
    ensure_torchvision()
    loaders: dict[str, Callable[[str, Precision], ClipEncoder]] = {"demo": _demo, "photo": _photo}
    with offline():
        return loaders[rest](device, precision)


def infos() -> tuple[EncoderInfo, ...]:
    """Both encoders, and whether what they need is installed."""
    ready = {"demo": (path("weights") / "demo" / "model.safetensors").is_file(), "photo": photo.installed()}
    notes = NOTES if ready["photo"] else NOTES | {"photo": photo.INSTALL}
    return tuple(EncoderInfo(f"builtin:{name}", ready[name], notes[name]) for name in NOTES)


def _demo(device: str, precision: Precision) -> ClipEncoder:
    from assets import demo_model

    try:
        model, tokenizer = demo_model.load_demo_model()
    except FileNotFoundError as error:
        raise EncoderError(
            "the weights of builtin:demo are missing from this installation", hint="install Pellucid again"
        ) from error
    size = (demo_model.IMAGE_SIZE, demo_model.IMAGE_SIZE)
    prepared = Preprocessing(size=size, mean=demo_model.MEAN, std=demo_model.STD, precision=precision)
    return make_clip_encoder("builtin:demo", model, tokenizer, prepared, device=device)


def _photo(device: str, precision: Precision) -> ClipEncoder:
    model, tokenizer = photo.load_photo_model()
    prepared = photo.preprocessing(precision)
    return make_clip_encoder("builtin:photo", model, tokenizer, prepared, device=device)
