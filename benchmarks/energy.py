"""Inference of an energy model: mean field and one correction beside the published relaxation, step by step.

    python -m benchmarks.energy

Random parameters at the published size: 112 concepts, 200 classes. The published loop is written as its code computes it,
with an energy network for each concept in turn; ours takes the same steps with everything folded into tables, and the two
must agree. Mean field is another inference, and no drop-in for it.
"""

import argparse

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.measure import Row, interleaved, report
from cbm.bottleneck import Clamp
from cbm.energy import Energies, initial
from cbm.energy_parts import parts_of
from cbm.relaxation import RATE, relaxed

WEIGHTS = (1.0, 1.0, 0.01)
Labels = tuple[Float[Tensor, "n k 2"], Float[Tensor, "n c"]]


def published(energies: Energies, x: Float[Tensor, "n d"], steps: int) -> Labels:
    """The relaxation as published: network after network, gradients of every parameter, the projection at each step."""
    e = Energies(**{name: tensor.clone().requires_grad_(True) for name, tensor in vars(energies).items()})
    k, c = e.concept_out.shape[0], e.class_embedding.shape[0]
    concepts = torch.zeros(len(x), k, 2, requires_grad=True)
    classes = torch.zeros(len(x), c, requires_grad=True)
    adam = torch.optim.Adam([concepts, classes], lr=RATE)
    for _ in range(steps):
        adam.zero_grad()
        y = normalize(torch.softmax(classes, 1) @ e.class_embedding, dim=1)
        q = torch.softmax(concepts, 2)
        a = x @ e.class_layer.T + e.class_offset
        total = WEIGHTS[0] * (torch.relu(a + a * y) @ e.class_out).mean()
        z = x @ e.concept_layer.T + e.concept_offset
        for j in range(k):
            v = normalize(q[:, j] @ e.concept_embedding[j], dim=1)
            total = total + WEIGHTS[1] * (torch.relu(z + z * v) @ e.concept_out[j]).mean()
        picked = torch.where(q[:, :, 1:] > 0.5, e.concept_embedding[:, 1], e.concept_embedding[:, 0])
        g = picked.flatten(1) @ e.global_layer.flatten(1).T + e.global_offset
        total = total + WEIGHTS[2] * (torch.relu(g + g * y) @ e.global_out).mean()
        total.backward(retain_graph=True)
        adam.step()
    return concepts.detach(), classes.detach()


def measured(images: int, steps: int, repetitions: int) -> list[Row]:
    """A row for each way, judged by how far its labels lie from the published ones."""
    k, c, d, hidden = 112, 200, 512, 512
    generator = torch.Generator().manual_seed(0)
    energies = initial(d, k, c, hidden, generator)
    x = torch.randn(images, d, generator=generator)
    joint = parts_of(energies, torch.ones(3), usual=torch.full((k,), 0.5), centre=torch.zeros(d), scale=1.0)
    five = Clamp(torch.arange(k) < 5, torch.ones(k))
    expected = published(energies, x, steps)

    def ours() -> Labels:
        found = relaxed(energies, x, steps=steps)
        return found.concepts, found.classes

    def judge(answer: Labels | Tensor) -> Row:
        if isinstance(answer, Tensor):
            return {"largest_difference": float("nan")}
        return {"largest_difference": max(float((a - b).abs().max()) for a, b in zip(answer, expected, strict=True))}

    def one_image() -> Tensor:
        return joint.head(joint(x[:1], five), x[:1])

    one_image()
    cases = {
        f"ours, {steps} published steps": ours,
        f"published, {steps} steps": lambda: published(energies, x, steps),
        "mean field, all images": lambda: joint(x),
        "one image, five concepts corrected": one_image,
    }
    return interleaved(cases, judge, repetitions=repetitions, baseline=f"ours, {steps} published steps")


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=3)
    a = parser.parse_args()
    rows = measured(a.images, a.steps, a.repetitions)
    report("energy", f"energy inference, {a.images} images, 112 concepts, 200 classes", rows)


if __name__ == "__main__":
    main()
