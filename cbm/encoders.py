"""Encoders: what turns images, and for some also texts, into embeddings.

An encoder is named by an id, `PREFIX:NAME`; `load_encoder` looks the prefix up and never touches the network unless
asked to. Whatever it is, an encoder states its preprocessing, and a *contract*: one hash of its weights and its
preprocessing. Embeddings, concept banks and models carry the contract, so that they are never mixed up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from cbm.encoder_ids import EncoderId
from cbm.errors import EncoderError, unknown
from cbm.preprocessing import Precision as Precision
from cbm.preprocessing import Preprocessing


@runtime_checkable
class Encoder(Protocol):
    """Turns images into embeddings.

    `encode_images` takes pictures; `encode_pixels` takes what `preprocessing` makes of them, stacked, so that decoding
    can run ahead in other threads. Both return float32 on the CPU, rows of unit length for CLIP-like encoders.
    """

    @property
    def id(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def contract(self) -> str: ...
    def encode_images(self, images: Sequence[Image]) -> Float[Tensor, "n d"]: ...
    def encode_pixels(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]: ...


@runtime_checkable
class TextEncoder(Encoder, Protocol):
    """An encoder that puts texts into the same space."""

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]: ...


@dataclass(frozen=True)
class EncoderInfo:
    """One line of a list of encoders.

    Attributes
    ----------
    id
        What `load_encoder` takes.
    installed
        Whether its files are on this machine, so that it loads without a network.
    note
        What it is for, or how to get it.
    """

    id: str
    installed: bool
    note: str


def load_encoder(
    name: str,
    *,
    device: str = "cpu",
    precision: Precision | None = None,
    allow_download: bool = False,
    keep: Path | None = None,
) -> Encoder:
    """The encoder with this id; a `TextEncoder` where `reads_text` says so.

    Parameters
    ----------
    name
        `builtin:demo`, `builtin:photo` and the others of `list_encoders`; `open_clip:MODEL/TAG`,
        `open_clip:hf-hub:ORG/NAME`, `open_clip:local-dir:PATH`; `hf:ORG/NAME[@REVISION]` or `hf:PATH` for CLIP and
        SigLIP of transformers; and the backbones, which read no text: `builtin:photo-levels`,
        `torchvision:NAME[/WEIGHTS]`, `torchvision:NAME@FILE`, `timm:NAME`, `timm:hf-hub:ORG/NAME`,
        `timm:local-dir:PATH`. Any of them may end in `:bf16` or `:int8`, and in `:fast-decode`.
    device
        `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`.
    precision
        Instead of the one in the name. `"bf16"` is several times faster on processors and devices that multiply in it;
        `"int8"` needs onnxruntime and runs on the processor. Embeddings change in the third digit, so it is part of the
        contract and of the encoder's id.
    allow_download
        Whether missing weights may be fetched.
    keep
        A folder where the 8-bit tower is kept for the next time; making it takes some seconds.

    Raises
    ------
    UnknownName
        If there is no such encoder.
    EncoderError
        If its files are not here, or cannot be used.
    """
    id = EncoderId.parse(name)
    if precision is not None:
        id = replace(id, precision=precision)
    prefix, colon, rest = id.plain.partition(":")
    loaders = _loaders()
    if not colon or prefix not in loaders:
        raise unknown("encoder", name, [f"{known}:..." for known in loaders] + [info.id for info in list_encoders()])
    weights: Precision = "bf16" if id.precision == "bf16" else "fp32"
    return as_named(loaders[prefix](rest, device, weights, allow_download), id, keep=keep)


def as_named(encoder: Encoder, id: EncoderId, *, keep: Path | None = None) -> Encoder:
    """An encoder that was loaded by its plain id in fp32 or bf16, with everything else that its id says.

    Raises
    ------
    EncoderError
        If its image tower cannot be computed in this precision.
    """
    from cbm.int8_tower import in_8_bits
    from cbm.variants import with_fast_decode, with_id

    if id.precision == "int8":
        encoder = in_8_bits(encoder, keep=keep)
    if id.fast_decode:
        encoder = with_fast_decode(encoder)
    return encoder if str(id) == id.plain else with_id(encoder, str(id))


def list_encoders(pattern: str = "") -> tuple[EncoderInfo, ...]:
    """The encoders that have `pattern` in their id; without one, only those that need no download.

    Others of the hub and those in folders can be loaded by their id too; they cannot be listed.
    """
    from cbm import builtin, clip, hf_clip, timm_backbones, torchvision_backbones

    published = clip.infos() + hf_clip.infos()
    known = builtin.infos() + published + torchvision_backbones.infos(pattern) + timm_backbones.infos(pattern)
    if not pattern:
        return tuple(info for info in known if info.installed or info.id.startswith("builtin:"))
    return tuple(info for info in known if pattern.lower() in info.id.lower())


def reads_text(encoder_id: str) -> bool:
    """Whether an encoder reads text too, by its id alone.

    Examples
    --------
    >>> reads_text("hf:openai/clip-vit-large-patch14"), reads_text("timm:resnet18.a1_in1k")
    (True, False)
    """
    return encoder_id.startswith(("builtin:", "open_clip:", "hf:")) and not is_backbone(encoder_id)


def is_backbone(encoder_id: str) -> bool:
    """Whether an encoder is an image network alone, so that no word means anything in its space; by its id.

    Examples
    --------
    >>> is_backbone("timm:resnet18.a1_in1k"), is_backbone("builtin:photo-levels:bf16"), is_backbone("builtin:demo")
    (True, True, False)
    """
    from cbm import builtin

    prefix, _, rest = EncoderId.parse(encoder_id).plain.partition(":")
    return prefix in ("torchvision", "timm") or (prefix == "builtin" and not builtin.reads_text(rest))


def limits_of_text(encoder_id: str) -> str:
    """What an encoder cannot do from text alone, in one sentence; empty where that is not known.

    Examples
    --------
    >>> limits_of_text("open_clip:ViT-B-32/openai")
    ''
    """
    from cbm import builtin

    prefix, _, rest = EncoderId.parse(encoder_id).plain.partition(":")
    return builtin.limits_of_text(rest) if prefix == "builtin" else ""


def reading(encoder: Encoder) -> TextEncoder:
    """The encoder, if it reads text.

    Raises
    ------
    EncoderError
        If it does not.
    """
    if isinstance(encoder, TextEncoder):
        return encoder
    raise EncoderError(
        f"{encoder.id} reads no text, so words cannot become concepts in its space",
        hint="build concepts from annotated images or as atoms, or choose an encoder that reads text, such as builtin:photo",
    )


def check_contract(encoder: Encoder, contract: str, *, made_with: Preprocessing | None = None) -> None:
    """Raise unless embeddings (or a bank, or a model) with this contract were made by this encoder.

    Parameters
    ----------
    made_with
        The preprocessing stored with them, if known: then the message says what differs.

    Raises
    ------
    EncoderError
        If the contracts differ.
    """
    if contract == encoder.contract:
        return
    difference = made_with.difference(encoder.preprocessing) if made_with else ""
    if difference:
        raise EncoderError(
            f"the embeddings were made with a different preprocessing: {difference}",
            hint=f"embed the images again with {encoder.id}, or load the encoder as it was then",
        )
    raise EncoderError(
        f"the embeddings were not made with the weights of {encoder.id} that are loaded now",
        hint="embed the images again, or load the encoder that made them",
    )


_Loader = Callable[[str, str, Precision, bool], Encoder]  # rest of the id, device, precision, allow_download


def _loaders() -> dict[str, _Loader]:
    """What reads the part of an id after its prefix; a new kind of encoder is one line here."""
    from cbm import builtin, clip, hf_clip, timm_backbones, torchvision_backbones

    return {
        "builtin": builtin.load,
        "open_clip": clip.load,
        "hf": hf_clip.load,
        "torchvision": torchvision_backbones.load,
        "timm": timm_backbones.load,
    }
