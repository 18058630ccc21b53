"""Zero-shot classification: an image belongs to the class whose name lies closest to it; nothing is fitted.

Each class is one concept, the text of its name against the average class name, and only that concept speaks for it.
"""

from dataclasses import dataclass

import torch

from cbm.bank import ConceptBank
from cbm.bottleneck import LinearBottleneck
from cbm.config import option
from cbm.errors import DataError, ModelError
from cbm.heads import LinearHead
from cbm.methods import Method, Need, resolved
from cbm.model import ConceptModel, Recipe
from cbm.progress import OnProgress
from cbm.sources import bank_from_texts
from cbm.training_set import TrainingSet


@dataclass(frozen=True)
class Config:
    """Options of the prompts."""

    template: str = option("", help="prompt with {} for the class name; the encoder's own prompts when empty")
    scale: float = option(100.0, help="logit that one unit of cosine is worth; CLIP's own is 100", low=0.1, high=1e4)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """The model that compares images with the names of the classes; uses no image.

    Raises
    ------
    ModelError
        If the training set has no text encoder.
    DataError
        If class names cannot be told apart by the encoder.

    References
    ----------
    Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021.

    Notes
    -----
    The mean of the class texts is taken off each. That changes every logit of an image by the same amount, so neither
    probabilities nor decisions, and makes a score say how much more an image looks like this class's name than like
    the names on average.
    """
    if data.encoder is None:
        raise ModelError(f"the model cannot be fitted: {Need.TEXT_ENCODER.value}")
    on_progress(0.0, f"reading {len(data.classes)} class names")
    bank = _class_texts(data, config)
    centred = bank.vectors - bank.vectors.mean(0)
    if float(centred.norm(dim=1).max()) < 1e-6:
        raise DataError("the encoder gives every class name the same embedding", hint="use more telling class names")
    c = len(data.classes)
    return ConceptModel(
        concepts=data.classes,
        classes=data.classes,
        bottleneck=LinearBottleneck(centred, torch.zeros(c)),
        head=LinearHead(torch.eye(c) * config.scale, torch.zeros(c)),
        recipe=Recipe(METHOD.name, resolved(config), data.encoder_id, data.contract),
        bank=bank,
    )


def _class_texts(data: TrainingSet, config: Config) -> ConceptBank:
    """One prompt ensemble a class, under the class's own name."""
    assert data.encoder is not None
    phrases = [name.replace("_", " ") for name in data.classes]
    templates = (config.template,) if config.template else None
    vectors = bank_from_texts(data.encoder, phrases, templates=templates)
    for phrase, name in zip(phrases, data.classes, strict=True):
        vectors = vectors if phrase == name else vectors.rename(phrase, name)
    return vectors


METHOD = Method(
    name="zero-shot",
    title="Zero-shot",
    summary="Compares images with the class names; needs no training image and shows what the encoder knows already.",
    paper="Radford et al.: Learning Transferable Visual Models From Natural Language Supervision, ICML 2021",
    needs=(Need.TEXT_ENCODER,),
    config=Config,
    fit=fit,
)
