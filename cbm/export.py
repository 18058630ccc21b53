"""What a model says, for other programs: explanations of many images as one table.

Texts in a table come from data. A cell that a spreadsheet would take for a formula gets an apostrophe in front.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from cbm.model import ConceptModel
from cbm.progress import OnProgress, silent
from cbm.training_set import TrainingSet
from cbm.whole_files import replacing

ROWS_AT_ONCE = 1024
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_explanations(
    model: ConceptModel, data: TrainingSet, path: str | Path, *, on_progress: OnProgress = silent
) -> Path:
    """Write a CSV file with one row an image and return its path.

    The columns are the image's id, split and class, the predicted class with its probability, then every concept's
    `score:NAME` and its `contribution:NAME` to the predicted class. Contributions and `rest` (with a linear head, bias
    and residual) add up to `logit`.
    """
    target = Path(path)
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([plain(name) for name in _columns(model)])
        for start in range(0, len(data), ROWS_AT_ONCE):
            on_progress(start / len(data), f"explained {start:,} of {len(data):,} images")
            writer.writerows(_rows(model, data, start))
    on_progress(1.0, f"explained {len(data):,} images")
    return target


def plain(text: str) -> str:
    """The text as a spreadsheet shows it and does not compute it.

    Examples
    --------
    >>> plain("=1+1"), plain("striped wing")
    ("'=1+1", 'striped wing')
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def _columns(model: ConceptModel) -> list[str]:
    fixed = ["id", "split", "class", "prediction", "probability", "logit", "rest"]
    kinds = ("score", "contribution")
    return fixed + [f"{kind}:{concept}" for kind in kinds for concept in model.concepts]


def _rows(model: ConceptModel, data: TrainingSet, start: int) -> Iterator[list[str | float]]:
    x = data.x[start : start + ROWS_AT_ONCE]
    scores = model.scores(x)
    logits = model.head(scores, x)
    chosen, probabilities = logits.argmax(1), logits.softmax(1)
    for i in range(len(x)):
        at, c = start + i, int(chosen[i])
        parts = model.head.contributions(scores[i : i + 1], x[i : i + 1], c)[0]
        names = (data.ids[at], str(data.splits[at]), data.classes[int(data.labels[at])], model.classes[c])
        logit = float(logits[i, c])
        yield [
            *map(plain, names),
            float(probabilities[i, c]),
            logit,
            logit - float(parts.sum()),
            *scores[i].tolist(),
            *parts.tolist(),
        ]
