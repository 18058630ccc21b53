"""From picture files to embeddings: decoding and preparing, and the image tower of a ViT-B/32 with random weights.

    python -m benchmarks.embedding towers
    python -m benchmarks.embedding decode

`mean_loss` and `worst_loss` are what an image's embedding lacks of a cosine of 1 with the one that open_clip's model gives in
single precision;
`difference` is the mean absolute one of prepared pixels from open_clip's transform, in deviations of the pixels. What is
in single precision must agree to 1e-5 and in bf16 to a cosine of 0.999, or there is no table. `images_s` counts images a CPU
second, of one core.
"""

import argparse
import io
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.measure import Row, interleaved, report
from cbm.clip import ClipEncoder, make_clip_encoder
from cbm.int8_tower import NEEDS, in_8_bits
from cbm.onnx_file import quietly
from cbm.preprocessing import Preprocessing
from cbm.torchvision_guard import ensure_torchvision

SIZES = {"500 x 375": (500, 375, 24), "1600 x 1200": (1600, 1200, 8)}  # width, height, number


def vit(layers: int) -> nn.Module:
    """A model with the image tower of ViT-B/32 and hardly a text tower; weights are random."""
    ensure_torchvision()
    from open_clip import CLIP

    torch.manual_seed(0)
    vision = {"image_size": 224, "layers": layers, "width": 768, "patch_size": 32}
    text = {"context_length": 8, "vocab_size": 16, "width": 64, "heads": 1, "layers": 1}
    return CLIP(embed_dim=512, vision_cfg=vision, text_cfg=text).eval()  # type: ignore[arg-type]


def encoders(layers: int) -> dict[str, ClipEncoder]:
    """Ours in the precisions that this installation has."""
    exact, brief = Preprocessing(), Preprocessing(precision="bf16")
    found = {
        "fp32": make_clip_encoder("vit", vit(layers), _no_texts, exact),
        "bf16": make_clip_encoder("vit", vit(layers), _no_texts, brief),
    }
    if all(find_spec(package) for package in NEEDS):
        found["int8"] = in_8_bits(found["fp32"])  # type: ignore[assignment]
    return found


def towers(layers: int, batch: int, repetitions: int) -> list[Row]:
    """A row for each way to compute the same embeddings."""
    model, ours = vit(layers), encoders(layers)
    pixels = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    exact = model.encode_image(pixels, normalize=True).detach()

    def eager(parts: Iterable[Tensor], **options: Any) -> Tensor:
        with torch.no_grad():
            return torch.cat([model.encode_image(part, normalize=True, **options) for part in parts])

    def autocast() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return eager([pixels]).float()

    cases: dict[str, Callable[[], Tensor]] = {"ours, bf16": lambda: ours["bf16"].encode_pixels(pixels)}
    if "int8" in ours:
        cases["ours, int8 (onnxruntime)"] = lambda: ours["int8"].encode_pixels(pixels)
    cases |= {
        "ours, fp32": lambda: ours["fp32"].encode_pixels(pixels),
        "torch, eager": lambda: eager([pixels]),
        "torch, eager, an image at a time": lambda: eager(pixels.split(1)),
        "torch, autocast to bf16": autocast,
    }
    if "int8" in ours:
        cases["onnxruntime, fp32"] = _onnxruntime(model.visual, pixels)

    def judge(found: Tensor) -> Row:
        lost = 1 - (
            nn.functional.normalize(found.double(), dim=1) * nn.functional.normalize(exact.double(), dim=1)
        ).sum(1)
        return {"mean_loss": float(lost.mean()), "worst_loss": float(lost.max())}

    for run in cases.values():
        run()  # what is made at first use is not counted
    rows = interleaved(cases, judge, repetitions=repetitions, baseline="ours, bf16")
    by_name = {str(row["case"]): row for row in rows}
    if not torch.allclose(ours["fp32"].encode_pixels(pixels), exact, atol=1e-5):
        raise SystemExit("our embeddings in single precision are not open_clip's")
    if float(by_name["ours, bf16"]["worst_loss"]) > 0.001:
        raise SystemExit("our embeddings in bf16 are too far from open_clip's")
    return [{**row, "images_s": batch / max(float(row["cpu_s"]), 1e-9)} for row in rows]


def decode(repetitions: int) -> list[Row]:
    """A row for each way to make the same pixels of JPEG files, for photographs as the web has them and as phones make them."""
    ensure_torchvision()
    from open_clip.transform import image_transform

    theirs, ours = image_transform(224, is_train=False), Preprocessing()
    fast = replace(ours, fast_decode=True)
    rows: list[Row] = []
    for name, (width, height, count) in SIZES.items():
        files = [_jpeg(width, height, seed) for seed in range(count)]
        cases: dict[str, Callable[[], list[np.ndarray]]] = {
            "ours": lambda files=files: [ours(ours.read(file)) for file in files],
            "ours, fast decode": lambda files=files: [fast(fast.read(file)) for file in files],
            "open_clip's transform": lambda files=files: [
                theirs(Image.open(io.BytesIO(file))).numpy() for file in files
            ],
        }
        exact = cases["open_clip's transform"]()

        def judge(found: list[np.ndarray], exact: list[np.ndarray] = exact) -> Row:
            return {"difference": float(np.mean([np.abs(a - b).mean() for a, b in zip(found, exact, strict=True)]))}

        measured = interleaved(cases, judge, repetitions=repetitions, baseline="ours")
        if float(measured[0]["difference"]) > 1e-6:
            raise SystemExit("our pixels are not open_clip's")
        rows += [
            {
                "what": name,
                **row,
                "ms_an_image": 1000 * float(row["cpu_s"]) / count,
                "images_s": count / float(row["cpu_s"]),
            }
            for row in measured
        ]
    return rows


def _onnxruntime(visual: nn.Module, pixels: Tensor) -> Callable[[], Tensor]:
    """The tower as one would export it, without ours."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder, quietly():
        file, names = str(Path(folder) / "tower.onnx"), {"input_names": ["x"], "output_names": ["y"]}
        axes = {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(visual, (pixels[:2],), file, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: torch.from_numpy(session.run(None, {"x": pixels.numpy()})[0])


def _jpeg(width: int, height: int, seed: int) -> bytes:
    """A picture whose spectrum falls as those of photographs do."""
    numbers = np.random.default_rng(seed)
    across, down = np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height))
    strength = 1 / np.maximum(np.hypot(across, down), 1 / width) ** 1.1
    waves = [
        np.fft.irfft2(strength * np.exp(2j * np.pi * numbers.random(strength.shape)), s=(height, width)) for _ in "rgb"
    ]
    picture = 0.4 * np.stack(waves, 2) + 0.6 * np.mean(waves, 0)[:, :, None]
    levels = np.clip((picture - picture.mean()) / picture.std() * 55 + 120, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=90)
    return file.getvalue()


def _no_texts(texts: list[str]) -> Tensor:
    return torch.zeros(len(texts), 8, dtype=torch.long)


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("towers", "decode"))
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=5)
    a = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if a.what == "decode":
        return report("decode", "JPEG files to prepared pixels, 224 x 224", decode(a.repetitions))
    tokens, width = 50, 768
    products = 2 * tokens * width * width * 12 * a.layers + 2 * 3 * 32 * 32 * (tokens - 1) * width
    attention = 2 * 2 * tokens * tokens * width * a.layers
    absent = [package for package in NEEDS if not find_spec(package)]
    rows = towers(a.layers, a.batch, a.repetitions)
    title = f"{a.batch} images through a ViT-B/32" + (f" of {a.layers} layers" if a.layers != 12 else "")
    report("towers", title, rows, absent, multiplications=float(a.batch * (products + attention)))


if __name__ == "__main__":
    main()
