"""CLIP-like encoders of open_clip, from files that are on this machine unless a download is allowed.

Whatever the source (a known checkpoint, the Hugging Face hub, a folder), the result is a `ClipEncoder`: an open_clip
model in evaluation mode, its tokenizer and our own preprocessing.
"""

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock
from types import ModuleType

import torch
from jaxtyping import Float, Int
from PIL.Image import Image
from torch import Tensor, nn

from cbm.encoders import EncoderInfo, Precision
from cbm.errors import EncoderError, unknown
from cbm.preprocessing import Preprocessing, from_open_clip
from cbm.torchvision_guard import ensure_torchvision

Tokenizer = Callable[[list[str]], Int[Tensor, "n length"]]
Engine = Callable[[Float[Tensor, "n 3 h w"]], Float[Tensor, "n d"]]

TEXTS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class ClipEncoder:
    """An open_clip model with its tokenizer and preprocessing; texts and images share one space.

    Attributes
    ----------
    id
        What `load_encoder` was given.
    model, tokenizer
        Of open_clip; the model is in evaluation mode and may be on any device.
    preprocessing, contract
        See `cbm.encoders`.
    engine
        What computes embeddings of images in place of the model's own image tower.
    """

    id: str
    model: nn.Module = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    preprocessing: Preprocessing
    contract: str
    engine: Engine | None = field(default=None, repr=False)

    @property
    def visual(self) -> nn.Module:
        """The image tower: pixels to embeddings of any length."""
        return self.model.visual  # type: ignore[return-value]

    @cached_property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.encode_texts([""]).shape[1]

    def encode_images(self, images: Sequence[Image]) -> Float[Tensor, "n d"]:
        """Embeddings of pictures of any size and mode."""
        return self.encode_pixels(torch.stack([torch.from_numpy(self.preprocessing(image)) for image in images]))

    def encode_pixels(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Embeddings of pixels that `preprocessing` made."""
        if self.engine is not None:
            return unit_rows(self.engine(pixels))
        return unit_embeddings(self.model.encode_image, self.model, pixels)  # type: ignore[arg-type]

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Embeddings of texts exactly as they are; prompts are the caller's business."""
        device = next(self.model.parameters()).device
        batches = [list(texts[i : i + TEXTS_AT_ONCE]) for i in range(0, len(texts), TEXTS_AT_ONCE)]
        with torch.inference_mode():
            rows = [self.model.encode_text(self.tokenizer(batch).to(device)) for batch in batches]  # type: ignore[operator]
        return unit_rows(torch.cat(rows))

    def knows(self, text: str) -> bool:
        """Whether every word of a text means something here; true of all where the tokenizer spells words out."""
        known = getattr(self.tokenizer, "knows", None)
        return known is None or bool(known(text))


def make_clip_encoder(
    name: str,
    model: nn.Module,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing,
    *,
    device: str = "cpu",
    architecture: str = "",
) -> ClipEncoder:
    """The encoder around a model like open_clip's whose weights are loaded; it is moved to `device` and made ready."""
    contract = contract_of(model.state_dict(), preprocessing, architecture)
    ready = made_ready(model, preprocessing, device=device)
    return ClipEncoder(name, ready, tokenizer, preprocessing, contract)


def made_ready(model: nn.Module, preprocessing: Preprocessing, *, device: str) -> nn.Module:
    """The model on its device, in the precision that the preprocessing names and in evaluation mode."""
    dtype = torch.bfloat16 if preprocessing.precision == "bf16" else torch.float32  # fp16 is very slow on a CPU
    ready = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ready


def contract_of(weights: Mapping[str, Tensor], preprocessing: Preprocessing, architecture: str = "") -> str:
    """sha256 of all weights and of the preprocessing, in hexadecimal: the same for the same embeddings.

    Parameters
    ----------
    architecture
        What the shapes of the weights do not tell, such as the number of heads, where the weights may come with several.
    """
    digest = hashlib.sha256(repr(sorted(preprocessing.to_dict().items())).encode())
    digest.update(architecture.encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load(rest: str, device: str, precision: Precision, allow_download: bool) -> ClipEncoder:
    """The encoder `open_clip:REST`; see `cbm.encoders.load_encoder`."""
    name, tag, quick_gelu = _checked(rest, allow_download=allow_download)
    ensure_torchvision()
    import open_clip

    with nullcontext() if allow_download else offline():
        try:
            model = open_clip.create_model(name, tag, require_pretrained=True, force_quick_gelu=quick_gelu)
            tokenizer = open_clip.get_tokenizer(name)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise EncoderError(f"open_clip cannot load {rest!r}: {error}", hint=_fetch_hint(rest)) from error
    _check_stated(rest)
    preprocessing = from_open_clip(model.visual.preprocess_cfg, precision=precision)
    return make_clip_encoder(f"open_clip:{rest}", model, tokenizer, preprocessing, device=device)


def infos() -> tuple[EncoderInfo, ...]:
    """open_clip's published checkpoints, and whether each is on this machine."""
    table = _published()
    pairs = [(model, tag) for model in table._PRETRAINED for tag in table._PRETRAINED[model]]
    installed = [_local_checkpoint(table.get_pretrained_cfg(model, tag)) is not None for model, tag in pairs]
    return tuple(
        EncoderInfo(f"open_clip:{model}/{tag}", here, "" if here else _fetch_hint(f"{model}/{tag}"))
        for (model, tag), here in zip(pairs, installed, strict=True)
    )


_OFFLINE = RLock()


@contextmanager
def offline() -> Iterator[None]:
    """Within it, huggingface_hub (and so transformers, timm, open_clip) reads its cache and never the network."""
    from huggingface_hub import constants

    with _OFFLINE:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def _checked(rest: str, *, allow_download: bool) -> tuple[str, str | None, bool]:
    """open_clip's name, tag and activation for an id, after making sure that its files are here."""
    if rest.startswith("local-dir:"):
        _check_folder(Path(rest.removeprefix("local-dir:")))
        return rest, None, False
    if rest.startswith("hf-hub:"):
        if not allow_download and _cached(rest.removeprefix("hf-hub:"), ("open_clip_config.json",)) is None:
            raise _not_here(rest)
        return rest, None, False
    model, slash, tag = rest.rpartition("/")
    table = _published()
    if not slash or model not in table._PRETRAINED:
        raise unknown("open_clip model", model or rest, table._PRETRAINED)
    settings = table.get_pretrained_cfg(model, tag)
    if not settings:
        raise unknown(f"checkpoint of open_clip's {model}", tag, table._PRETRAINED[model])
    if not allow_download and _local_checkpoint(settings) is None:
        raise _not_here(rest)
    return model, tag, bool(settings.get("quick_gelu", False))


def _check_folder(folder: Path) -> None:
    """Weights of people's own folders are read as safetensors only: a pickle may run code."""
    if not (folder / "open_clip_config.json").is_file():
        raise EncoderError(
            f"{folder} holds no open_clip model",
            hint="the folder needs open_clip_config.json and open_clip_model.safetensors",
        )
    if not any(folder.glob("*.safetensors")):
        raise EncoderError(
            f"{folder} holds no weights in the safetensors format",
            hint="save them with safetensors.torch.save_file as open_clip_model.safetensors; pickles are not read",
        )


def _check_stated(rest: str) -> None:
    """Refuse a model whose files do not say how images are prepared: open_clip would go on with those of another one.

    SigLIP, for instance, would be shown images in CLIP's colours (open_clip's issue 1068).
    """
    source, _, place = rest.partition(":")
    if source not in ("local-dir", "hf-hub"):
        return
    name = "open_clip_config.json"
    file = Path(place) / name if source == "local-dir" else _cached(place, (name,))
    stated = json.loads(file.read_text("utf-8")).get("preprocess_cfg") if file else None
    if not isinstance(stated, dict) or not {"mean", "std"} <= stated.keys():
        raise EncoderError(
            f"open_clip:{rest} does not say how images are prepared",
            hint=f"{name} needs preprocess_cfg with mean and std; interpolation and resize_mode too where CLIP has others",
        )


def _not_here(rest: str) -> EncoderError:
    return EncoderError(f"the weights of open_clip:{rest} are not on this machine", hint=_fetch_hint(rest))


def _fetch_hint(rest: str) -> str:
    if rest.startswith("local-dir:"):
        return "check that open_clip_config.json describes the weights in the folder"
    return f"fetch them once with: pellucid embed DATASET --encoder open_clip:{rest} --allow-download"


def _published() -> ModuleType:
    """open_clip's table of checkpoints, read without importing open_clip itself (which takes seconds)."""
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise EncoderError("open_clip is not installed", hint="pip install open_clip_torch")
    if "_open_clip_tables" not in sys.modules:
        package = ModuleType("_open_clip_tables")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["_open_clip_tables"] = package
    return importlib.import_module("_open_clip_tables.pretrained")


def _local_checkpoint(settings: Mapping[str, str]) -> Path | None:
    """Where a published checkpoint lies on this machine; the places are open_clip's own."""
    if settings.get("hf_hub"):
        repository, _, file = settings["hf_hub"].rpartition("/")
        file = file or "open_clip_pytorch_model.bin"
        return _cached(repository, (str(Path(file).with_suffix(".safetensors")), "open_clip_model.safetensors", file))
    target = Path("~/.cache/clip").expanduser() / settings["url"].rpartition("/")[2]
    return target if target.is_file() else None


def _cached(repository: str, files: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, file) for file in files]
    return next((Path(path) for path in found if isinstance(path, str)), None)


def unit_embeddings(
    run: Callable[[Tensor], Tensor], network: nn.Module, pixels: Float[Tensor, "n 3 h w"]
) -> Float[Tensor, "n d"]:
    """What `run` makes of pixels on the device and in the precision of the network, as unit rows on the CPU."""
    like, channels_last = next(network.parameters()), torch.channels_last  # convolutions are 1.7 times faster
    with torch.inference_mode():
        there = pixels.to(like.device, non_blocking=True)  # which it is where the pixels are in pinned memory
        embedding = run(there.to(like.dtype, memory_format=channels_last))
    return unit_rows(embedding)


def unit_rows(embedding: Tensor) -> Float[Tensor, "n d"]:
    """Rows of unit length in single precision, on the CPU."""
    return nn.functional.normalize(embedding.float(), dim=-1).cpu().clone()  # clone leaves inference mode
