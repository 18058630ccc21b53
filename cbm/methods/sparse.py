"""Sparse-CBM: few concepts speak on each image, because each has a gate that opens or stays closed.

Scores are those of a concept bank, standardised over the training images and computed once. By default a gate reads the
score of its own concept only, so that a score still means what its name says; the other losses mix scores instead.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from cbm.bottleneck import Bottleneck, GatedBottleneck, LinearBottleneck
from cbm.config import option
from cbm.errors import ModelError
from cbm.heads import LinearHead
from cbm.holdout import fitting_and_held_out
from cbm.methods import Method, Need, posthoc, resolved
from cbm.model import ConceptModel, Recipe
from cbm.progress import OnProgress, part
from cbm.sparse_training import Gated, Loss, Mixed, Reads, Schedule, train_gated, train_mixed
from cbm.training_set import TrainingSet

LARGEST = 4096  # concepts whose every pair has a weight
STRENGTH = {"gumbel": 0.01, "l1": 0.01, "contrastive": 0.1, "similarity": 1.0, "dense": 0.0,
            "paper_diagonal": 1.0, "reference_mean": 1.0}  # fmt: skip
LOSSES = tuple(STRENGTH)


@dataclass(frozen=True)
class Config:
    """Options of the bottleneck, of its training, and of the sparse final layer."""

    loss: Loss = option(
        "gumbel", help="what makes the bottleneck sparse: gates, or a penalty on the mixing of scores; dense does nothing; the last two are the published ones",
        choices=LOSSES,
    )  # fmt: skip
    nec: int | None = option(
        10, help="concepts a class, on average; none keeps the final layer as it was trained with the bottleneck", low=1, high=10_000
    )  # fmt: skip
    strength: float | None = option(
        None, help="what the loss on the bottleneck counts beside the cross-entropy; none is a value that suits it",
        low=0, high=1000,
    )  # fmt: skip
    reads: Reads = option(
        "own", help="what opens a gate: the score of its own concept, or those of all concepts, which may say more than its name", choices=("own", "all")
    )  # fmt: skip
    active: float = option(0.1, help="share of the gates that should be open on an image", low=0.001, high=0.999)
    gate: Literal["hard", "soft"] = option(
        "hard", help="a fitted gate is open or closed, or lets through its probability", choices=("hard", "soft")
    )
    tau: float = option(0.1, help="temperature at which gates are sampled in the end; it begins at 1", low=0.01, high=1)
    positives: int = option(5, help="concepts that belong to a class for the contrastive loss", low=1, high=1000)
    epochs: int = option(40, help="passes over the training images", low=1, high=10_000)
    batch: int = option(128, help="images a step", low=1, high=100_000)
    rate: float = option(5e-3, help="step length of Adam", low=1e-6, high=1)
    seed: int = option(0, help="of the order, of the noise, and of the images that are held out", low=0)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """A concept model of gated or mixed concept scores, trained together with its final layer.

    With `nec`, the final layer is then fitted again on the scores, with that many concepts a class, as the post-hoc CBM
    fits its own; so both can be compared.

    Raises
    ------
    DataError
        If the training images do not do, or no concept differs between them.
    ModelError
        If every pair of concepts would need a weight and there are too many.

    References
    ----------
    Semenov, Ivanov, Beznosikov, Gasnikov, "Sparse concept bottleneck models: Gumbel tricks in contrastive learning",
    2024.

    Notes
    -----
    The published trainer leaves the final layer out of the optimiser, its Gumbel loss has no positive pairs and is
    smallest where all scores are alike, and its forward pass has no gate. Here all that is trained is in the optimiser, the
    gate is in the forward pass, and the contrastive loss has real positives: the concepts with the largest mean score on
    the class. The published losses are `paper_diagonal` and `reference_mean`.
    """
    bank = posthoc.bank_of(data)
    if len(bank) > LARGEST and (config.loss not in ("gumbel", "dense") or config.reads == "all"):
        raise ModelError(
            f"{len(bank):,} concepts have too many pairs to give each a weight; {LARGEST:,} is the most",
            hint="choose reads=own with loss=gumbel, or a smaller bank",
        )
    on_progress(0.0, f"scoring {len(data):,} images on {len(bank)} concepts")
    train, held = fitting_and_held_out(data, seed=config.seed)
    texts, _ = posthoc.standardised_distances(bank, train.x)
    psi = texts(train.x)
    trained = _trained(psi, train, config, part(on_progress, 0.05, 0.6))
    bottleneck, note = _bottleneck(trained, texts, psi, config)
    head, last = _final_layer(trained, bottleneck, psi, train, held, config, part(on_progress, 0.6, 1.0))
    return ConceptModel(
        concepts=bank.names,
        classes=data.classes,
        bottleneck=bottleneck,
        head=head,
        recipe=Recipe(
            METHOD.name, resolved(config), data.encoder_id, data.contract, images=len(train), notes=(note, last)
        ),
        bank=bank,
    )


def _trained(psi: Float[Tensor, "n k"], train: TrainingSet, config: Config, on_progress: OnProgress) -> Gated | Mixed:
    schedule = Schedule(config.epochs, config.batch, config.rate, config.seed)
    strength = STRENGTH[config.loss] if config.strength is None else config.strength
    y, c = train.labels, len(train.classes)
    if config.loss == "gumbel":
        return train_gated(
            psi, y, c, reads=config.reads, strength=strength, active=config.active, tau=config.tau,
            schedule=schedule, on_progress=on_progress,
        )  # fmt: skip
    positive = class_concepts(psi, y, c, config.positives)
    return train_mixed(
        psi, y, c, config.loss, strength=strength, positive=positive, schedule=schedule, on_progress=on_progress
    )


def class_concepts(psi: Float[Tensor, "n k"], y: Int[Tensor, "n"], classes: int, count: int) -> Bool[Tensor, "c k"]:
    """The concepts that belong to each class: those with the largest mean score on its images."""
    means = torch.zeros(classes, psi.shape[1]).index_add_(0, y, psi)
    means /= torch.bincount(y, minlength=classes).clamp_min(1)[:, None]
    strongest = means.topk(min(count, psi.shape[1]), dim=1).indices
    return torch.zeros(means.shape, dtype=torch.bool).scatter_(1, strongest, True)


def _bottleneck(
    trained: Gated | Mixed, texts: LinearBottleneck, psi: Float[Tensor, "n k"], config: Config
) -> tuple[Bottleneck, str]:
    """The bottleneck on embeddings, and what is to be known of it."""
    k = psi.shape[1]
    if isinstance(trained, Gated):
        gated = GatedBottleneck(
            weight=torch.eye(k),
            bias=torch.zeros(k),
            atoms=texts.weight,
            offsets=texts.bias,
            gates=trained.reads @ texts.weight,
            openings=trained.reads @ texts.bias + trained.openings,
            temperature=torch.tensor(0.0 if config.gate == "hard" else 1.0),
        )
        opened = (psi @ trained.reads.T + trained.openings > 0).float()
        never = int((opened.amax(0) == 0).sum())
        silent = f"; {never} never are" if never else ""
        return gated, f"{opened.sum(1).mean():.3g} of {k} concepts are active on a training image{silent}"
    gain = _gain(trained, psi)
    rows = LinearBottleneck(gain[:, None] * (trained.mixing @ texts.weight), gain * (trained.mixing @ texts.bias))
    near = cosine_similarity(rows.weight, texts.weight, dim=1)
    mixed = float((trained.mixing != 0).sum(1).float().mean())
    return (
        rows,
        f"a score mixes {mixed:.3g} concepts and has a cosine of {near.mean():.2f} with its own ({near.min():.2f} at least)",
    )


def _gain(trained: Mixed, psi: Float[Tensor, "n k"]) -> Float[Tensor, "k"]:
    """What brings mixed scores to a standard deviation of one; zero where they are the same on every image."""
    spread = (psi @ trained.mixing.T).double().std(0, correction=0)
    return torch.where(spread > posthoc.SMALLEST_SPREAD, 1 / spread, 0.0).float()


def _final_layer(
    trained: Gated | Mixed,
    bottleneck: Bottleneck,
    psi: Float[Tensor, "n k"],
    train: TrainingSet,
    held: TrainingSet,
    config: Config,
    on_progress: OnProgress,
) -> tuple[LinearHead, str]:
    """The final layer with few concepts a class, fitted again, or as it was trained."""
    if config.nec is not None:
        options = posthoc.Config(nec=config.nec, seed=config.seed)
        solution = posthoc.sparse_head(train, held, bottleneck, options, on_progress)
        return LinearHead(solution.weight, posthoc.settled(solution)), posthoc.head_note(solution, options)
    weight = trained.weight
    if isinstance(trained, Mixed):
        gain = _gain(trained, psi)
        weight = torch.where(gain > 0, weight / gain, 0.0)
    return LinearHead(weight, trained.bias - trained.bias.mean()), "the head uses every concept for every class"


METHOD = Method(
    name="sparse",
    title="Sparse-CBM",
    summary="Gives each concept a gate, so that few speak on an image, and classifies with few of them.",
    paper="Semenov et al.: Sparse Concept Bottleneck Models: Gumbel Tricks in Contrastive Learning, 2024",
    needs=(Need.CONCEPT_BANK,),
    config=Config,
    fit=fit,
)
