"""Backbones of torchvision: `torchvision:NAME`, `torchvision:NAME/WEIGHTS`, or `torchvision:NAME@FILE` of one's own.

torchvision publishes its weights as pickles. They are read as tensors only, after their checksum, which is in the file's
name, has been compared. Weights of one's own are safetensors.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cbm.backbones import BackboneEncoder, load_strictly, make_backbone_encoder
from cbm.encoders import EncoderInfo, Precision
from cbm.errors import EncoderError, unknown
from cbm.hub import fetch_hint, not_here
from cbm.preprocessing import Preprocessing, from_crop
from cbm.torchvision_guard import ensure_torchvision

NOTE = "backbone; reads no text"


def load(rest: str, device: str, precision: Precision, allow_download: bool) -> BackboneEncoder:
    """The encoder `torchvision:REST`; see `cbm.encoders.load_encoder`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    named, _, own = rest.partition("@")
    name, _, tag = named.partition("/")
    published = _published(name, tag)
    if own:
        file = _own_file(own)
        try:
            weights = load_file(file)
        except (OSError, SafetensorError) as error:
            raise EncoderError(f"{file} cannot be read: {error}", hint="it must be a safetensors file") from error
    else:
        file = _cache() / published.url.rpartition("/")[2]
        _make_sure(file, published.url, f"torchvision:{rest}", allow_download=allow_download)
        weights = read_published(file)
    prepared = preprocessing_of(published.transforms(), precision=precision)
    network, classifier = without_classifier(name, size=prepared.size[0])
    load_strictly(network, weights, source=str(file), classifiers=(classifier, *_AUXILIARY))
    return make_backbone_encoder(f"torchvision:{rest}", network, prepared, architecture=name, device=device)


_AUXILIARY = ("AuxLogits", "aux1", "aux2")  # side classifiers of the Inception networks, for training only


def without_classifier(name: str, *, size: int) -> tuple[nn.Module, str]:
    """The network of that name with random weights and without its last layer, and the layer's name.

    Parameters
    ----------
    size
        Height and width of the images; the vision transformers are made for one size.

    Raises
    ------
    EncoderError
        If its last layer is not linear.
    """
    from torchvision.models import get_model

    network = get_model(name, weights=None, **_as_published(name, size))
    leaves = [(path, part) for path, part in network.named_modules() if list(part.parameters(recurse=False))]
    path, last = leaves[-1]
    if not isinstance(last, nn.Linear):
        raise EncoderError(
            f"torchvision:{name} does not end in a linear classifier, so its pooled features are not known",
            hint="choose another backbone, such as torchvision:resnet50",
        )
    owner, _, child = path.rpartition(".")
    setattr(network.get_submodule(owner), child, nn.Identity())
    return network, path


def _as_published(name: str, size: int) -> dict[str, bool | int]:
    """What torchvision itself chooses when it is asked for published weights."""
    if name in ("inception_v3", "googlenet"):
        return {"aux_logits": False, "init_weights": False, "transform_input": True}
    return {"image_size": size} if name.startswith("vit_") else {}


def preprocessing_of(transform: Any, *, precision: Precision = "fp32") -> Preprocessing:
    """What the transform that comes with published weights does.

    Raises
    ------
    EncoderError
        If it is not the usual one of a classifier.
    """
    try:
        [crop], [resize] = transform.crop_size, transform.resize_size
        mean, std, filter_ = transform.mean, transform.std, transform.interpolation.value
    except (AttributeError, TypeError, ValueError) as error:
        raise EncoderError(f"this model's preprocessing is not one that we know: {error}") from error
    return from_crop((crop, crop), resize, mean=mean, std=std, interpolation=filter_, precision=precision)


def read_published(file: Path) -> dict[str, Tensor]:
    """The tensors of a file that torchvision published, whose name ends in the start of its checksum.

    Raises
    ------
    EncoderError
        If the file is not what was published, or holds other things than tensors.
    """
    start = file.stem.rpartition("-")[2]
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if len(start) < 8 or not found.startswith(start):
        raise EncoderError(f"{file} is not the file that was published", hint="delete it, and fetch it again")
    try:
        weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise EncoderError(f"{file} holds other things than tensors", hint="choose other weights") from error
    return weights


def infos(pattern: str = "") -> tuple[EncoderInfo, ...]:
    """The backbones whose weights are here; with a pattern also the others that have it in their names."""
    if not pattern and not any(_cache().glob("*.pth")):
        return ()
    ensure_torchvision()
    from torchvision import models

    ids = []
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            ids.append((f"torchvision:{name}/{weights.name}", (_cache() / weights.url.rpartition("/")[2]).is_file()))
    return tuple(
        EncoderInfo(id, here, NOTE if here else fetch_hint(id))
        for id, here in ids
        if here or (pattern and pattern.lower() in id.lower())
    )


def _published(name: str, tag: str) -> Any:
    """The published weights of a network, which also say how images are prepared; the best ones without a tag."""
    ensure_torchvision()
    from torchvision import models

    known = models.list_models(module=models)  # those for whole images; not for detection or video
    if name not in known:
        raise unknown("torchvision model", name, known)
    choices = models.get_model_weights(name)
    if not tag:
        return choices.DEFAULT
    if tag not in choices.__members__:
        raise unknown(f"weights of torchvision's {name}", tag, choices.__members__)
    return choices[tag]


def _own_file(path: str) -> Path:
    file = Path(path).expanduser()
    if file.suffix != ".safetensors":
        raise EncoderError(
            f"{file} is not a safetensors file; a pickle may run code, so it is never read",
            hint="save the state dict with safetensors.torch.save_file",
        )
    if not file.is_file():
        raise EncoderError(f"there is no file {file}", hint="give the path of a safetensors file")
    return file


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _make_sure(file: Path, url: str, id: str, *, allow_download: bool) -> None:
    """Fetch the file if it is not here and that is allowed."""
    if file.is_file():
        return
    if not allow_download:
        raise not_here(id)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(file), hash_prefix=file.stem.rpartition("-")[2], progress=False)
    except (OSError, RuntimeError) as error:
        raise EncoderError(f"{id} cannot be fetched: {error}", hint="check the network") from error
