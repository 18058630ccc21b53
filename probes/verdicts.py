"""One verdict a concept: does it exist under its name, is it where it belongs, is it used, does it leak.

Each question is answered yes, no, or unknown, with the number behind the answer. The thresholds are in `Rules`;
p-values are corrected for the number of concepts by Holm's method, question by question.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import atanh, tanh
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.ranking import auroc_components, chance_of_auroc
from probes.faithfulness import Use
from probes.intervals import Estimate, Z
from probes.leakage import auroc_table, task_leakage
from probes.parts import Place

Answer = Literal["yes", "no", "unknown"]
QUESTIONS = ("exists", "located", "used", "leaked")
VERDICTS = ("doubtful name", "wrong place", "leaks", "hardly used", "unchecked", "holds")


@dataclass(frozen=True)
class Rules:
    """Thresholds of the verdicts.

    Attributes
    ----------
    auroc
        A score must rank images with the concept above others this often (exists, with annotations).
    rival
        No other annotated concept may be ranked better by more than this, and beyond the interval.
    agreement, rank
        Without annotations, the score must go with the similarity of the images to the name as text: a correlation at
        least this high, and a place among all names within this share of them, or the first.
    odds
        Odds of relevance on the part, as a multiple of those of the area (located).
    area
        A part that covers more of the image than this is hardly missed by any map, so nothing is said (located).
    moved
        Mean change of the decision's probability without the concept (used).
    beyond
        Share of the classes' entropy that the score tells beyond its concept (leaked).
    level
        Of the corrected p-values.
    """

    auroc: float = 0.75
    rival: float = 0.05
    agreement: float = 0.3
    rank: float = 0.05
    odds: float = 2.0
    area: float = 0.5
    moved: float = 0.001
    beyond: float = 0.1
    level: float = 0.05


RULES = Rules()


@dataclass(frozen=True)
class Finding:
    """The answer to one question about one concept: yes, no or unknown, the number behind it, and why in words.

    `lift` is the number as a multiple of chance, where that is how it is read.
    """

    answer: Answer
    value: Estimate | None
    why: str
    lift: float | None = None


UNKNOWN = Finding("unknown", None, "")


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


def annotated_columns(concepts: Sequence[str], annotated: Sequence[str]) -> list[int | None]:
    """Where each concept is among the annotated ones, regardless of case and of a number such as " #2"; or `None`.

    Examples
    --------
    >>> annotated_columns(["Red bill #2", "sky"], ["red bill"])
    [0, None]
    """
    places = {name.casefold(): j for j, name in enumerate(annotated)}
    return [places.get(plain_name(name).casefold()) for name in concepts]


def plain_name(concept: str) -> str:
    """A concept's name without the number that tells it from others of the same name.

    Examples
    --------
    >>> plain_name("red bill #2")
    'red bill'
    """
    return re.sub(r" #\d+$", "", concept)


def existence(
    scores: Float[Tensor, "n k"],
    concepts: Sequence[str],
    present: Float[Tensor, "n j"] | None,
    annotated: Sequence[str],
    texts: Float[Tensor, "n k"] | None = None,
    *,
    from_text: Sequence[bool] | None = None,
    rules: Rules = RULES,
) -> tuple[Finding, ...]:
    """Whether each concept is decodable, under its name, from its score.

    Parameters
    ----------
    present, annotated
        Annotations, NaN where unknown, and their names.
    texts
        Similarity of each image to each concept's name as text, where the encoder reads text; used for concepts that
        are not annotated.
    from_text
        Which concepts' directions were made of texts: that they agree with their names goes without saying, so that
        nothing is known when they do.
    """
    columns = annotated_columns(concepts, annotated) if present is not None else [None] * len(concepts)
    found = {} if present is None else _by_annotations(scores, present, annotated, columns, rules)
    if texts is not None:
        agreement = name_agreement(scores, texts)
        for k in range(len(concepts)):
            if k not in found:
                made_of_text = from_text is not None and from_text[k]
                found[k] = _by_text(*agreement, k, len(scores), made_of_text, rules)
    why = "it is not annotated, and the encoder reads no text" if texts is None else ""
    return tuple(found.get(k, Finding("unknown", None, why)) for k in range(len(concepts)))


def name_agreement(
    scores: Float[Tensor, "n k"], texts: Float[Tensor, "n k"]
) -> tuple[Float[Tensor, "k"], Int[Tensor, "k"]]:
    """Correlation over images of each score with its own name's text, and how many other names' texts it follows better."""
    table = _standardised(scores).T @ _standardised(texts) / len(scores)
    own = table.diagonal()
    return own, (table > own[:, None] + 1e-9).sum(1)


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


def holm(p_values: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """P-values corrected for their number; NaN stays and does not count.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.

    Examples
    --------
    >>> [round(p, 2) for p in holm(torch.tensor([0.01, 0.04, 0.03])).tolist()]
    [0.03, 0.06, 0.06]
    """
    order = p_values.nan_to_num(nan=2.0).argsort()
    m = int((~p_values.isnan()).sum())
    factors = torch.arange(m, m - len(p_values), -1).clamp(min=0)
    corrected = torch.empty_like(p_values)
    corrected[order] = (p_values[order].nan_to_num() * factors).cummax(0).values.clamp(max=1)
    return torch.where(p_values.isnan(), torch.nan, corrected)


def _by_annotations(
    scores: Float[Tensor, "n k"],
    present: Float[Tensor, "n j"],
    annotated: Sequence[str],
    columns: Sequence[int | None],
    rules: Rules,
) -> dict[int, Finding]:
    table = auroc_table(scores, present)
    known = [(k, j) for k, j in enumerate(columns) if j is not None and not bool(table[k, j].isnan())]
    p_values = holm(torch.tensor([_chance(scores[:, k], present[:, j]) for k, j in known], dtype=torch.float64))
    return {
        k: _named(table[k], j, _auroc(scores[:, k], present[:, j]), float(p), annotated, rules)
        for (k, j), p in zip(known, p_values, strict=True)
    }


def _named(row: Float[Tensor, "j"], j: int, own: Estimate, p: float, annotated: Sequence[str], rules: Rules) -> Finding:
    """The answer from the AUROCs of one score for every annotated concept."""
    best = int(row.nan_to_num(nan=-1.0).argmax())
    rival = float(row[best])
    if best != j and rival > own.value + rules.rival and rival > own.high:
        return Finding("no", own, f"it is better at {annotated[best]!r} (AUROC {rival:.2f})")
    if own.value < rules.auroc:
        return Finding("no", own, f"its score does not tell the concept (AUROC below {rules.auroc:.2g})")
    if p >= rules.level:
        return Finding("unknown", own, "too few images show it, or do not, to tell")
    return Finding("yes", own, "its score tells the annotated concept (AUROC)")


def _by_text(
    own: Float[Tensor, "k"], better: Int[Tensor, "k"], k: int, n: int, made_of_text: bool, rules: Rules
) -> Finding:
    """The answer from the correlation of a score with its name as text."""
    value, place = max(-0.999999, min(0.999999, float(own[k]))), int(better[k]) + 1
    half = Z / max(1.0, n - 3) ** 0.5
    estimate = Estimate(value, tanh(atanh(value) - half), tanh(atanh(value) + half), n)
    fits = value >= rules.agreement and place <= max(1, rules.rank * len(own))
    why = f"goes with its name as text; place {place} of {len(own)} names"
    if made_of_text and fits:
        return Finding("unknown", estimate, f"{why}; but its direction is made of texts, so this says nothing")
    return Finding("yes" if fits else "no", estimate, why if fits else f"hardly {why}")


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


def _chance(scores: Float[Tensor, "n"], present: Float[Tensor, "n"]) -> float:
    known = ~present.isnan()
    return chance_of_auroc(scores[known], present[known] >= 0.5)


def _auroc(scores: Float[Tensor, "n"], present: Float[Tensor, "n"]) -> Estimate:
    """AUROC with DeLong's interval."""
    known = ~present.isnan()
    positive = present[known] >= 0.5
    parts = auroc_components(scores[known], positive)
    value = float(parts[positive].mean())
    spread = sum(float(side.var(correction=0)) / max(1, len(side) - 1) for side in (parts[positive], parts[~positive]))
    return Estimate(value, max(0.0, value - Z * spread**0.5), min(1.0, value + Z * spread**0.5), int(known.sum()))


def _standardised(values: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    return (values - values.mean(0)) / values.std(0, correction=0).clamp(min=1e-9)
