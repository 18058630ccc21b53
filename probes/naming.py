"""Whether a concept exists under its name: told by annotations of that name, or by the name as text."""

import re
from collections.abc import Sequence
from math import atanh, tanh

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.ranking import auroc_components, chance_of_auroc
from probes.intervals import Estimate, Z
from probes.leakage import auroc_table
from probes.multiplicity import holm
from probes.rules import RULES, Finding, Rules


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
