"""One verdict a concept: does it exist under its name, is it where it belongs, is it used, does it leak.

Each question is answered yes, no, or unknown, with the number behind the answer. The thresholds are in `Rules`;
p-values are corrected for the number of concepts by Holm's method, question by question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.faithfulness import Use
from probes.intervals import Estimate, Z
from probes.leakage import task_leakage
from probes.multiplicity import holm
from probes.naming import annotated_columns
from probes.parts import Place
from probes.rules import RULES, Answer, Finding, Rules

QUESTIONS = ("exists", "located", "used", "leaked")
VERDICTS = ("doubtful name", "wrong place", "leaks", "hardly used", "unchecked", "holds")


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of one concept."""

    concept: str
    exists: Finding
    located: Finding
    used: Finding
    leaked: Finding

    @property
    def word(self) -> str:
        """The gravest thing to say, one of `VERDICTS`."""
        grave = (
            ("doubtful name", self.exists.answer == "no"),
            ("wrong place", self.located.answer == "no"),
            ("leaks", self.leaked.answer == "yes"),
            ("hardly used", self.used.answer == "no"),
            ("unchecked", self.exists.answer == "unknown"),
        )
        return next((word for word, is_so in grave if is_so), "holds")

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return {"concept": self.concept, "verdict": self.word, **{q: asdict(getattr(self, q)) for q in QUESTIONS}}


def leaks(
    scores: Float[Tensor, "n k"],
    concepts: Sequence[str],
    present: Float[Tensor, "n j"] | None,
    annotated: Sequence[str],
    labels: Int[Tensor, "n"],
    *,
    rules: Rules = RULES,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Whether each score tells of the class beyond its annotated concept, see `probes.leakage.task_leakage`."""
    columns = annotated_columns(concepts, annotated) if present is not None else [None] * len(concepts)
    known = [k for k, j in enumerate(columns) if j is not None]
    found = [Finding("unknown", None, "the concept is not annotated")] * len(concepts)
    if present is None or not known:
        return tuple(found)
    measured = task_leakage(scores[:, known], present[:, [columns[k] or 0 for k in known]], labels, seed=seed)
    certain = holm(measured.p_values) < rules.level
    for i, k in enumerate(known):
        beyond = float(measured.beyond[i])
        if beyond == beyond:
            answer: Answer = "yes" if bool(certain[i]) and beyond >= rules.beyond else "no"
            why = f"tells {100 * beyond:.1f} % of the class beyond the concept (CTL {float(measured.ctl[i]):.3f})"
            found[k] = Finding(answer, Estimate(beyond, beyond, beyond, len(labels)), why)
    return tuple(found)


def locations(concepts: Sequence[str], found: Mapping[str, Place], *, rules: Rules = RULES) -> tuple[Finding, ...]:
    """Whether each concept's relevance lies on its part: yes and no only where chance does not explain it."""
    names = [name for name in concepts if name in found]
    certain = dict(zip(names, holm(_beyond_area([found[name] for name in names], rules)) < rules.level, strict=True))
    return tuple(
        _located(found[name], bool(certain[name]), rules)
        if name in found
        else Finding("unknown", None, "no part masks that show it")
        for name in concepts
    )


def usage(used: Sequence[Use], *, rules: Rules = RULES) -> tuple[Finding, ...]:
    """Whether decisions lose anything without each concept, see `probes.faithfulness.uses`."""
    return tuple(
        Finding(
            "yes" if use.moved.value >= rules.moved else "no",
            use.changed,
            f"without it {100 * use.changed.value:.1f} % of decisions change, their probability by "
            f"{100 * use.moved.value:.2f} points on average",
        )
        for use in used
    )


def _located(place: Place, certain: bool, rules: Rules) -> Finding:
    mass = place.mass
    if mass.chance > rules.area:
        return Finding(
            "unknown", mass.found, f"its part covers {100 * mass.chance:.0f} % of the image: no map misses it"
        )
    why = (
        f"{100 * mass.found.value:.0f} % of its relevance on {', '.join(place.part[:2])}"
        f"{' …' if len(place.part) > 2 else ''}, which has {100 * mass.chance:.1f} % of the area"
    )
    missed = mass.found.high < _least(mass.chance, rules)
    answer: Answer = "yes" if certain else "no" if missed else "unknown"
    if answer == "unknown":
        why += "; too few images to tell"
    return Finding(answer, mass.found, why, mass.found.value / mass.chance)


def _least(area: float, rules: Rules) -> float:
    """The share of relevance whose odds are `rules.odds` times those of the area."""
    return rules.odds * area / (1 - area + rules.odds * area)


def _beyond_area(found: Sequence[Place], rules: Rules) -> Float[Tensor, "k"]:
    """Probability of so much relevance on the part if its odds were `rules.odds` times the area's, by a normal test."""
    p_values = []
    for place in found:
        mass, least = place.mass.found, _least(place.mass.chance, rules)
        error = max((mass.high - mass.low) / (2 * Z), 1e-9)
        p_values.append(float(1 - torch.special.ndtr(torch.tensor((mass.value - least) / error, dtype=torch.float64))))
    return torch.tensor(p_values, dtype=torch.float64)
