"""Training of the three energies: the global one from labels alone, the others from images, and their temperatures.

What each is trained for fits together by Bayes' rule: `p(c, y | x) ~ p(y | x) prod_k p(c_k | x) exp(-E_global(c, y))`, if
the image spoke of each concept and of the class independently. It does not, and how much it counts is chosen on held-out images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.energy import Energies, class_loss, concept_loss, initial
from cbm.energy_calibration import calibrated, trusting
from cbm.energy_density import density
from cbm.energy_parts import EnergyBottleneck, parts_of
from cbm.progress import OnProgress, Reading, silent
from cbm.training_set import TrainingSet

FEWEST = 16  # images a step, and steps an epoch, where there are few images
DROPOUT = 0.2  # of the hidden units
PASSES = 0.4  # share of the progress that the labels alone take
OF_CLASSES = ("class_layer", "class_offset", "class_out")
OF_CONCEPTS = ("concept_layer", "concept_offset", "concept_out")


@dataclass(frozen=True)
class EnergyConfig:
    """How energies are trained.

    Attributes
    ----------
    hidden, epochs, batch, rate, decay
        Hidden units, passes over the images and over the labels, images a step, the longest step of Adam, and its weight decay.
    seed
        Of the first parameters and the order.
    """

    hidden: int = 128
    epochs: int = 15
    batch: int = 128
    rate: float = 1e-2
    decay: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Some images: standardised embeddings, concept labels (NaN where unknown) and classes."""

    x: Float[Tensor, "n d"]
    c: Float[Tensor, "n k"]
    y: Int[Tensor, "n"]


@dataclass(frozen=True)
class HeldOut:
    """Losses on held-out images, of all concepts together: by the image, and by the class and the other concepts."""

    by_image: float
    by_labels: float


def train_energies(
    train: TrainingSet, held: TrainingSet, config: EnergyConfig, *, on_progress: OnProgress = silent
) -> tuple[EnergyBottleneck, HeldOut]:
    """The bottleneck of energies trained on annotated images, and what it loses on the images held out.

    Of all epochs, the one with the least loss on `held` is kept, for classes and for concepts apart.

    Notes
    -----
    Adam with one warm-up and a cosine decay instead of the published 300 epochs of plain SGD.
    """
    generator = torch.Generator().manual_seed(config.seed)
    centre, scale = train.x.mean(0), float(train.x.std(0).square().mean().sqrt().clamp(min=1e-6))
    usual = _shares(train)
    images, checked = (_standardised(part, centre, scale) for part in (train, held))
    first = initial(train.x.shape[1], len(train.concepts), len(train.classes), config.hidden, generator)
    coupling, by_labels = density(
        first, usual, (images.c, images.y), (checked.c, checked.y), generator, passes=config.epochs,
        on_progress=lambda done, message: on_progress(PASSES * done, message),
    )  # fmt: skip
    energies = _seen(first, images, checked, config, generator, on_progress)
    on_progress(0.95, "calibrating")
    made = parts_of(energies, torch.ones(3), usual=usual, centre=centre, scale=scale)
    made = replace(made, start=coupling.start, change=coupling.change, global_table=coupling.table)
    made, by_image = calibrated(made, held)
    return trusting(made, held), HeldOut(by_image, by_labels)


def _seen(
    first: Energies,
    images: Batch,
    checked: Batch,
    config: EnergyConfig,
    generator: torch.Generator,
    on_progress: OnProgress,
) -> Energies:
    """Class and concept energies trained by the published losses; embeddings of classes and concepts stay as they are."""
    parameters = {name: getattr(first, name).clone().requires_grad_(True) for name in OF_CLASSES + OF_CONCEPTS}
    energies = replace(first, **parameters)
    adam = torch.optim.AdamW(parameters.values(), lr=config.rate, weight_decay=config.decay)
    size = min(config.batch, max(FEWEST, len(images.x) // FEWEST))
    steps = config.epochs * -(-len(images.x) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, config.rate, total_steps=steps, pct_start=0.1)
    best, kept = {OF_CLASSES: torch.inf, OF_CONCEPTS: torch.inf}, dict[str, Tensor]()
    for epoch in range(config.epochs):
        told = {"loss/best on held-out": sum(best.values())}
        done = PASSES + (0.95 - PASSES) * epoch / config.epochs
        on_progress(done, Reading(f"epoch {epoch + 1} of {config.epochs}", **told))
        for batch in _batches(images, size, generator):
            adam.zero_grad()
            keep = (torch.rand(len(batch.x), config.hidden, generator=generator) >= DROPOUT) / (1 - DROPOUT)
            sum(_losses(energies, batch, keep)).backward()  # type: ignore[union-attr]
            adam.step()
            schedule.step()
        with torch.no_grad():
            reached = _losses(energies, checked)
        for names, loss in zip(best, reached, strict=True):
            if float(loss) < best[names]:
                best[names] = float(loss)
                kept |= {name: parameters[name].detach().clone() for name in names}
    return replace(first, **kept)


def _losses(
    energies: Energies, batch: Batch, keep: Float[Tensor, "n h"] | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The published losses of the class and of the concept energies; they share no parameter, so need no weight."""
    return (
        class_loss(energies.class_energy(batch.x, keep), batch.y),
        concept_loss(energies.concept_energy(batch.x, keep), batch.c),
    )


def _batches(images: Batch, size: int, generator: torch.Generator) -> Iterator[Batch]:
    for rows in torch.split(torch.randperm(len(images.x), generator=generator), size):
        yield Batch(images.x[rows], images.c[rows], images.y[rows])


def _standardised(data: TrainingSet, centre: Float[Tensor, "d"], scale: float) -> Batch:
    assert data.concept_labels is not None
    return Batch((data.x - centre) / scale, data.concept_labels, data.labels)


def _shares(train: TrainingSet) -> Float[Tensor, "k"]:
    """Share of the images with each concept, of those where it is known; a half where it nowhere is."""
    assert train.concept_labels is not None
    return train.concept_labels.nanmean(0).nan_to_num(0.5)
