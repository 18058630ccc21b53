"""The attention tap on a random ViT-B/32 of open_clip: a pass with everything recorded beside a plain one.

python -m benchmarks.tap
"""

import argparse

import torch

from benchmarks.measure import Row, interleaved, report
from cbm.torchvision_guard import ensure_torchvision
from probes.attention import attention_tap


def measured(images: int, repetitions: int) -> list[Row]:
    """A row for the plain pass and one for the tapped; `off` is the largest difference between their outputs."""
    ensure_torchvision()
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer(224, 32, width=768, layers=12, heads=12, mlp_ratio=4.0, output_dim=512).eval()
    pixels = torch.randn(images, 3, 224, 224)

    @torch.inference_mode()
    def plain() -> torch.Tensor:
        answer: torch.Tensor = tower(pixels)
        return answer

    def tapped() -> torch.Tensor:
        with attention_tap(tower):
            return plain()

    expected = plain()

    def judge(answer: torch.Tensor) -> Row:
        return {"off": float((answer - expected).abs().max() / expected.abs().max())}

    return interleaved({"plain": plain, "tapped": tapped}, judge, repetitions=repetitions, baseline="plain")


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=11)
    a = parser.parse_args()
    report("tap", f"{a.images} images through a random ViT-B/32", measured(a.images, a.repetitions))


if __name__ == "__main__":
    main()
