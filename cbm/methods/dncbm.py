"""Discover-then-name CBM: a sparse autoencoder finds the concepts in the embeddings, and a text encoder names them.

Nobody has to think of the concepts beforehand. A score says how much of an atom an image has, in standard deviations
over the training images; what an image does not have scores zero and adds nothing.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.atoms import (
    FEWEST,
    Way,
    are_atoms,
    codes_of_bank,
    live_atoms,
    named_atoms,
    thresholds_of,
    use_of,
    used_by,
    usual_width,
)
from cbm.bank import ConceptBank
from cbm.bottleneck import ReluBottleneck
from cbm.config import option
from cbm.errors import ModelError
from cbm.heads import LinearHead
from cbm.methods import Method, Need, posthoc, resolved
from cbm.model import ConceptModel, Recipe
from cbm.process_group import ALONE, Group
from cbm.progress import OnProgress, part
from cbm.sae import KINDS, Kind, measure
from cbm.sae_training import SaeConfig, train_sae
from cbm.sources import measure_bank
from cbm.training_set import TrainingSet, fitting_split


@dataclass(frozen=True)
class Config(posthoc.Config):
    """Options of the autoencoder and of the sparse head."""

    kind: Kind = option(
        "batchtopk", help="keep the k largest codes of each image (topk) or on average (batchtopk), or all with an L1 penalty (relu)",
        choices=KINDS,
    )  # fmt: skip
    width: int | None = option(
        None,
        help="atoms to learn; none learns one for every 20 training images, at most eight a dimension",
        low=2,
        high=65_536,
    )
    k: int = option(24, help="atoms an image, for topk and batchtopk; at most a quarter of all", low=1, high=1024)
    l1: float = option(0.05, help="penalty on the sum of the codes, for relu", low=0, high=100)
    names: Way = option(
        "images", help="name an atom by the word that is similar to the images that use it, or by its direction alone",
        choices=("images", "direction"),
    )  # fmt: skip
    epochs: int = option(60, help="passes over the training images", low=1, high=10_000)
    rate: float = option(1e-3, help="step length of Adam", low=1e-6, high=1)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress, group: Group = ALONE) -> ConceptModel:
    """A concept model whose concepts were found without words and then named.

    A concept bank of atoms is taken as it is, with the names that it has by now: one autoencoder serves many data sets
    and heads. Otherwise the words are the names of the concept bank, when there is one, else those of the annotated
    concepts, else the candidate sentences. Neither labels nor annotations are used to find or to name an atom.

    Raises
    ------
    ModelError
        If there is no bank of atoms, and no text encoder or no words.
    DataError
        If the training images do not do, or use no atom often enough.

    References
    ----------
    Rao, Mahajan, Böhle, Schiele, "Discover-then-name: task-agnostic concept bottlenecks via automated concept
    discovery", ECCV 2024.

    Notes
    -----
    The published model uses ReLU codes with an L1 penalty, which also shortens what it keeps. The default here keeps the
    largest codes of a batch; a fitted model reads them through the threshold that leaves as many on average, so
    that scores of an image do not depend on other images, and edits need no sorting. The published names come from the
    atoms' directions; on the demo birds names from images are right about twice as often.
    """
    train = fitting_split(data)
    if data.bank is not None and are_atoms(data.bank):
        bank = used_by(posthoc.bank_of(data), train.x)
        note = f"{len(bank):,} of {len(data.bank):,} atoms of the bank are used by {FEWEST} training images or more"
    else:
        bank, note = _found(data, train, config, part(on_progress, 0.0, 0.6), group)
    bottleneck = _bottleneck(bank, use_of(partial(codes_of_bank, bank), train.x).spread)
    fitted, held = posthoc.images_to_fit(data, config)
    solution = posthoc.sparse_head(fitted, held, bottleneck, config, part(on_progress, 0.6, 1.0), group)
    return ConceptModel(
        concepts=bank.names,
        classes=data.classes,
        bottleneck=bottleneck,
        head=LinearHead(solution.weight, posthoc.settled(solution)),
        recipe=Recipe(
            method=METHOD.name,
            options=resolved(config),
            encoder_id=data.encoder_id,
            contract=data.contract,
            images=len(train),
            notes=(note, posthoc.head_note(solution, config)),
        ),
        bank=bank,
    )


def _found(
    data: TrainingSet, train: TrainingSet, config: Config, on_progress: OnProgress, group: Group
) -> tuple[ConceptBank, str]:
    """Atoms of the training images, named and, where they are annotated, measured; and what is to be told of them."""
    if data.encoder is None:
        raise ModelError(f"the model cannot be fitted: {Need.TEXT_OR_ATOMS.value}")
    words = _words(data)
    on_progress(0.0, f"looking for atoms in {len(train):,} images")
    found = train_sae(train.x, _sae_config(config, *train.x.shape), group=group, on_progress=on_progress)
    quality = measure(found, train.x)
    live = live_atoms(found, train.x)
    bank = measure_bank(named_atoms(live, train.x, data.encoder, words, config.names, contract=train.contract), data)
    return bank, (
        f"{len(live):,} of {len(found):,} atoms are used by {FEWEST} training images or more; "
        f"{quality.l0:.3g} an image explain {quality.explained:.0%} of the variance"
    )


def _words(data: TrainingSet) -> tuple[str, ...]:
    """What atoms may be called, without repetitions; upper and lower case are the same."""
    sentences = [one for many in (data.candidates or {}).values() for one in many]
    names = () if data.bank is None else data.bank.names
    given = names or data.concepts or sentences
    words = {" ".join(word.split()).casefold(): " ".join(word.split()) for word in reversed(given)}
    if not words:
        raise ModelError(
            "there are no words to name what is found", hint="choose a concept bank: its names are the words"
        )
    return tuple(reversed(words.values()))


def _sae_config(config: Config, n: int, d: int) -> SaeConfig:
    width = config.width or usual_width(n, d)
    return SaeConfig(
        kind=config.kind,
        width=width,
        k=min(config.k, max(1, width // 4)),
        l1=config.l1,
        epochs=config.epochs,
        rate=config.rate,
        seed=config.seed,
    )


def _bottleneck(bank: ConceptBank, spread: Float[Tensor, "h"]) -> ReluBottleneck:
    return ReluBottleneck(
        weight=torch.diag(1 / spread),
        bias=torch.zeros(len(bank)),
        atoms=bank.vectors,
        offsets=bank.intercepts,
        thresholds=thresholds_of(bank),
    )


METHOD = Method(
    name="dncbm",
    title="Discover-then-name CBM",
    summary="Finds concepts in the embeddings by itself, names them with words, and classifies with few of them.",
    paper="Rao, Mahajan, Böhle, Schiele: Discover-then-Name, ECCV 2024",
    needs=(Need.TEXT_OR_ATOMS,),
    config=Config,
    fit=fit,
    shared=True,
)
