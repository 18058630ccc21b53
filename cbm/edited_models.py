"""What edits do to a model's tensors: each function returns another model and leaves the one that it is given as it was.

`cbm.edits` says which edit asks for which; names that a model lacks raise `UnknownName`, parts that are not linear
`ModelError`.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from cbm.bottleneck import GatedBottleneck, LinearBottleneck, ReluBottleneck
from cbm.errors import ModelError
from cbm.model import ConceptModel, linear_head


def _rows(model: ConceptModel) -> LinearBottleneck | ReluBottleneck | GatedBottleneck:
    """The model's bottleneck, when each score has a row of its weight and an entry of its bias."""
    if not isinstance(model.bottleneck, LinearBottleneck | ReluBottleneck | GatedBottleneck):
        raise ModelError(
            f"the scores of a model made by {model.recipe.method} are inferred and cannot be edited",
            hint="intervene on them, or edit the weights",
        )
    return model.bottleneck


def with_row(model: ConceptModel, concept: str, *, factor: float, shift: float) -> ConceptModel:
    """A concept's score times a factor, plus a shift, on every image."""
    old = _rows(model)
    k = model.concept(concept)
    weight, bias = old.weight.clone(), old.bias.clone()
    weight[k] = weight[k] * factor if factor else 0.0
    bias[k] = bias[k] * factor + shift if factor else shift
    return replace(model, bottleneck=replace(old, weight=weight, bias=bias))


def with_weight(model: ConceptModel, concept: str, class_: str, value: float) -> ConceptModel:
    """What a concept counts for a class."""
    head = linear_head(model)
    weight = head.weight.clone()
    weight[model.class_(class_), model.concept(concept)] = value
    return replace(model, head=replace(head, weight=weight))


def pruned(model: ConceptModel, concept: str, class_: str | None, *, normalise: bool) -> ConceptModel:
    """Without a concept's weight for one class or, without one, for all."""
    head = linear_head(model)
    k = model.concept(concept)
    rows = slice(None) if class_ is None else slice(model.class_(class_), model.class_(class_) + 1)
    weight = head.weight.clone()
    before = weight[rows].abs().sum(dim=1, keepdim=True)
    weight[rows, k] = 0.0
    if normalise:
        kept = weight[rows].abs().sum(dim=1, keepdim=True)
        weight[rows] *= torch.where(kept > 0, before / kept, torch.ones_like(kept))
    return replace(model, head=replace(head, weight=weight))


def keeping(model: ConceptModel, positions: list[int]) -> ConceptModel:
    """With the concepts at these positions and no others."""
    bottleneck, head = _rows(model), linear_head(model)
    names = tuple(model.concepts[i] for i in positions)
    return replace(
        model,
        concepts=names,
        bottleneck=replace(bottleneck, weight=bottleneck.weight[positions], bias=bottleneck.bias[positions]),
        head=replace(head, weight=head.weight[:, positions]),
        bank=None if model.bank is None else model.bank.select(names),
    )


def renamed(model: ConceptModel, concept: str, name: str) -> ConceptModel:
    """With another name for a concept."""
    k = model.concept(concept)
    if not name.strip():
        raise ModelError(f"the new name of {concept!r} is empty", hint="give it a name")
    if name != concept and name in model.concepts:
        raise ModelError(f"there already is a concept {name!r}", hint="merge the two instead")
    names = (*model.concepts[:k], name, *model.concepts[k + 1 :])
    return replace(model, concepts=names, bank=None if model.bank is None else model.bank.rename(concept, name))


def merged(model: ConceptModel, concepts: tuple[str, ...], name: str) -> ConceptModel:
    """With one concept, the mean of several scores, that counts what they counted together."""
    positions = sorted({model.concept(concept) for concept in concepts})
    if len(positions) < 2:
        raise ModelError("merging needs at least two different concepts", hint="rename a single one instead")
    first, rest = positions[0], positions[1:]
    bottleneck, head = _rows(model), linear_head(model)
    weight, bias, columns = bottleneck.weight.clone(), bottleneck.bias.clone(), head.weight.clone()
    weight[first], bias[first] = weight[positions].mean(0), bias[positions].mean()
    columns[:, first] = columns[:, positions].sum(1)
    rows = replace(bottleneck, weight=weight, bias=bias)
    together = replace(model, bottleneck=rows, head=replace(head, weight=columns))
    kept = keeping(together, [i for i in range(len(model.concepts)) if i not in rest])
    return renamed(kept, model.concepts[first], name)


def fixed(
    model: ConceptModel, gains: Sequence[tuple[str, float]], neutral: Sequence[tuple[str, float]]
) -> ConceptModel:
    """Each concept's distance from its neutral score, zero where none is given, counts as many times as its gain."""
    head = linear_head(model)
    gain, score = torch.ones(len(model.concepts)), torch.zeros(len(model.concepts))
    for concept, factor in gains:
        gain[model.concept(concept)] *= factor
    for concept, value in neutral:
        score[model.concept(concept)] = value
    bias = head.bias + head.weight @ ((1 - gain) * score)
    return replace(model, head=replace(head, weight=head.weight * gain, bias=bias))
