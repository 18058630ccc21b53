"""The encoders that come with Pellucid and need no network: `builtin:demo`, and `builtin:photo` with what is made like it."""

from collections.abc import Callable

from assets import path
from cbm import photo
from cbm.backbones import BackboneEncoder, make_backbone_encoder
from cbm.clip import ClipEncoder, make_clip_encoder, offline
from cbm.encoders import Encoder, EncoderInfo, Precision
from cbm.errors import EncoderError, unknown
from cbm.photo_wheels import TIERS
from cbm.preprocessing import Preprocessing
from cbm.torchvision_guard import ensure_torchvision

LEVELS = "photo-levels"
FROM_TEXT = (
    "knows objects and categories from text alone, is fair at their colours, and weak at parts, patterns and fine kinds; "
    "with labelled examples it is good"
)
NOTES = {
    "demo": "small vision transformer trained on the rendered demo worlds; knows nothing else",
    "photo": "for your own photographs",
    LEVELS: "for concepts from labelled photographs: as builtin:photo, with what earlier layers know of backgrounds",
    "photo-lite1": "as builtin:photo, larger and slower, at 240 pixels",
    "photo-lite2": "as builtin:photo, larger and slower still, at 260 pixels",
}


def load(rest: str, device: str, precision: Precision, allow_download: bool) -> Encoder:
    """The encoder `builtin:REST`; never needs a download."""
    if rest not in NOTES:
        raise unknown("built-in encoder", rest, NOTES)
    ensure_torchvision()
    others: dict[str, Callable[[str, Precision], Encoder]] = {"demo": _demo, LEVELS: _levels}
    with offline():
        return others[rest](device, precision) if rest in others else _photo(rest, device, precision)


def infos() -> tuple[EncoderInfo, ...]:
    """All of them, and whether what they need is installed; the note of one that is not is how to install it."""
    demo = (path("weights") / "demo" / "model.safetensors").is_file()
    return EncoderInfo("builtin:demo", demo, NOTES["demo"]), *(_photo_info(name) for name in NOTES if name != "demo")


def reads_text(rest: str) -> bool:
    """Whether `builtin:REST` does."""
    return rest != LEVELS and (rest not in TIERS or TIERS[rest].reads_text)


def limits_of_text(rest: str) -> str:
    """What `builtin:REST` cannot do from text alone, in one sentence; empty where that is not known."""
    return f"builtin:{rest} {FROM_TEXT}." if rest in TIERS and reads_text(rest) else ""


def _photo_info(name: str) -> EncoderInfo:
    tier = TIERS.get(name, TIERS["photo"])
    if not tier.installed:
        return EncoderInfo(f"builtin:{name}", False, tier.install)
    told = FROM_TEXT if reads_text(name) else "reads no text" if name == LEVELS else "reads no text yet"
    return EncoderInfo(f"builtin:{name}", True, f"{NOTES[name]}; {told}")


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


def _photo(name: str, device: str, precision: Precision) -> ClipEncoder | BackboneEncoder:
    """A tier; without its alignment head, the pooled features, which no text leads to."""
    id, prepared = f"builtin:{name}", photo.preprocessing(precision, tier=name)
    if TIERS[name].reads_text:
        return make_clip_encoder(id, *photo.load_photo_model(name), prepared, device=device)
    return make_backbone_encoder(id, photo.load_network(name), prepared, architecture=name, device=device)


def _levels(device: str, precision: Precision) -> BackboneEncoder:
    from cbm.photo_levels import EARLY, STAGES, load_levels

    told = f"{LEVELS} {STAGES} {EARLY}"
    return make_backbone_encoder(
        f"builtin:{LEVELS}", load_levels(), photo.preprocessing(precision), architecture=told, device=device
    )
