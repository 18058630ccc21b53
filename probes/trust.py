"""What is to be thought of a concept model: a verdict a concept, and what its explanations are worth as a whole.

`examine` gathers what the modules beside it measure, each number with its interval and its chance level or control. What
cannot be measured is left out, with the reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.errors import DataError, PellucidError
from cbm.model import ConceptModel
from cbm.progress import OnProgress, part, silent
from cbm.training_set import TrainingSet
from probes.faithfulness import Faithfulness, Use, faithfulness_curves, uses
from probes.intervals import Estimate, exact
from probes.leakage import completeness
from probes.naming import existence
from probes.parts import Place
from probes.rules import RULES, Rules
from probes.trust_figures import MEASURES, Figure, Subject, add_controls, mean_place, subject_of
from probes.verdicts import VERDICTS, Verdict, leaks, locations, usage


@dataclass(frozen=True)
class Trust:
    """What was found about a model on a split.

    Attributes
    ----------
    verdicts
        One a concept, in the order of the model's.
    figures, not_computed
        Numbers of the whole model by name, and why others are absent.
    faithfulness
        The curves, where there are any.
    concept_sets
        Number of concepts and completeness, for sets that grow.
    rules
        Thresholds of the verdicts.
    """

    split: str
    n: int
    verdicts: tuple[Verdict, ...]
    figures: Mapping[str, Figure]
    not_computed: Mapping[str, str]
    faithfulness: Faithfulness | None = None
    concept_sets: tuple[tuple[int, float], ...] = ()
    rules: Rules = field(default_factory=Rules)

    @property
    def counts(self) -> dict[str, int]:
        """How many concepts have each verdict, the gravest first."""
        found = Counter(verdict.word for verdict in self.verdicts)
        return {word: found[word] for word in VERDICTS if found[word]}

    def to_json(self) -> dict[str, object]:
        """The JSON object that `pellucid trust --json` prints."""
        return {
            "split": self.split,
            "n": self.n,
            "counts": self.counts,
            "figures": {name: {**asdict(f.estimate), "chance": f.chance} for name, f in self.figures.items()},
            "not_computed": dict(self.not_computed),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "faithfulness": None if self.faithfulness is None else asdict(self.faithfulness),
            "concept_sets": [list(point) for point in self.concept_sets],
            "rules": asdict(self.rules),
        }


def examine(
    model: ConceptModel,
    data: TrainingSet,
    *,
    split: str = "test",
    names: Float[Tensor, "k d"] | None = None,
    places: Mapping[str, Place] | None = None,
    controls: Mapping[str, Estimate] | None = None,
    rules: Rules = RULES,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> Trust:
    """A verdict a concept and the figures of a concept model.

    Parameters
    ----------
    data
        All splits; "train" says what is typical, `split` is measured.
    names
        The text embedding of each concept's name, where the encoder reads text.
    places
        Where the concepts' maps lie, see `probes.parts.places`.
    controls
        Accuracies that are known already, by the names of `probes.controls.CONTROLS`; others are fitted.

    Raises
    ------
    DataError
        If the model has no concepts.
    """
    if not model.concepts:
        raise DataError("a model without concepts has none to trust", hint="choose a model with concepts")
    on_progress(0.0, "scoring the images")
    subject = subject_of(model, data, split, seed)
    used = uses(model, data, split=split, seed=seed)
    on_progress(0.1, "asking what each concept's score tells")
    verdicts = _verdicts(subject, used, names, places or {}, rules)
    figures: dict[str, Figure] = {}
    absent: dict[str, str] = {}
    add_controls(subject, controls or {}, figures, absent, part(on_progress, 0.3, 0.6))
    for i, (name, measure) in enumerate(MEASURES.items()):
        on_progress(0.6 + 0.3 * i / len(MEASURES), f"measuring {name.replace('_', ' ')}")
        try:
            figures |= measure(subject)
        except PellucidError as error:
            absent[name] = error.message
    sets = _concept_sets(subject, used, figures, absent)
    if places:
        figures |= mean_place(places)
    else:
        absent["relevance_mass"] = "no part masks, or maps of this model are not to be had"
    on_progress(0.95, "taking concepts away")
    curves = faithfulness_curves(model, data, split=split, seed=seed)
    figures["comprehensiveness"] = Figure(curves.comprehensiveness, curves.comprehensiveness_random.value)
    figures["sufficiency"] = Figure(curves.sufficiency, curves.sufficiency_random.value)
    figures["deletion_gap"] = Figure(curves.deletion_gap, 0.0)
    on_progress(1.0, f"looked at {len(model.concepts):,} concepts")
    return Trust(split, len(subject.images), verdicts, figures, absent, curves, sets, rules)


def _verdicts(
    subject: Subject,
    used: Sequence[Use],
    names: Float[Tensor, "k d"] | None,
    places: Mapping[str, Place],
    rules: Rules,
) -> tuple[Verdict, ...]:
    """The four answers for each concept."""
    model, images = subject.model, subject.images
    annotated = (images.concept_labels, images.concepts)
    texts = None if names is None else images.x @ normalize(names, dim=1).T
    columns = (
        existence(subject.scores, model.concepts, *annotated, texts, from_text=_from_text(model), rules=rules),
        locations(model.concepts, places, rules=rules),
        usage(used, rules=rules),
        leaks(subject.scores, model.concepts, *annotated, images.labels, rules=rules, seed=subject.seed),
    )
    return tuple(Verdict(name, *row) for name, *row in zip(model.concepts, *columns, strict=True))


def _from_text(model: ConceptModel) -> list[bool]:
    """Which concepts' directions were made of texts."""
    if model.bank is None or model.bank.names != model.concepts:
        return [False] * len(model.concepts)
    return [origin.source in ("text", "sentence", "vocabulary") for origin in model.bank.origin]


def _concept_sets(
    subject: Subject, used: Sequence[Use], figures: dict[str, Figure], absent: dict[str, str]
) -> tuple[tuple[int, float], ...]:
    """Completeness over growing sets of concepts, the most used first; adds its figures."""
    if "linear_probe_accuracy" not in figures:
        absent["completeness"] = "there is no linear probe to compare with"
        return ()
    probe = figures["linear_probe_accuracy"].estimate.value
    order = torch.tensor([-use.moved.value for use in used]).argsort()
    try:
        found = completeness(subject.every, subject.data, subject.split, order=order, probe_accuracy=probe)
    except PellucidError as error:
        absent["completeness"] = error.message
        return ()
    figures["completeness"] = Figure(found.value, 0.0)
    figures["concept_set_auc"] = Figure(exact(found.area, len(order)), 0.0)
    return found.curve
