"""Energy-based concept bottleneck models: class, concepts and their dependence are one joint distribution.

Its scores are probabilities of concepts. They depend on each other, so a correction of one concept moves the others,
and the class with them; and the joint distribution has conditional probabilities of concepts and classes to look at.
"""

from dataclasses import dataclass

from cbm.config import option
from cbm.energy_training import EnergyConfig, HeldOut, train_energies
from cbm.errors import DataError
from cbm.holdout import fitting_and_held_out
from cbm.methods import Method, Need, resolved
from cbm.model import ConceptModel, Recipe
from cbm.progress import OnProgress
from cbm.training_set import TrainingSet


@dataclass(frozen=True)
class Config:
    """Options of the energies and of their training."""

    hidden: int = option(128, help="hidden units of each energy; the paper has 512", low=1, high=4096)
    epochs: int = option(
        15,
        help="passes over the training images, and over their labels; the best on held-out ones is kept",
        low=1,
        high=10_000,
    )
    batch: int = option(128, help="images a step", low=1, high=100_000)
    rate: float = option(0.01, help="longest step of Adam", low=1e-6, high=1)
    decay: float = option(1e-4, help="weight decay", low=0, high=1)
    seed: int = option(0, help="of the first parameters and the order of the images", low=0)


def fit(data: TrainingSet, config: Config, on_progress: OnProgress) -> ConceptModel:
    """An energy-based concept model of the annotated concepts of the training set.

    Raises
    ------
    DataError
        If the training images do not do, or none of them is annotated.

    References
    ----------
    Xu, Qin, Mi, Wang, Li, "Energy-based concept bottleneck models: unifying prediction, concept intervention, and
    probabilistic interpretations", ICLR 2024.

    Notes
    -----
    The energies are the paper's; see `cbm.energy`. In the published code corrected concepts move no other one, since
    its global energy has no gradient by them; here it is trained as a density over concepts and classes
    (`cbm.energy_density`), and mean field infers the others from those that are held.
    """
    train, held = fitting_and_held_out(data, seed=config.seed)
    if train.concept_labels is None or not bool((~train.concept_labels.isnan()).any()):
        raise DataError("no training image is annotated with concepts", hint="annotate some training images")
    bottleneck, lost = train_energies(train, held, EnergyConfig(**resolved(config)), on_progress=on_progress)
    return ConceptModel(
        concepts=data.concepts,
        classes=data.classes,
        bottleneck=bottleneck,
        head=bottleneck.head,
        recipe=Recipe(
            method=METHOD.name,
            options=resolved(config),
            encoder_id=data.encoder_id,
            contract=data.contract,
            images=len(train),
            notes=_notes(lost, data, train),
        ),
    )


def _notes(lost: HeldOut, data: TrainingSet, train: TrainingSet) -> tuple[str, ...]:
    """How well concepts are known by the image and by each other, and which of them nobody annotated."""
    assert train.concept_labels is not None
    unknown = train.concept_labels.isnan().all(0)
    names = [name for name, lacks in zip(data.concepts, unknown.tolist(), strict=True) if lacks]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (
        f"loss of all concepts on held-out images: {lost.by_image:.3g} by the image, {lost.by_labels:.3g} by the class and each other",
        *((f"annotated on no training image: {', '.join(names[:5])}{more}",) if names else ()),
    )


METHOD = Method(
    name="ecbm",
    title="Energy-based CBM",
    summary="Learns concepts, classes and how they depend on each other as one distribution, so that a correction moves other concepts.",
    paper="Xu, Qin, Mi, Wang, Li: Energy-Based Concept Bottleneck Models, ICLR 2024",
    needs=(Need.CONCEPT_LABELS,),
    config=Config,
    fit=fit,
)
