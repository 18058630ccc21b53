"""Post-hoc concept bottleneck models: the distance to each concept's hyperplane, then a sparse linear head.

The encoder stays as it is. A score says how many standard deviations an image lies above the training images' mean on
a concept, so weights of different concepts compare, and a contribution says what sets the image apart from the
average one.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.bank import ConceptBank
from cbm.bottleneck import Bottleneck, LinearBottleneck
from cbm.config import option
from cbm.errors import DataError, ModelError
from cbm.heads import LinearHead
from cbm.holdout import fitting_and_held_out
from cbm.linear_scores import LinearScores
from cbm.methods import Method, Need, resolved
from cbm.model import ConceptModel, Recipe
from cbm.moments import moments
from cbm.process_group import ALONE, Group
from cbm.progress import OnProgress, part
from cbm.solvers import Solution, at_nec, elastic_net_path, fit_elastic_net
from cbm.training_set import TrainingSet, fitting_split

LARGEST_TABLE = 2**25  # scores: 128 MB; more are not stored if factors can stand for them
SMALLEST_SPREAD = 1e-6  # of the embeddings' own: below it a concept is the same on every image


@dataclass(frozen=True)
class Config:
    """Options of the sparse head."""

    nec: int | None = option(
        10, help="concepts a class, on average; none chooses the penalty by validation accuracy", low=1, high=10_000
    )
    lam: float | None = option(None, help="strength of the penalty; when given, nec is not used", low=1e-9, high=1e3)
    alpha: float = option(0.99, help="share of the penalty that is L1; 1 is the lasso", low=0.01, high=1.0)
    loss: Literal["multinomial", "one-vs-rest"] = option(
        "multinomial", help="one softmax over all classes, or one class against the rest",
        choices=("multinomial", "one-vs-rest"),
    )  # fmt: skip
    seed: int = option(0, help="which training images are held out when there is no validation split", low=0)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress, group: Group = ALONE) -> ConceptModel:
    """A post-hoc concept bottleneck model on the training set's own concept bank.

    Parameters
    ----------
    config
        With `lam`, the elastic net with that penalty. With `nec`, the head with that many concepts a class: of all
        penalties that leave enough of them, the one most accurate on validation images once it is cut to the
        largest weights and refitted. With neither, the strongest penalty whose validation accuracy lies within one
        standard error of the best.
    group
        Processes that fit it together: all have the whole training set, and each reads its share of the images.

    Raises
    ------
    DataError
        If the training images do not do, or no concept differs between them.

    References
    ----------
    Yuksekgonul, Wang, Zou, "Post-hoc concept bottleneck models", ICLR 2023.

    Notes
    -----
    The published code scores with the raw distance and solves by stochastic gradients, stopped early. Here scores are
    standardised with the training images' statistics and the head is solved to a certified gap, with two logits for
    two classes.
    """
    bank = bank_of(data)
    on_progress(0.0, f"scoring {len(data):,} images on {len(bank)} concepts")
    train, held = images_to_fit(data, config)
    bottleneck, unused = standardised_distances(bank, train.x, group)
    solution = sparse_head(train, held, bottleneck, config, on_progress, group)
    return ConceptModel(
        concepts=bank.names,
        classes=data.classes,
        bottleneck=bottleneck,
        head=LinearHead(solution.weight, settled(solution)),
        recipe=Recipe(
            method=METHOD.name,
            options=resolved(config),
            encoder_id=data.encoder_id,
            contract=data.contract,
            images=len(train),
            notes=(*_unused_note(unused), head_note(solution, config)),
        ),
        bank=bank,
    )


def bank_of(data: TrainingSet) -> ConceptBank:
    """The training set's bank, checked to belong to the same encoder.

    Raises
    ------
    ModelError
        If there is none.
    DataError
        If it was made with another encoder.
    """
    if data.bank is None:
        raise ModelError(f"the model cannot be fitted: {Need.CONCEPT_BANK.value}")
    other = bool(data.bank.contract and data.contract) and data.bank.contract != data.contract
    if other or data.bank.vectors.shape[1] != data.x.shape[1]:
        raise DataError(
            f"the concept bank was made with {data.bank.encoder_id or 'another encoder'}, "
            f"the embeddings with {data.encoder_id or 'another one'}",
            hint="build the bank with the encoder that embedded the images",
        )
    return data.bank


def standardised_distances(
    bank: ConceptBank, x: Float[Tensor, "n d"], group: Group = ALONE
) -> tuple[LinearBottleneck, tuple[str, ...]]:
    """The bottleneck whose scores are distances to the concepts' hyperplanes, in standard deviations over `x`.

    Returns
    -------
    The bottleneck, and the concepts that are the same on every image; these score zero everywhere.
    """
    norm = bank.vectors.norm(dim=1).double()
    unit, offset = bank.vectors.double() / norm[:, None], bank.intercepts.double() / norm
    centre, covariance = moments(x, group)
    mean, spread = unit @ centre + offset, ((unit @ covariance) * unit).sum(1).clamp_min(0).sqrt()
    varies = spread > SMALLEST_SPREAD * covariance.diagonal().max().sqrt()
    gain = torch.where(varies, 1 / spread, 0.0)
    bottleneck = LinearBottleneck((unit * gain[:, None]).float(), ((offset - mean) * gain).float())
    return bottleneck, tuple(name for name, fine in zip(bank.names, varies.tolist(), strict=True) if not fine)


def images_to_fit(data: TrainingSet, config: Config) -> tuple[TrainingSet, TrainingSet]:
    """The images to learn from and those to choose the penalty by; all training images when it is given."""
    if config.lam is None:
        return fitting_and_held_out(data, seed=config.seed)
    train = fitting_split(data)
    return train, train


def sparse_head(
    train: TrainingSet,
    held: TrainingSet,
    bottleneck: Bottleneck,
    config: Config,
    on_progress: OnProgress,
    group: Group = ALONE,
) -> Solution:
    """The elastic-net head on a bottleneck's scores, with the penalty chosen as `fit` says."""
    mine = slice(group.rank, None, group.size)
    s, y, c = scores_of(bottleneck, train.x, mine), train.labels[mine], len(train.classes)
    if not bool((s.weight if isinstance(s, LinearScores) else s).any()):
        raise DataError("no concept differs between the training images", hint="use other concepts")
    if config.lam is not None:
        return fit_elastic_net(
            s, y, c, lam=config.lam, alpha=config.alpha, loss=config.loss, group=group, on_progress=on_progress
        )
    wanted = float(min(config.nec or s.shape[1], s.shape[1]))
    path = elastic_net_path(
        s, y, c, alpha=config.alpha, loss=config.loss, nec=(wanted,), group=group,
        on_progress=part(on_progress, 0.05, 0.9),
    )  # fmt: skip
    checked = scores_of(bottleneck, held.x, mine), held.labels[mine]
    if config.nec is None:
        return within_one_error(path, *checked, group)
    return at_nec(path, wanted, s, y, validation=checked, group=group)


def scores_of(bottleneck: Bottleneck, x: Float[Tensor, "n d"], mine: slice) -> Float[Tensor, "m k"] | LinearScores:
    """Scores of some of the images, as factors where all of them would be a large table."""
    if type(bottleneck) is LinearBottleneck and len(x) * len(bottleneck.weight) > LARGEST_TABLE:
        return LinearScores(x[mine], bottleneck.weight, bottleneck.bias)
    return bottleneck(x[mine].float())


def within_one_error(
    path: list[Solution], s: Float[Tensor, "n k"] | LinearScores, y: Int[Tensor, "n"], group: Group = ALONE
) -> Solution:
    """The sparsest solution whose accuracy on these images is at most one standard error below the best.

    References
    ----------
    Breiman et al., "Classification and regression trees", 1984, section 3.4.3.
    """
    accuracy, count = [solution.accuracy(s, y, group) for solution in path], torch.tensor(len(y))
    group.sum_(count)
    best = max(accuracy)
    error = (best * (1 - best) / int(count)) ** 0.5
    fine = [solution for solution, a in zip(path, accuracy, strict=True) if a >= best - error]
    return min(fine, key=lambda solution: solution.nec)


def head_note(solution: Solution, config: Config) -> str:
    """How sparse the head came out, and how it was fitted."""
    remarks = [
        f"penalty {solution.lam:.3g}" if solution.alpha > 0 else f"fitted again with a ridge of {solution.lam:.3g}"
    ]
    if config.lam is None and config.nec is not None and solution.nec < config.nec - 0.5:
        remarks.append(f"{config.nec} were allowed, but no penalty keeps more")
    if not solution.converged:
        remarks.append("not solved to the tolerance")
    return f"the head uses {solution.nec:.3g} concepts a class ({'; '.join(remarks)})"


def settled(solution: Solution) -> Float[Tensor, "c"]:
    """The biases; of the softmax's, which it determines up to a number added to all, those that sum to zero."""
    return solution.bias - solution.bias.mean() if solution.loss == "multinomial" else solution.bias


def _unused_note(unused: tuple[str, ...]) -> tuple[str, ...]:
    if not unused:
        return ()
    more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
    return (f"not used, being the same on every training image: {', '.join(unused[:5])}{more}",)


METHOD = Method(
    name="posthoc",
    title="Post-hoc CBM",
    summary="Scores images on a concept bank and classifies with few of them; nothing of the encoder is retrained.",
    paper="Yuksekgonul, Wang, Zou: Post-hoc Concept Bottleneck Models, ICLR 2023",
    needs=(Need.CONCEPT_BANK,),
    config=Config,
    fit=fit,
    shared=True,
)
