"""Models and banks as files: safetensors for numbers, JSON for everything else, a checksum for each file.

Nothing is ever unpickled. A bundle is a folder, or a zip when its name ends in `.zip`; it is written beside its
place and moved there whole, and it is refused when a file is missing, changed, of another kind, or newer than this
version can read.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
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
from cbm.bottleneck import LinearBottleneck
from cbm.errors import BundleError, PellucidError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Json, Recipe

SCHEMA = 1
LARGEST_FILE = 4 << 30  # bytes of one file inside a bundle
REQUIRED = ("model.safetensors", "config.json", "concepts.json", "preprocess.json", "edits.jsonl", "SHA256SUMS")
OPTIONAL = ("metrics.json", "README.md", "LICENSES")


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
) -> Path:
    """Write a model as a bundle and return where it lies.

    Parameters
    ----------
    path
        A folder, or a zip file when it ends in `.zip`. Must not exist, or be a bundle that is replaced whole.
    metrics, preprocessing, card, licenses
        What `pellucid eval` measured, the encoder's preprocessing contract, the text of the model card, and the
        licences of what is inside; each optional.

    Raises
    ------
    BundleError
        If the path is taken by something that is not a bundle, or cannot be written.
    """
    files = _model_files(model)
    files["preprocess.json"] = _json({"encoder": model.recipe.encoder_id, "contract": model.recipe.contract,
                                      **(preprocessing or {})})  # fmt: skip
    extra = {"metrics.json": _json(metrics) if metrics else b"", "README.md": card.encode(), "LICENSES": licenses.encode()}
    files.update({name: content for name, content in extra.items() if content})
    return _write(Path(path), files)


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
    files = _read(Path(path))
    _check_sums(files)
    config = _parse(files, "config.json")
    schema = config.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise BundleError(
            f"this bundle has schema {schema}; this version of Pellucid reads up to {SCHEMA}", hint="update Pellucid"
        )
    return files


def save_bank(bank: ConceptBank, path: str | Path) -> Path:
    """Write a concept bank as a folder (or zip) of `bank.safetensors` and `bank.json`."""
    return _write(Path(path), _bank_files(bank))


def load_bank(path: str | Path) -> ConceptBank:
    """The concept bank at a path; `BundleError` if it is damaged."""
    files = _read(Path(path), required=("bank.safetensors", "bank.json", "SHA256SUMS"))
    _check_sums(files)
    record, tensors = _parse(files, "bank.json"), _tensors(files, "bank.safetensors")
    return _rebuild_bank(record, tensors)


def _model_files(model: ConceptModel) -> dict[str, bytes]:
    if not isinstance(model.bottleneck, LinearBottleneck) or not isinstance(model.head, LinearHead):
        raise BundleError(f"a model made by {model.recipe.method} has parts that this version cannot save")
    tensors = {"bottleneck.weight": model.bottleneck.weight, "bottleneck.bias": model.bottleneck.bias,
               "head.weight": model.head.weight, "head.bias": model.head.bias}  # fmt: skip
    if model.head.residual is not None:
        tensors["head.residual"] = model.head.residual
    if model.bank is not None:
        tensors |= {"bank.vectors": model.bank.vectors, "bank.intercepts": model.bank.intercepts}
    config = {"schema": SCHEMA, "kind": "concept-model", "classes": list(model.classes), "recipe": asdict(model.recipe),
              "bottleneck": "linear", "head": "linear"}  # fmt: skip
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
        model = ConceptModel(
            concepts=tuple(concepts["names"]),
            classes=tuple(config["classes"]),
            bottleneck=LinearBottleneck(tensors["bottleneck.weight"], tensors["bottleneck.bias"]),
            head=LinearHead(tensors["head.weight"], tensors["head.bias"], tensors.get("head.residual")),
            recipe=Recipe(**recipe),
            bank=bank,
            edits=edits_module.loads("[" + ",".join(files["edits.jsonl"].decode().splitlines()) + "]"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the bundle is incomplete: {error!r}", hint="export it again") from error
    _check_shapes(model)
    return model


def _check_shapes(model: ConceptModel) -> None:
    assert isinstance(model.bottleneck, LinearBottleneck) and isinstance(model.head, LinearHead)
    k, c, d = len(model.concepts), len(model.classes), model.bottleneck.weight.shape[-1]
    residual = model.head.residual
    wanted = {"bottleneck.weight": (model.bottleneck.weight, (k, d)), "bottleneck.bias": (model.bottleneck.bias, (k,)),
              "head.weight": (model.head.weight, (c, k)), "head.bias": (model.head.bias, (c,))}  # fmt: skip
    if residual is not None:
        wanted["head.residual"] = (residual, (c, d))
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise BundleError(f"the tensor {name} has shape {tuple(tensor.shape)}; {shape} was expected")
        if not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"the tensor {name} holds numbers that are not finite")


def _bank_record(bank: ConceptBank) -> dict[str, Any]:
    return {"schema": SCHEMA, "names": list(bank.names), "origin": [asdict(o) for o in bank.origin],
            "quality": [asdict(q) for q in bank.quality], "encoder_id": bank.encoder_id, "contract": bank.contract,
            "groups": dict(bank.groups)}  # fmt: skip


def _bank_files(bank: ConceptBank) -> dict[str, bytes]:
    tensors = _tensor_bytes({"vectors": bank.vectors, "intercepts": bank.intercepts})
    return {"bank.safetensors": tensors, "bank.json": _json(_bank_record(bank))}


def _rebuild_bank(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ConceptBank:
    try:
        return ConceptBank(
            names=tuple(record["names"]),
            vectors=tensors["vectors"],
            intercepts=tensors["intercepts"],
            origin=tuple(Origin(**origin) for origin in record["origin"]),
            quality=tuple(Quality(**quality) for quality in record["quality"]),
            encoder_id=record["encoder_id"],
            contract=record["contract"],
            groups=dict(record["groups"]),
        )
    except (KeyError, TypeError, PellucidError) as error:
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


def _check_sums(files: Mapping[str, bytes]) -> None:
    listed = dict(reversed(line.split("  ", 1)) for line in files["SHA256SUMS"].decode().splitlines() if "  " in line)
    for name, content in files.items():
        if name != "SHA256SUMS" and hashlib.sha256(content).hexdigest() != listed.get(name):
            raise BundleError(f"{name} does not match its checksum", hint="the bundle is damaged; export it again")
    missing = set(listed) - set(files)
    if missing:
        raise BundleError(f"the bundle lacks {sorted(missing)[0]}, which its checksums list")


def _write(path: Path, files: dict[str, bytes]) -> Path:
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    files = {**files, "SHA256SUMS": sums.encode()}
    if path.exists() and not _is_bundle(path):
        raise BundleError(f"{path} exists and is not a bundle", hint="choose another place")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        return _write_zip(path, files)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        for name, content in files.items():
            _write_synced(staging / name, content)
        if path.exists():
            shutil.rmtree(path)
        os.replace(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return path


def _write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    staging = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo's fixed date: equal models, equal bytes
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
    return path


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _is_bundle(path: Path) -> bool:
    if path.is_dir():
        return (path / "SHA256SUMS").is_file() or not any(path.iterdir())
    return zipfile.is_zipfile(path)


def _read(path: Path, required: tuple[str, ...] = REQUIRED) -> dict[str, bytes]:
    if path.is_dir():
        files = {entry.name: _small(entry.name, entry.stat().st_size, entry.read_bytes) for entry in _entries(path)}
    elif zipfile.is_zipfile(path):
        files = _read_zip(path)
    else:
        raise BundleError(f"{path.name} is not a bundle", hint="give a bundle's folder or its zip file")
    missing = [name for name in required if name not in files]
    if missing:
        raise BundleError(f"the bundle lacks {missing[0]}", hint="export it again")
    allowed = {*required, *OPTIONAL}
    strange = [name for name in files if name not in allowed]
    if strange:
        raise BundleError(
            f"the bundle holds {strange[0]!r}, which does not belong there; nothing of it was read",
            hint="a bundle holds safetensors and JSON only; pickles and scripts are refused",
        )
    return files


def _entries(path: Path) -> list[Path]:
    entries = list(path.iterdir())
    for entry in entries:
        if entry.is_symlink() or not entry.is_file():
            raise BundleError(f"the bundle holds {entry.name!r}, which is not a plain file")
    return entries


def _read_zip(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if len(infos) > 64 or len({info.filename for info in infos}) != len(infos):
                raise BundleError("the zip holds too many files, or one name twice")
            return {info.filename: _small(info.filename, info.file_size, lambda i=info: archive.read(i)) for info in infos}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path.name} is a damaged zip", hint="export the bundle again") from error


def _small(name: str, size: int, read: Any) -> bytes:
    if size > LARGEST_FILE:
        raise BundleError(f"{name} has {size:,} bytes; the limit is {LARGEST_FILE:,}")
    content: bytes = read()
    return content
