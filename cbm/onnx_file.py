"""A concept model as ONNX: from an embedding, or from prepared pixels, to concept scores and class logits.

The graph is traced with zeros, so no image or embedding of anybody travels in the file, and what is written is run
once by onnxruntime and compared with the model before it is kept.
"""

import hashlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cbm.errors import BundleError, ModelError, PellucidError
from cbm.model import ConceptModel

if TYPE_CHECKING:
    from cbm.encoders import Encoder

TOLERANCE = 1e-4  # largest difference of a score or logit, relative to the largest of its kind where that is above 1
CHECKED = 4  # inputs of each check


@dataclass(frozen=True)
class OnnxFile:
    """What was written.

    Attributes
    ----------
    input
        "embedding" `[n d]`, or "pixels" `[n 3 h w]` prepared as the encoder's preprocessing says.
    difference
        Largest absolute difference of a score or logit between onnxruntime and the model, on random inputs.
    """

    path: Path
    sha256: str
    input: str
    difference: float


def write_onnx(model: ConceptModel, path: str | Path, *, encoder: "Encoder | None" = None) -> OnnxFile:
    """Write a model as one `.onnx` file with outputs "scores" `[n k]` and "logits" `[n c]`.

    Parameters
    ----------
    encoder
        Put its image tower in front, so that the file reads prepared pixels; without one it reads embeddings.

    Raises
    ------
    ModelError
        If onnx is not installed, or the model or encoder has an operation that ONNX lacks.
    BundleError
        If the path cannot be written, or onnxruntime does not reproduce the model to 1e-4; nothing is kept then.
    """
    target = Path(path)
    network, example, name = _network(model, encoder)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".writing-", suffix=".onnx")
    os.close(handle)
    try:
        _export(network, torch.zeros_like(example), name, Path(temporary), _metadata(model, encoder))
        difference = _checked(network, example, name, Path(temporary))
        os.replace(temporary, target)
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror}", hint="choose another place") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return OnnxFile(target, hashlib.sha256(target.read_bytes()).hexdigest(), name, difference)


class _Decision(nn.Module):
    """Scores and logits of embeddings, or of pixels when there is an image tower."""

    def __init__(self, model: ConceptModel, tower: nn.Module | None) -> None:
        super().__init__()
        self.model, self.tower = model, tower
        self.eval()

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        x = given if self.tower is None else nn.functional.normalize(self.tower(given), dim=-1)
        scores = self.model.scores(x)
        return scores, self.model.head(scores, x)


def _network(model: ConceptModel, encoder: "Encoder | None") -> tuple[_Decision, Tensor, str]:
    """The network, random input to check it with, and the name of its input."""
    numbers = torch.Generator().manual_seed(0)
    if encoder is None:
        return _Decision(model, None), torch.randn(CHECKED, width_of(model), generator=numbers), "embedding"
    from cbm.encoders import check_contract

    check_contract(encoder, model.recipe.contract)
    tower = getattr(encoder, "visual", None)
    if not isinstance(tower, nn.Module):
        raise ModelError(f"the image tower of {encoder.id} cannot be exported", hint="export without it")
    pixels = torch.randn(CHECKED, 3, *encoder.preprocessing.size, generator=numbers)
    return _Decision(model, deepcopy(tower).float().cpu()), pixels, "pixels"


def width_of(model: ConceptModel) -> int:
    """Numbers in an embedding that the model reads.

    Raises
    ------
    ModelError
        If its parts do not say.
    """
    for part, names in ((model.bottleneck, ("atoms", "concept_layer", "weight")), (model.head, ("residual",))):
        for name in names:
            rows = getattr(part, name, None)
            if isinstance(rows, Tensor) and rows.shape[0]:
                return int(rows.shape[1])
    raise ModelError(f"a model made by {model.recipe.method} does not say how wide an embedding is")


def _export(network: _Decision, zeros: Float[Tensor, "..."], name: str, path: Path, metadata: dict[str, str]) -> None:
    try:
        import onnx  # noqa: F401, the exporter needs it
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError("ONNX files need the extra packages", hint="pip install 'pellucid[onnx]'") from error
    try:
        with quietly():
            program: Any = torch.onnx.export(
                network,
                (zeros,),
                dynamo=True,
                input_names=[name],
                output_names=["scores", "logits"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                verbose=False,
            )
    except PellucidError:
        raise
    except Exception as error:
        raise _impossible(network) from error
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with the folders of this machine
    program.model.metadata_props.update(metadata)
    program.save(str(path))


def _impossible(network: _Decision) -> ModelError:
    made = network.model.recipe.method
    return ModelError(
        f"a model made by {made} cannot be written as ONNX: it computes what ONNX lacks", hint="export a bundle instead"
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Without the exporter's advice to its own authors."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _metadata(model: ConceptModel, encoder: "Encoder | None") -> dict[str, str]:
    prepared = "" if encoder is None else json.dumps(encoder.preprocessing.to_dict())
    return {
        "encoder": model.recipe.encoder_id,
        "contract": model.recipe.contract,
        "classes": json.dumps(model.classes),
        "concepts": json.dumps(model.concepts),
        **({"preprocessing": prepared} if prepared else {}),
    }


@torch.no_grad()
def _checked(network: _Decision, example: Tensor, name: str, path: Path) -> float:
    """Largest difference of a score or logit; raises when onnxruntime disagrees."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = []
    for batch in (example, example[:1]):
        try:
            theirs = session.run(["scores", "logits"], {name: batch.numpy()})
        except Exception as error:  # of its own, for every way in which a graph can be wrong
            raise _impossible(network) from error
        for found, wanted in zip(theirs, network(batch), strict=True):
            difference = float((torch.as_tensor(found) - wanted).abs().max()) if wanted.numel() else 0.0
            if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max()) if wanted.numel() else 1.0):
                raise BundleError(f"onnxruntime differs from the model by {difference:.2g}; nothing was written")
            differences.append(difference)
    return max(differences)
