"""Hybrid post-hoc CBM: a residual on the embedding corrects what the concepts cannot say.

The concept model is fitted first and stays as it is; the residual is a dense linear head fitted on top of its logits.
How much it decides is measured, because a residual that decides much makes the concepts decoration.
"""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from cbm.config import option
from cbm.dense_heads import DenseHead, choose_dense, fit_dense
from cbm.heads import LinearHead, residual_share
from cbm.holdout import fitting_and_held_out
from cbm.methods import Method, Need, posthoc, resolved
from cbm.model import ConceptModel, linear_head
from cbm.progress import OnProgress, part
from cbm.training_set import TrainingSet


@dataclass(frozen=True)
class Config(posthoc.Config):
    """Options of the sparse head and of the residual."""

    ridge: float | None = option(
        None, help="penalty on the residual; chosen by validation accuracy when not given", low=1e-9, high=1e6
    )


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """The post-hoc model with a residual that is fitted on top of its logits.

    Raises
    ------
    DataError
        As the post-hoc method.

    References
    ----------
    Yuksekgonul, Wang, Zou, "Post-hoc concept bottleneck models", ICLR 2023, section 3 (PCBM-h).

    Notes
    -----
    The published code takes 20 epochs of Adam; the problem is convex and is solved here. With two classes, its concept
    head has one logit, which cancels in the softmax over two, so that its hybrid ignores the concepts; here every
    class has a logit of its own.
    """
    concept_model = posthoc.fit(data, config, part(on_progress, 0.0, 0.6))
    residual = _fit_residual(concept_model, data, config, part(on_progress, 0.6, 1.0))
    head = linear_head(concept_model)
    head = LinearHead(head.weight, head.bias + residual.bias, residual.weight)
    recipe = replace(concept_model.recipe, method=METHOD.name, options=resolved(config))
    model = replace(concept_model, head=head, recipe=recipe)
    return replace(model, recipe=replace(recipe, notes=(*recipe.notes, _note(model, data, config))))


def flip_rate(model: ConceptModel, x: Float[Tensor, "n d"]) -> float:
    """Share of images that are decided otherwise when the residual is held at its mean over them."""
    head = linear_head(model)
    logits, residual = model.logits(x), head.residual_logits(x)
    without = logits - residual + residual.mean(0)
    return float((without.argmax(1) != logits.argmax(1)).double().mean())


def _fit_residual(model: ConceptModel, data: TrainingSet, config: Config, on_progress: OnProgress) -> DenseHead:
    train, held = fitting_and_held_out(data, seed=config.seed)
    offsets = model.logits(train.x), model.logits(held.x)
    classes = len(data.classes)
    if config.ridge is not None:
        return fit_dense(train.x, train.labels, classes, ridge=config.ridge, offset=offsets[0], on_progress=on_progress)
    return choose_dense(
        (train.x, train.labels), (held.x, held.labels), classes, offsets=offsets, on_progress=on_progress
    )


def _note(model: ConceptModel, data: TrainingSet, config: Config) -> str:
    _, held = fitting_and_held_out(data, seed=config.seed)
    share = residual_share(linear_head(model), model.scores(held.x), held.x)
    return (
        f"the residual is {share:.0%} of the variance of the logits and turns {flip_rate(model, held.x):.0%} "
        "of the decisions on held-out images"
    )


METHOD = Method(
    name="posthoc-hybrid",
    title="Post-hoc CBM with residual",
    summary="The post-hoc model plus a linear correction from the embedding; says how much the correction decides.",
    paper="Yuksekgonul, Wang, Zou: Post-hoc Concept Bottleneck Models, ICLR 2023 (PCBM-h)",
    needs=(Need.CONCEPT_BANK,),
    config=Config,
    fit=fit,
)
