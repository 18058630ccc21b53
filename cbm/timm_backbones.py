"""Backbones of timm: `timm:NAME` of the hub, or `timm:local-dir:PATH`, a folder that `save_for_hf` made with `safe_serialization`.

Weights are safetensors, the preprocessing is the model's `pretrained_cfg`.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cbm.backbones import BackboneEncoder, load_strictly, make_backbone_encoder
from cbm.encoders import EncoderInfo, Precision
from cbm.errors import EncoderError, unknown
from cbm.hub import cached_repositories, fetch_hint, hub_folder, local_folder, weight_files
from cbm.preprocessing import Preprocessing, from_crop
from cbm.torchvision_guard import ensure_torchvision

NOTE = "backbone; reads no text"


def load(rest: str, device: str, precision: Precision, allow_download: bool) -> BackboneEncoder:
    """The encoder `timm:REST`; see `cbm.encoders.load_encoder`."""
    ensure_torchvision()
    import timm
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder, told = _folder(rest, allow_download=allow_download)
    architecture, settings, arguments = _described(folder, told)
    preprocessing = preprocessing_of(settings, precision=precision)
    try:
        network = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
        weights = {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise EncoderError(
            f"timm cannot load timm:{rest}: {error}", hint="check that config.json describes it"
        ) from error
    classifiers = settings.get("classifier") or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    load_strictly(network, weights, source=str(folder), classifiers=names)
    told_apart = json.dumps([architecture, arguments], sort_keys=True)
    return make_backbone_encoder(f"timm:{rest}", network, preprocessing, architecture=told_apart, device=device)


def preprocessing_of(settings: Mapping[str, Any], *, precision: Precision = "fp32") -> Preprocessing:
    """What timm's evaluation transform does, from a model's `pretrained_cfg`.

    Raises
    ------
    EncoderError
        If it frames images in a way that is not known here.
    """
    try:
        _, rows, columns = settings["input_size"]
        share, crop = float(settings.get("crop_pct", 0.875)), settings.get("crop_mode") or "center"
        mean, std = settings["mean"], settings["std"]
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"this model's preprocessing is not one that we know: {error}") from error
    if crop not in ("center", "squash"):
        raise EncoderError(f"this model's preprocessing is not one that we know: its crop_mode is {crop!r}")
    return from_crop(
        (int(rows), int(columns)),
        math.floor(rows / share),
        mean=mean,
        std=std,
        interpolation=str(settings.get("interpolation", "bicubic")),
        squash=crop == "squash",
        precision=precision,
    )


def infos(pattern: str = "") -> tuple[EncoderInfo, ...]:
    """The backbones in the hub's cache; with a pattern also those that timm knows and that have it in their names."""
    here = [name.removeprefix("timm/") for name, _ in cached_repositories() if name.startswith("timm/")]
    found = [EncoderInfo(f"timm:{name}", True, NOTE) for name in here]
    wanted = pattern.lower().removeprefix("timm:")
    if pattern:
        ensure_torchvision()
        import timm

        known = [name for name in timm.list_pretrained() if wanted in name.lower() and name not in here]
        found += [EncoderInfo(f"timm:{name}", False, fetch_hint(f"timm:{name}")) for name in known]
    return tuple(found)


def _folder(rest: str, *, allow_download: bool) -> tuple[Path, Mapping[str, Any]]:
    """Where the files are, and what timm itself says of the model, where it knows it."""
    import timm

    if rest.startswith("local-dir:"):
        return local_folder(rest.removeprefix("local-dir:")), {}
    if rest.startswith("hf-hub:"):
        repository, _, revision = rest.removeprefix("hf-hub:").partition("@")
        return hub_folder(f"timm:{rest}", repository, revision=revision or None, allow_download=allow_download), {}
    name = rest.partition(".")[0]
    if not timm.is_model(name):
        raise unknown("timm model", rest, timm.list_models(pretrained=True))
    published = timm.list_pretrained(f"{name}.*")
    if not published or ("." in rest and rest not in published):
        raise unknown("timm model with published weights", rest, published or timm.list_models(pretrained=True))
    settings = timm.get_pretrained_cfg(rest).to_dict()
    if not settings.get("hf_hub_id"):
        raise EncoderError(
            f"timm:{rest} has no published weights on the hub", hint="choose another of: pellucid encoders list timm:"
        )
    return hub_folder(f"timm:{rest}", settings["hf_hub_id"], allow_download=allow_download), settings


def _described(folder: Path, told: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Architecture, `pretrained_cfg` and arguments of a model, from the folder's config and what timm says of it."""
    import timm

    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        architecture = str(config["architecture"])
        settings = {**told, **{k: v for k, v in (config.get("pretrained_cfg") or {}).items() if v is not None}}
        arguments = dict(config.get("model_args") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"{folder}/config.json does not describe a model of timm",
            hint='it needs "architecture" and "pretrained_cfg"',
        ) from error
    if not timm.is_model(architecture):
        raise unknown("timm model", architecture, timm.list_models())
    arguments.pop("num_classes", None)
    return architecture, settings, arguments
