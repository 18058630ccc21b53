"""What a test-time fix brings: in the new place and at the source, beside simpler remedies, and where there is no shift.

    support = data.where(draw_support(data, "shifted", per_class=4))
    fix = find_fix(model, support.x, support.labels, source_of(model, data))
    measure_fix(model, fix, support, data, "shifted")

The support images never count in the accuracy of the new place.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.adapt import Fix, FixConfig, find_fix
from cbm.edits import apply
from cbm.errors import DataError
from cbm.gate import fit_gate
from cbm.heads import LinearHead
from cbm.model import ConceptModel, linear_head
from cbm.progress import OnProgress, silent
from cbm.shift import SourceStatistics, source_statistics
from cbm.training_set import TrainingSet
from probes.intervals import Estimate, bootstrap, wilson

REFIT_C = 0.1


@dataclass(frozen=True)
class FixReport:
    """Accuracies before and after a fix, each with its interval and count.

    Attributes
    ----------
    target_before, target_after, gain
        In the new place, without the support images; the gain is paired, with a bootstrap interval over these images.
        `None` when there are no labelled images to measure on.
    source_before, source_after
        At the source, as if the fixed model were used there too.
    gated_target, gated_source
        With a gate in front of the fix; `None` when nothing is changed.
    fixed, broken
        Images of the new place that are right now, and that were right before.
    baselines
        Accuracy in the new place and at the source of simpler remedies fitted on the same support images.
    """

    support: tuple[str, ...]
    target_before: Estimate | None
    target_after: Estimate | None
    gain: Estimate | None
    source_before: Estimate
    source_after: Estimate
    gated_target: Estimate | None
    gated_source: Estimate | None
    fixed: int
    broken: int
    baselines: Mapping[str, tuple[Estimate | None, Estimate]]

    def to_json(self) -> dict[str, object]:
        """The report as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class NullCheck:
    """What the rule does to images of the source, where there is nothing to find.

    Attributes
    ----------
    masks
        Concepts masked a draw, on average; above 0.2 the rule is too eager for this model.
    any
        Share of the draws in which anything was changed.
    """

    masks: Estimate
    any: Estimate


def source_of(model: ConceptModel, data: TrainingSet) -> SourceStatistics:
    """The source statistics of a model, from the images it was trained on.

    Raises
    ------
    UnknownName
        If the data has no train split.
    DataError
        If model and data have other classes, and as `source_statistics`.
    """
    if model.classes != data.classes:
        raise DataError("the model and the data have other classes", hint="use the data set that it was fitted on")
    train = data.split("train")
    return source_statistics(model.scores(train.x), train.labels, len(data.classes))


def draw_support(data: TrainingSet, split: str, *, per_class: int, seed: int = 0) -> Int[np.ndarray, "m"]:
    """Positions in `data` of images drawn at random from a split, the same number of every class.

    Raises
    ------
    UnknownName
        If there is no such split.
    DataError
        If a class has fewer images, or too few remain to measure on.
    """
    data.split(split)
    rows = np.flatnonzero(data.splits == split)
    labels = data.labels.numpy()[rows]
    counts = {name: int((labels == c).sum()) for c, name in enumerate(data.classes)}
    short = [name for name, count in counts.items() if count < per_class]
    if short:
        raise DataError(
            f"{short[0]} has {counts[short[0]]} images in {split}, fewer than {per_class}",
            hint="draw fewer images a class, or label more",
        )
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(rows[labels == c], per_class, replace=False) for c in range(len(data.classes))]
    return np.sort(np.concatenate(drawn))


def measure_fix(
    model: ConceptModel,
    fix: Fix,
    support: TrainingSet,
    data: TrainingSet,
    split: str | None,
    *,
    source_split: str = "test",
) -> FixReport:
    """Accuracy before and after a fix in the new place (`split` without the support) and at the source.

    Parameters
    ----------
    support
        The images that the fix rests on, from `data` or from elsewhere.
    split
        Labelled images of the new place to measure on; `None` when there are none.

    Raises
    ------
    UnknownName
        If a split does not exist.
    DataError
        If no image of the split is left beside the support.
    """
    here = None if split is None else _without(data.split(split), support, split)
    there, fixed = data.split(source_split), apply(model, fix.edits)
    before, after = (None if here is None else _right(m, here) for m in (model, fixed))
    gates = _gated(model, fixed, fix, support, data, here, there) if fix.edits else (None, None)
    return FixReport(
        support=support.ids,
        target_before=_share(before),
        target_after=_share(after),
        gain=None if before is None or after is None else _paired(after.astype(float) - before),
        source_before=_known(_right(model, there)),
        source_after=_known(_right(fixed, there)),
        gated_target=gates[0],
        gated_source=gates[1],
        fixed=0 if before is None or after is None else int((after & ~before).sum()),
        broken=0 if before is None or after is None else int((before & ~after).sum()),
        baselines={
            name: (_share(None if here is None else _right(m, here)), _known(_right(m, there)))
            for name, m in _baselines(model, support).items()
        },
    )


def bootstrap_gain(
    model: ConceptModel,
    support: TrainingSet,
    data: TrainingSet,
    split: str,
    source: SourceStatistics,
    *,
    draws: int = 100,
    seed: int = 0,
    config: FixConfig | None = None,
) -> Estimate:
    """The gain on a split with an interval from drawing the support images again, with replacement within each class.

    It says how much hangs on which images were labelled; that of `FixReport.gain`, on which were measured.

    Raises
    ------
    UnknownName, DataError
        As `measure_fix`.

    Notes
    -----
    An image drawn twice weakens the jackknife, so the interval is on the wide side.
    """
    here = _without(data.split(split), support, split)
    before, rng = _right(model, here).mean(), np.random.default_rng(seed)

    def gain(rows: Int[np.ndarray, "m"]) -> float:
        found = find_fix(model, support.x[rows], support.labels[rows], source, config)
        return float(_right(apply(model, found.edits), here).mean() - before)

    labels = support.labels.numpy()
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    gains = [gain(np.concatenate([rng.choice(m, len(m)) for m in members])) for _ in range(draws)]
    value = gain(np.arange(len(labels)))
    low, high = np.quantile(gains, [0.025, 0.975])
    return Estimate(value, min(value, float(low)), max(value, float(high)), len(here))


def null_check(
    model: ConceptModel,
    data: TrainingSet,
    source: SourceStatistics,
    *,
    per_class: int,
    split: str = "val",
    draws: int = 200,
    seed: int = 0,
    config: FixConfig | None = None,
    on_progress: OnProgress = silent,
) -> NullCheck:
    """How often the rule finds something on pseudo-supports drawn from the source.

    Raises
    ------
    UnknownName, DataError
        As `draw_support`.
    """
    masked = np.zeros(draws)
    changed = 0
    for draw in range(draws):
        on_progress(draw / draws, "images of the source, where there is nothing to find")
        rows = draw_support(data, split, per_class=per_class, seed=seed + draw)
        found = find_fix(model, data.x[rows], data.labels[rows], source, config)
        masked[draw] = len(found.masked)
        changed += bool(found.edits)
    error = 1.96 * masked.std(ddof=1) / draws**0.5 if draws > 1 else 0.0
    mean = float(masked.mean())
    return NullCheck(Estimate(mean, max(0.0, mean - error), mean + error, draws), wilson(changed, draws))


def _gated(
    model: ConceptModel,
    fixed: ConceptModel,
    fix: Fix,
    given: TrainingSet,
    data: TrainingSet,
    here: TrainingSet | None,
    there: TrainingSet,
) -> tuple[Estimate | None, Estimate | None]:
    """Accuracy in the new place and at the source when a gate decides which images the fix acts on."""
    train = data.split("train")
    scores = model.scores(train.x)
    changed = np.array([k for k, evidence in enumerate(fix.evidence) if evidence.gain != 1])
    source = source_statistics(scores, train.labels, len(data.classes))
    gate = fit_gate(changed, model.scores(given.x), given.labels, scores, source)

    def accuracy(part: TrainingSet) -> Estimate:
        return _known(np.where(gate.opens(model.scores(part.x)), _right(fixed, part), _right(model, part)))

    return None if here is None else accuracy(here), accuracy(there)


def _baselines(model: ConceptModel, given: TrainingSet) -> dict[str, ConceptModel]:
    """Simpler remedies on the same images: other class offsets, and a head refitted (logistic, C = 0.1)."""
    head, scores = linear_head(model), model.scores(given.x)
    offsets = class_offsets(head(scores, given.x), given.labels)
    remedies = {"class offsets": replace(model, head=replace(head, bias=head.bias + offsets))}
    if len(set(given.labels.tolist())) == len(model.classes) > 2 and model.concepts:
        from sklearn.linear_model import LogisticRegression

        refit = LogisticRegression(C=REFIT_C, max_iter=2000).fit(scores.numpy(), given.labels.numpy())
        weight, bias = (torch.as_tensor(fitted, dtype=torch.float32) for fitted in (refit.coef_, refit.intercept_))
        remedies["head refitted"] = replace(model, head=LinearHead(weight, bias))
    return remedies


def class_offsets(logits: Float[Tensor, "n c"], labels: Int[Tensor, "n"], *, rounds: int = 200) -> Float[Tensor, "c"]:
    """What to add to each class's logit so that the mean probabilities are the shares of the labels.

    Notes
    -----
    This is the cross-entropy optimum over offsets. It is reached by scaling in turn; a class without a label keeps its
    offset.
    """
    shares = torch.bincount(labels, minlength=logits.shape[1]).double() / len(labels)
    offsets = torch.zeros(logits.shape[1], dtype=torch.float64)
    for _ in range(rounds):
        mean = torch.softmax(logits.double() + offsets, 1).mean(0)
        offsets += torch.where(shares > 0, (shares / mean).log(), 0.0).nan_to_num()
    return (offsets - offsets.mean()).float()


def _right(model: ConceptModel, data: TrainingSet) -> Bool[np.ndarray, "n"]:
    return np.asarray((model.predict(data.x) == data.labels).numpy())


def _without(part: TrainingSet, support: TrainingSet, split: str) -> TrainingSet:
    """The images of a split that are not in the support set."""
    rest = ~np.isin(np.array(part.ids), np.array(support.ids))
    if not rest.any():
        raise DataError(f"every image of {split} is in the support set", hint="leave some to measure on")
    return part.where(rest)


def _paired(differences: Float[np.ndarray, "n"]) -> Estimate:
    """Mean of differences image by image, with a bootstrap interval."""
    values = torch.as_tensor(differences, dtype=torch.float64)
    return bootstrap(lambda counts: counts @ values / counts.sum(1), len(values), low=-1.0)


def _known(right: Bool[np.ndarray, "n"]) -> Estimate:
    return wilson(int(right.sum()), len(right))


def _share(right: Bool[np.ndarray, "n"] | None) -> Estimate | None:
    return None if right is None else _known(right)
