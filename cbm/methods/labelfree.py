"""Label-free CBM: a backbone learns to score concepts as an image-text encoder does, without any annotation.

For each concept, a direction in the backbone's space is fitted so that its activations agree with the similarities
between the images and the concept's text. Concepts that it cannot learn are left out; a sparse head does the rest.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.bank import ConceptBank, Quality
from cbm.config import option
from cbm.cos_cubed import cos_cubed, cubed
from cbm.errors import DataError
from cbm.holdout import fitting_and_held_out
from cbm.methods import Method, Need, posthoc, resolved
from cbm.model import ConceptModel
from cbm.progress import OnProgress, Reading, part, silent
from cbm.training_set import TrainingSet, fitting_split

EVERY = 25  # steps between two looks at the held-out images
RIDGE = 1e-3  # of the first guess, as a share of the mean variance
STRONGEST = 5  # images that say whether a concept is seen at all


@dataclass(frozen=True)
class Config(posthoc.Config):
    """Options of the projection and of the sparse head."""

    interpretability: float = option(
        0.45, help="leave out concepts whose agreement (cos-cubed) on held-out training images is not above this", low=-1, high=1
    )  # fmt: skip
    visible: float | None = option(
        None, help="leave out concepts whose five closest training images have no larger mean cosine; 0.25 suits CLIP",
        low=-1, high=1,
    )  # fmt: skip
    rate: float = option(0.01, help="step length of Adam", low=1e-6, high=1)
    steps: int = option(
        1000, help="largest number of steps; held-out training images end it earlier", low=0, high=100_000
    )


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """A concept model whose concepts were learned from a text encoder's similarities.

    The encoder of the bank may be another one than that of `x`; its embeddings of the same images are `concept_x` then.

    Raises
    ------
    DataError
        If the training images do not do, the bank belongs to neither encoder, or no concept can be learned.

    References
    ----------
    Oikarinen, Das, Nguyen, Weng, "Label-free concept bottleneck models", ICLR 2023.

    Notes
    -----
    The published code stops the projection and filters concepts by images of the split that it then reports; here one
    training image in five is held out for both, and validation images only choose the head's penalty. The projection
    starts from least squares, each concept keeps its own best step, and the head is solved to a certified gap.
    """
    bank = _bank_of(data)
    on_progress(0.0, f"learning {len(bank)} concepts")
    bank, unseen = _visible(bank, fitting_split(data), config.visible)
    learned, scores = _learned(bank, data, config, part(on_progress, 0.0, 0.5))
    keep = [name for name, score in zip(learned.names, scores.tolist(), strict=True) if score > config.interpretability]
    if not keep:
        raise DataError(
            f"no concept agrees with its text better than {config.interpretability:g} on held-out images; "
            f"the best has {float(scores.max()):.2f}",
            hint="use other concepts, or lower interpretability",
        )
    data = replace(data, bank=learned.select(keep), concept_x=None)
    model = posthoc.fit(data, config, part(on_progress, 0.5, 1.0))
    lost = [name for name in learned.names if name not in set(keep)]
    notes = (*_left_out("hardly seen in the training images", unseen), *_left_out("not learned", lost))
    recipe = replace(model.recipe, method=METHOD.name, options=resolved(config), notes=(*notes, *model.recipe.notes))
    return replace(model, recipe=recipe)


def similarities(data: TrainingSet, bank: ConceptBank) -> Float[Tensor, "n k"]:
    """Cosines of the images with the concepts, in the space of the bank."""
    x = data.x if data.concept_x is None else data.concept_x
    return normalize(x, dim=1) @ normalize(bank.vectors, dim=1).T


def learn_projection(
    x: Float[Tensor, "n d"],
    s: Float[Tensor, "n k"],
    held: tuple[Float[Tensor, "m d"], Float[Tensor, "m k"]],
    *,
    rate: float = 0.01,
    steps: int = 1000,
    on_progress: OnProgress = silent,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k"]]:
    """Directions whose activations agree with the columns of `s` by cos-cubed, and their agreement on held-out images.

    Notes
    -----
    Concepts do not depend on each other. Each keeps the step at which it agreed best; all end when a look at the
    held-out images finds none that has become better.
    """
    mean = x.mean(0)
    scale = (x - mean).square().mean().sqrt().clamp_min(1e-12)
    inside, outside = (x - mean) / scale, (held[0] - mean) / scale
    weight = _least_squares(inside, s).requires_grad_(True)
    adam = torch.optim.Adam([weight], lr=rate)
    wanted = cubed(s)
    best, kept = torch.full((s.shape[1],), -torch.inf), weight.detach().clone()
    for step in range(steps + 1):
        if step % EVERY == 0:
            now = weight.detach()
            found = cos_cubed(outside @ now.T, held[1])
            better = found > best + 1e-4
            best, kept = torch.where(better, found, best), torch.where(better[:, None], now, kept)
            agreement = float(best.mean())
            on_progress(
                step / max(steps, 1), Reading(f"step {step}: mean agreement {agreement:.3f}", agreement=agreement)
            )
            if not bool(better.any()):
                break
        if step < steps:
            loss = -(cubed(inside @ weight.T) * wanted).sum()
            weight.grad = torch.autograd.grad(loss, weight)[0]
            adam.step()
    return normalize(kept, dim=1), best


def _least_squares(x: Float[Tensor, "n d"], s: Float[Tensor, "n k"]) -> Float[Tensor, "k d"]:
    """Unit directions that predict the centred similarities, by ridge regression."""
    wide, target = x.double(), (s - s.mean(0)).double()
    gram = wide.T @ wide
    gram += RIDGE * gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
    return normalize(torch.linalg.solve(gram, wide.T @ target).T, dim=1).float()


def _bank_of(data: TrainingSet) -> ConceptBank:
    if data.concept_x is None or data.bank is None:
        return posthoc.bank_of(data)
    if data.bank.vectors.shape[1] != data.concept_x.shape[1]:
        raise DataError(
            f"the concepts have {data.bank.vectors.shape[1]} dimensions, the images of their encoder "
            f"{data.concept_x.shape[1]}",
            hint="embed the images with the encoder of the bank",
        )
    return data.bank


def _visible(bank: ConceptBank, train: TrainingSet, least: float | None) -> tuple[ConceptBank, list[str]]:
    """The concepts that some training images show, by the mean cosine of the closest few, and the others' names."""
    if least is None:
        return bank, []
    strongest = similarities(train, bank).topk(min(STRONGEST, len(train)), dim=0).values.mean(0)
    seen = [name for name, value in zip(bank.names, strongest.tolist(), strict=True) if value > least]
    if not seen:
        raise DataError(
            f"no concept is closer to its images than {least:g}; the closest has {float(strongest.max()):.2f}",
            hint="lower visible, or use other concepts",
        )
    return bank.select(seen), [name for name in bank.names if name not in set(seen)]


def _learned(
    bank: ConceptBank, data: TrainingSet, config: Config, on_progress: OnProgress
) -> tuple[ConceptBank, Float[Tensor, "k"]]:
    """The bank in the space of `x`, and how well each concept agrees with its text on held-out training images."""
    train = data.where(data.splits == "train")
    fitted, held = fitting_and_held_out(train, seed=config.seed)
    weight, scores = learn_projection(
        fitted.x, similarities(fitted, bank), (held.x, similarities(held, bank)),
        rate=config.rate, steps=config.steps, on_progress=on_progress,
    )  # fmt: skip
    learned = replace(
        bank,
        vectors=weight,
        intercepts=torch.zeros(len(bank)),
        origin=tuple(replace(o, detail=f"learned from similarities with: {o.detail or n}") for o, n in zip(bank.origin, bank.names, strict=True)),
        quality=tuple(Quality(note=f"agrees {score:.2f} with its text on held-out images") for score in scores.tolist()),
        encoder_id=data.encoder_id,
        contract=data.contract,
    )  # fmt: skip
    return learned, scores


def _left_out(why: str, names: list[str]) -> tuple[str, ...]:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (f"{why}: {', '.join(names[:5])}{more}",) if names else ()


METHOD = Method(
    name="labelfree",
    title="Label-free CBM",
    summary="Learns to score concepts as their texts do, leaves out those that it cannot learn, and stays sparse.",
    paper="Oikarinen, Das, Nguyen, Weng: Label-Free Concept Bottleneck Models, ICLR 2023",
    needs=(Need.CONCEPT_BANK, Need.TEXT_BANK),
    config=Config,
    fit=fit,
)
