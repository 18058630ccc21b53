"""Linear probe: logistic regression on the embedding itself, the yardstick for what concepts cost.

It is a concept model without concepts: the residual carries everything, and explanations say so.
"""

from dataclasses import dataclass

import torch

from cbm.bottleneck import LinearBottleneck
from cbm.config import option
from cbm.dense_heads import choose_dense, fit_dense
from cbm.heads import LinearHead
from cbm.holdout import fitting_and_held_out
from cbm.methods import Method, resolved
from cbm.model import ConceptModel, Recipe
from cbm.progress import OnProgress
from cbm.training_set import TrainingSet


@dataclass(frozen=True)
class Config:
    """Options of the probe."""

    ridge: float | None = option(
        None, help="penalty on the weights; chosen by validation accuracy when not given", low=1e-9, high=1e6
    )
    seed: int = option(0, help="which training images are held out when there is no validation split", low=0)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """Multinomial logistic regression on the embeddings, as a model with no concepts.

    Raises
    ------
    DataError
        If there is no training image, or all belong to one class.

    References
    ----------
    Alain, Bengio, "Understanding intermediate layers using linear classifier probes", 2016.
    """
    train, held = fitting_and_held_out(data, seed=config.seed)
    on_progress(0.0, f"fitting a linear probe on {len(train):,} images")
    classes, d = len(data.classes), data.x.shape[1]
    if config.ridge is not None:
        head = fit_dense(train.x, train.labels, classes, ridge=config.ridge, on_progress=on_progress)
    else:
        head = choose_dense((train.x, train.labels), (held.x, held.labels), classes, on_progress=on_progress)
    return ConceptModel(
        concepts=(),
        classes=data.classes,
        bottleneck=LinearBottleneck(torch.zeros(0, d), torch.zeros(0)),
        head=LinearHead(torch.zeros(classes, 0), head.bias, head.weight),
        recipe=Recipe(
            method=METHOD.name,
            options=resolved(config),
            encoder_id=data.encoder_id,
            contract=data.contract,
            images=len(train),
            notes=(f"ridge {head.ridge:g}",),
        ),
    )


METHOD = Method(
    name="linear-probe",
    title="Linear probe",
    summary="Logistic regression on the embedding, without concepts: the accuracy that concepts are compared with.",
    paper="Alain, Bengio: Understanding intermediate layers using linear classifier probes, ICLR 2017 workshop",
    needs=(),
    config=Config,
    fit=fit,
)
