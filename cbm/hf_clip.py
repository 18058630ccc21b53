"""CLIP and SigLIP of transformers: `hf:ORG/NAME[@REVISION]`, or a folder that `save_pretrained` made.

The model is given the shape that open_clip's have (`visual`, `encode_image`, `encode_text`), so that everything that looks
into an encoder looks into these too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from cbm.clip import ClipEncoder, make_clip_encoder, offline
from cbm.encoders import EncoderInfo, Precision
from cbm.errors import EncoderError
from cbm.hub import cached_repositories, checked_folder, fetch_hint, hub_folder, local_folder
from cbm.preprocessing import Preprocessing, from_transformers
from cbm.torchvision_guard import ensure_torchvision

KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel"}
KNOWN = (
    "openai/clip-vit-large-patch14",
    "google/siglip-base-patch16-224",
    "google/siglip-so400m-patch14-384",
    "google/siglip2-base-patch16-224",
)


def load(rest: str, device: str, precision: Precision, allow_download: bool) -> ClipEncoder:
    """The encoder `hf:REST`; see `cbm.encoders.load_encoder`."""
    folder = _folder(rest, allow_download=allow_download)
    config = _read(folder / "config.json")
    kind = str(config.get("model_type"))
    if kind not in KINDS:
        raise EncoderError(
            f"hf:{rest} is a model of the type {kind!r}; of transformers, CLIP and SigLIP are read",
            hint="choose one of these, or a backbone: timm:NAME or torchvision:NAME",
        )
    preprocessing = from_transformers(_processor(folder), precision=precision)
    _check_size(rest, preprocessing, config)
    ensure_torchvision()
    with offline():
        try:
            model, tokenizer = _model(kind, folder), _tokenizer(kind, folder, config)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
            raise EncoderError(
                f"transformers cannot load hf:{rest}: {error}", hint="check that config.json describes the weights"
            ) from error
    tower = _Towers(model, kind)
    return make_clip_encoder(
        f"hf:{rest}", tower, tokenizer, preprocessing, device=device, architecture=_architecture(model)
    )


def infos() -> tuple[EncoderInfo, ...]:
    """Some published checkpoints and those in the cache, and whether each is on this machine."""
    here = [name for name, folder in cached_repositories() if _read(folder / "config.json").get("model_type") in KINDS]
    missing = [name for name in KNOWN if name not in here]
    return (
        *(EncoderInfo(f"hf:{name}", True, "") for name in here),
        *(EncoderInfo(f"hf:{name}", False, fetch_hint(f"hf:{name}")) for name in missing),
    )


class _Visual(nn.Module):
    """The image tower with its projection; `vision_model` is where `probes.towers` looks."""

    def __init__(self, vision_model: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = vision_model, projection

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        embedding: Tensor = self.visual_projection(self.vision_model(pixel_values=pixels).pooler_output)
        return embedding


class _Towers(nn.Module):
    """A model of transformers as open_clip shapes its own."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        super().__init__()
        project = kind == "clip"  # SigLIP's heads have projected already
        self.visual = _Visual(model.vision_model, model.visual_projection if project else nn.Identity())  # type: ignore[arg-type]
        self.text_model = model.text_model
        self.text_projection = model.text_projection if project else nn.Identity()

    def encode_image(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        embedding: Tensor = self.visual(pixels)
        return embedding

    def encode_text(self, tokens: Int[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        embedding: Tensor = self.text_projection(self.text_model(input_ids=tokens).pooler_output)  # type: ignore[operator]
        return embedding


@dataclass(frozen=True)
class _Tokenizer:
    """Texts as token numbers, all of one length.

    Every text is filled up to the full length: CLIP reads none of what follows its end, and SigLIP was trained so. So no
    embedding depends on the other texts.
    """

    tokenize: Any
    length: int

    def __call__(self, texts: list[str]) -> Int[Tensor, "n length"]:
        options = {"padding": "max_length", "truncation": True, "max_length": self.length, "return_tensors": "pt"}
        tokens: Tensor = self.tokenize(texts, **options)["input_ids"]
        return tokens


def _folder(rest: str, *, allow_download: bool) -> Path:
    if rest.startswith(("local-dir:", "/", ".", "~")):
        return local_folder(rest.removeprefix("local-dir:"))
    repository, _, revision = rest.partition("@")
    folder = hub_folder(f"hf:{rest}", repository, revision=revision or None, allow_download=allow_download)
    return checked_folder(folder)


def _processor(folder: Path) -> Mapping[str, object]:
    """The settings of the image processor, in the file of its own or in that of the whole processor."""
    for name, within in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        if (folder / name).is_file():
            settings = _read(folder / name)
            found = settings if within is None else settings.get(within)
            if isinstance(found, dict):
                return found
    raise EncoderError(
        f"{folder} does not say how images are prepared",
        hint="it needs preprocessor_config.json, as save_pretrained makes",
    )


def _check_size(rest: str, preprocessing: Preprocessing, config: Mapping[str, Any]) -> None:
    """Refuse an image processor that belongs to another model, as far as the size tells."""
    made_for = config.get("vision_config", {}).get("image_size")
    if made_for is not None and preprocessing.size != (made_for, made_for):
        rows, columns = preprocessing.size
        raise EncoderError(
            f"hf:{rest} prepares images of {rows} x {columns}, but its model was made for {made_for} x {made_for}",
            hint="put the preprocessor_config.json of this model beside it",
        )


def _model(kind: str, folder: Path) -> nn.Module:
    import transformers

    with _no_bars():
        model, told = getattr(transformers, KINDS[kind]).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    absent: Sequence[str] = sorted(told["missing_keys"])
    if absent:  # transformers would go on with random numbers
        raise ValueError(f"the weights lack {', '.join(absent[:3])}" + (" and others" if len(absent) > 3 else ""))
    return model  # type: ignore[no-any-return]


@contextmanager
def _no_bars() -> Iterator[None]:
    """Within it, transformers draws no progress bars of its own."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _tokenizer(kind: str, folder: Path, config: Mapping[str, Any]) -> _Tokenizer:
    from transformers import AutoTokenizer

    usual = 77 if kind == "clip" else 64
    length = int(config.get("text_config", {}).get("max_position_embeddings", usual))
    return _Tokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True), length)


def _architecture(model: nn.Module) -> str:
    """What the weights do not show but the embeddings depend on, such as the number of heads."""
    names = ("hidden_act", "num_attention_heads", "layer_norm_eps", "patch_size", "image_size", "eos_token_id")
    parts = (model.config.vision_config, model.config.text_config)  # type: ignore[union-attr]
    return json.dumps([{name: getattr(part, name, None) for name in names} for part in parts])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}
