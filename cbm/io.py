"""Models and banks as files: safetensors for numbers, JSON for everything else, a checksum for each file.

Nothing is ever unpickled. A bundle is a folder, or a zip when its name ends in `.zip`; it is written beside its
place and moved there whole, and it is refused when a file is missing, changed, of another kind, or newer than this
version can read.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cbm import edits as edits_module
from cbm.bank import ConceptBank, Origin, Quality
from cbm.bottleneck import GatedBottleneck, LinearBottleneck, ProfileBottleneck, ReluBottleneck
from cbm.bundle_files import read_bundle, write_bundle
from cbm.energy_parts import EnergyBottleneck, EnergyHead, energy_shapes
from cbm.errors import BundleError, PellucidError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Json, Recipe

SCHEMA = 1
REQUIRED = ("model.safetensors", "config.json", "concepts.json", "preprocess.json", "edits.jsonl")
BOTTLENECKS = {
    "linear": LinearBottleneck,
    "profile": ProfileBottleneck,
    "relu": ReluBottleneck,
    "gated": GatedBottleneck,
    "energy": EnergyBottleneck,
}  # parts whose fields are all tensors
HEADS = {"linear": LinearHead, "energy": EnergyHead}
OPTIONAL = ("metrics.json", "README.md", "LICENSES", "CITATION.bib")


def fingerprint(value: ConceptModel | ConceptBank) -> str:
    """Sha256 over everything that a model or bank is, edits and names included; equal values have equal ones."""
    files = _model_files(value) if isinstance(value, ConceptModel) else _bank_files(value)
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


def save(
    model: ConceptModel,
    path: str | Path,
    *,
    metrics: Mapping[str, Json] | None = None,
    preprocessing: Mapping[str, Json] | None = None,
    card: str = "",
    licenses: str = "",
    citation: str = "",
) -> Path:
    """Write a model as a bundle and return where it lies.

    Parameters
    ----------
    path
        A folder, or a zip file when it ends in `.zip`. Must not exist, or be a bundle that is replaced whole.
    metrics, preprocessing, card, licenses, citation
        What `pellucid eval` measured, the encoder's preprocessing contract, the text of the model card, the licences of
        what is inside, and BibTeX entries; each optional.

    Raises
    ------
    BundleError
        If the path is taken by something that is not a bundle, or cannot be written.
    """
    files = _model_files(model)
    files["preprocess.json"] = _json({"encoder": model.recipe.encoder_id, "contract": model.recipe.contract,
                                      **(preprocessing or {})})  # fmt: skip
    extra = {
        "metrics.json": _json(metrics) if metrics else b"",
        "README.md": card.encode(),
        "LICENSES": licenses.encode(),
        "CITATION.bib": citation.encode(),
    }
    files.update({name: content for name, content in extra.items() if content})
    return write_bundle(Path(path), files, replaces=(*REQUIRED, *OPTIONAL))


def load(path: str | Path) -> ConceptModel:
    """The model in a bundle.

    Raises
    ------
    BundleError
        If a file is missing, damaged, unsafe or unexpected, or the schema is newer than this version reads.
    """
    return _model(read_files(path))


def read_files(path: str | Path) -> dict[str, bytes]:
    """Name and content of every file of a bundle, all checked against the checksums."""
    files = read_bundle(Path(path), required=REQUIRED, optional=OPTIONAL)
    config = _parse(files, "config.json")
    schema = config.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise BundleError(
            f"this bundle has schema {schema}; this version of Pellucid reads up to {SCHEMA}", hint="update Pellucid"
        )
    return files


def save_bank(bank: ConceptBank, path: str | Path) -> Path:
    """Write a concept bank as a folder (or zip) of `bank.safetensors` and `bank.json`."""
    files = _bank_files(bank)
    return write_bundle(Path(path), files, replaces=tuple(files))


def load_bank(path: str | Path) -> ConceptBank:
    """The concept bank at a path; `BundleError` if it is damaged."""
    files = read_bundle(Path(path), required=("bank.safetensors", "bank.json"))
    record, tensors = _parse(files, "bank.json"), _tensors(files, "bank.safetensors")
    return _rebuild_bank(record, tensors)


def _model_files(model: ConceptModel) -> dict[str, bytes]:
    bottleneck, head = _kind(model.bottleneck, BOTTLENECKS), _kind(model.head, HEADS)
    tensors = _part("bottleneck", model.bottleneck) | _part("head", model.head)
    if model.bank is not None:
        tensors |= {"bank.vectors": model.bank.vectors, "bank.intercepts": model.bank.intercepts}
    config = {"schema": SCHEMA, "kind": "concept-model", "classes": list(model.classes), "recipe": asdict(model.recipe),
              "bottleneck": bottleneck, "head": head}  # fmt: skip
    bank = None if model.bank is None else _bank_record(model.bank)
    return {
        "model.safetensors": _tensor_bytes(tensors),
        "config.json": _json(config),
        "concepts.json": _json({"names": list(model.concepts), "bank": bank}),
        "edits.jsonl": "".join(
            json.dumps(edits_module.to_json(edit), sort_keys=True) + "\n" for edit in model.edits
        ).encode(),
    }


def _model(files: Mapping[str, bytes]) -> ConceptModel:
    config, concepts = _parse(files, "config.json"), _parse(files, "concepts.json")
    tensors = _tensors(files, "model.safetensors")
    try:
        recipe = dict(config["recipe"])
        recipe["notes"] = tuple(recipe.get("notes", ()))
        bank = None
        if concepts["bank"] is not None:
            vectors = {"vectors": tensors["bank.vectors"], "intercepts": tensors["bank.intercepts"]}
            bank = _rebuild_bank(concepts["bank"], vectors)
        names, classes = _names(concepts["names"]), _names(config["classes"])
        if bank is not None and bank.names != names:
            raise BundleError("the concept bank in the bundle is not the model's", hint="export it again")
        _check_shapes(tensors, len(names), len(classes))
        return ConceptModel(
            concepts=names,
            classes=classes,
            bottleneck=BOTTLENECKS[config["bottleneck"]](**_fields_of("bottleneck", tensors)),
            head=HEADS[config["head"]](**_fields_of("head", tensors)),
            recipe=Recipe(**recipe),
            bank=bank,
            edits=edits_module.loads("[" + ",".join(files["edits.jsonl"].decode().splitlines()) + "]"),
        )
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, PellucidError) as error:
        raise BundleError(f"the bundle is incomplete: {error!r}", hint="export it again") from error


def _kind(part: object, kinds: Mapping[str, type]) -> str:
    """The name under which a bundle keeps this kind of bottleneck or head."""
    names = [name for name, kind in kinds.items() if type(part) is kind]
    if not names:
        raise BundleError(f"a {type(part).__name__} is a part that this version cannot save")
    return names[0]


def _part(prefix: str, part: object) -> dict[str, Tensor]:
    """The tensors of a bottleneck or head, by the names of its fields."""
    return {f"{prefix}.{name}": tensor for name, tensor in vars(part).items() if tensor is not None}


def _fields_of(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _names(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise BundleError("the names in the bundle are not texts", hint="export it again")
    return tuple(given)


def _check_shapes(tensors: Mapping[str, Tensor], k: int, c: int) -> None:
    """Every tensor finite, of single precision and of the shape that `k` concepts and `c` classes ask for."""
    shapes = energy_shapes if "bottleneck.concept_table" in tensors else _linear_shapes
    wanted = shapes(tensors, k, c)
    for name, tensor in tensors.items():
        shape = wanted.get(name)
        if shape is None or tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            raise BundleError(
                f"the tensor {name} has shape {tuple(tensor.shape)} of {tensor.dtype}; {shape} of float32 was expected"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"the tensor {name} holds numbers that are not finite")


def _linear_shapes(tensors: Mapping[str, Tensor], k: int, c: int) -> dict[str, tuple[int, ...]]:
    """The shapes of every part that scores with one row a concept, by the names in a bundle."""
    atoms = tensors.get("bottleneck.atoms", tensors["bottleneck.weight"])
    d, m = atoms.shape[-1:].numel(), atoms.shape[:1].numel()
    width = m if "bottleneck.atoms" in tensors else d
    return {"bottleneck.weight": (k, width), "bottleneck.atoms": (m, d), "bottleneck.offsets": (m,),
            "bottleneck.thresholds": (m,), "bottleneck.gates": (m, d), "bottleneck.openings": (m,), "bottleneck.temperature": (),
            "bottleneck.bias": (k,), "head.weight": (c, k), "head.bias": (c,),
            "head.residual": (c, d), "bottleneck.gram": (d, d), "bottleneck.total": (d,), "bank.vectors": (k, d),
            "bank.intercepts": (k,)}  # fmt: skip


def _bank_record(bank: ConceptBank) -> dict[str, Any]:
    return {"schema": SCHEMA, "names": list(bank.names), "origin": [_origin_record(o) for o in bank.origin],
            "quality": [asdict(q) for q in bank.quality], "encoder_id": bank.encoder_id, "contract": bank.contract,
            "groups": dict(bank.groups)}  # fmt: skip


def _origin_record(origin: Origin) -> dict[str, Any]:
    """Without what it does not have, so that banks of earlier versions keep their fingerprints."""
    return {
        key: value for key, value in asdict(origin).items() if key in ("source", "detail") or value not in ((), None)
    }


def _origin(record: Mapping[str, Any]) -> Origin:
    words = tuple((str(word), float(close)) for word, close in record.get("words", ()))
    threshold = record.get("threshold")
    return Origin(**{**record, "words": words, "threshold": None if threshold is None else float(threshold)})


def _bank_files(bank: ConceptBank) -> dict[str, bytes]:
    tensors = _tensor_bytes({"vectors": bank.vectors, "intercepts": bank.intercepts})
    return {"bank.safetensors": tensors, "bank.json": _json(_bank_record(bank))}


def _rebuild_bank(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ConceptBank:
    try:
        return ConceptBank(
            names=_names(record["names"]),
            vectors=tensors["vectors"],
            intercepts=tensors["intercepts"],
            origin=tuple(_origin(origin) for origin in record["origin"]),
            quality=tuple(Quality(**quality) for quality in record["quality"]),
            encoder_id=record["encoder_id"],
            contract=record["contract"],
            groups=dict(record["groups"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, PellucidError) as error:
        raise BundleError(f"the concept bank is damaged: {error!r}", hint="build or export it again") from error


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: tensor.detach().float().contiguous().clone() for name, tensor in tensors.items()})


def _tensors(files: Mapping[str, bytes], name: str) -> dict[str, Tensor]:
    try:
        return load_tensors(files[name])
    except Exception as error:  # safetensors raises its own type, ValueError or OverflowError on damaged headers
        raise BundleError(f"{name} is not a safetensors file", hint="export the bundle again") from error


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _parse(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        value = json.loads(files[name])
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is not JSON", hint="export the bundle again") from error
    if not isinstance(value, dict):
        raise BundleError(f"{name} does not hold a JSON object")
    return value
