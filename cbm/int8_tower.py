"""An image tower whose matrix products run in 8 bits, by onnxruntime: several times faster where the processor has them.

Weights are rounded once, a scale for each output; what they are multiplied with is rounded as it comes, one scale for a whole
batch. So an embedding depends, in its third digit, on the images beside it: batches are fixed where embeddings are kept.
Convolutions stay in single precision: rounded too, those of builtin:photo lose their meaning (cosine 0.84, where products alone keep
0.9999), and onnxruntime is not faster at them.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cbm.encoders import Encoder
from cbm.errors import EncoderError
from cbm.onnx_file import quietly
from cbm.variants import changed
from cbm.whole_files import write_bytes

RECIPE = "int8 1"  # part of the contract; to be changed with what decides the numbers below
OPERATORS = ("MatMul", "Gemm")
NEEDS = ("onnx", "onnxruntime")


def in_8_bits(encoder: Encoder, *, keep: Path | None = None) -> Encoder:
    """The encoder with an 8-bit image tower; its texts, and what looks into its tower, stay as they are.

    Parameters
    ----------
    keep
        A folder where the tower is kept for the next time.

    Raises
    ------
    EncoderError
        If onnxruntime is not installed, or the encoder has no image tower in single precision on the CPU.
    """
    if any(find_spec(package) is None for package in NEEDS):
        raise EncoderError("8-bit encoders need the extra packages", hint="pip install 'pellucid[onnx]'")
    visual = getattr(encoder, "visual", None)
    if not isinstance(visual, nn.Module):
        raise EncoderError(f"{encoder.id} has no image tower that can be put into 8 bits", hint="load it in fp32")
    like = next(visual.parameters())
    if like.device.type != "cpu":
        raise EncoderError("8-bit products run on the processor only", hint="use bf16 on this device, or --device cpu")
    if like.dtype != torch.float32:
        raise EncoderError("an 8-bit tower is made from one in fp32", hint="load the encoder in fp32")
    prepared = replace(encoder.preprocessing, precision="int8")
    file = keep / f"{encoder.contract[:32]}-{RECIPE.replace(' ', '-')}.onnx" if keep is not None else None
    return changed(encoder, RECIPE, preprocessing=prepared, engine=Int8Tower(visual, prepared.size, file))


class Int8Tower:
    """Pixels to embeddings of any length; made when it is first called.

    Parameters
    ----------
    visual
        The image tower in single precision.
    size
        Height and width of the images.
    file
        Where it is kept, or is to be.
    """

    def __init__(self, visual: nn.Module, size: tuple[int, int], file: Path | None = None) -> None:
        self.visual, self.size, self.file = visual, size, file
        self._content = b""
        self._session: tuple[int, Any] | None = None

    def __call__(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """As many threads as torch has; onnxruntime gives the same bytes for any number."""
        threads = torch.get_num_threads()
        if self._session is None or self._session[0] != threads:
            self._session = threads, _session(self._read(), threads)
        [embedding] = self._session[1].run(None, {"pixels": np.ascontiguousarray(pixels.numpy(), np.float32)})
        return torch.from_numpy(embedding)

    def _read(self) -> bytes:
        if not self._content and self.file is not None and self.file.is_file():
            self._content = self.file.read_bytes()
        if not self._content:
            self._content = _in_8_bits(self.visual, self.size)
            if self.file is not None:
                write_bytes(self.file, self._content)
        return self._content


def _in_8_bits(visual: nn.Module, size: tuple[int, int]) -> bytes:
    """The tower as ONNX, with 8-bit products."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quietly(), _plain_attention():
        exact, rounded = Path(folder) / "exact.onnx", Path(folder) / "rounded.onnx"
        try:
            torch.onnx.export(
                deepcopy(visual),
                (torch.zeros(2, 3, *size),),
                str(exact),
                dynamo=False,  # the newer exporter writes attention in a way that is not recognised as products
                opset_version=17,
                input_names=["pixels"],
                output_names=["embedding"],
                dynamic_axes={"pixels": {0: "n"}, "embedding": {0: "n"}},
            )
            quantize_dynamic(
                exact, rounded, op_types_to_quantize=list(OPERATORS), per_channel=True, weight_type=QuantType.QInt8
            )
        except Exception as error:  # of their own, for every way in which a network can be strange to them
            raise EncoderError(
                f"this image tower cannot be put into 8 bits: {str(error).partition(chr(10))[0][:200]}",
                hint="load it in fp32 or bf16",
            ) from error
        return rounded.read_bytes()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Within it, attention is made of operations that ONNX has."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting must not cost a busy machine
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
