"""One self-contained HTML page about a model: what it decides by, how well, what was edited, and decisions as examples.

The page holds no script and asks for nothing from a network; names from data are escaped by the template.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import store
from app.cases import outcome
from app.glossary import title_of_metric
from app.workspace import Workspace

if TYPE_CHECKING:
    from jinja2 import Template

    from cbm.explanations import Explanation
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet

TEMPLATE = Path(__file__).with_name("report.html")
EXAMPLES = 6  # decisions shown, half of them wrong where there are as many
CONCEPTS = 6  # of an example, and of a class
PICTURE = 192


@dataclass(frozen=True)
class Example:
    """One decision: the picture as a data address, what it is, what the model says, and why."""

    id: str
    picture: str
    truth: str
    explanation: "Explanation"

    @property
    def wrong(self) -> bool:
        """Whether the model errs."""
        return self.explanation.prediction != self.truth


def report_page(
    ws: Workspace,
    name: str,
    model: "ConceptModel",
    measured: Mapping[str, Mapping[str, Any]],
    data: "TrainingSet | None",
    *,
    title: str = "",
) -> str:
    """The page as text.

    Parameters
    ----------
    measured
        What was measured of this very model, by split, as for the model card.
    data
        The images to take examples from; without one there are none.
    """
    from cbm.card import is_control, metric_text
    from cbm.citations import bibtex
    from cbm.edits import describe
    from cbm.methods import method
    from cbm.model import linear_head

    weights = _class_weights(model) if model.exact and model.concepts else []
    return _template().render(
        name=title or name,
        model=model,
        method=method(model.recipe.method),
        measured=measured,
        title_of=title_of_metric,
        is_control=is_control,
        text=metric_text,
        classes=weights,
        largest=float(linear_head(model).weight.abs().max()) if weights else 1.0,
        examples=[] if data is None else _examples(ws, name, model, data),
        edits=[describe(edit) for edit in model.edits],
        citation=bibtex(works(model)),
    )


def works(model: "ConceptModel") -> list[str]:
    """What to cite for a model: its method, and the test-time fix where it has one."""
    from cbm.edits import TestTimeFix

    fixed = any(isinstance(edit, TestTimeFix) for edit in model.edits)
    return [model.recipe.method, *(["test-time fix"] if fixed else [])]


def _class_weights(model: "ConceptModel") -> list[tuple[str, list[tuple[str, float]]]]:
    from cbm.explanations import class_weights

    return [(name, list(class_weights(model, name)[:CONCEPTS])) for name in model.classes]


def _examples(ws: Workspace, name: str, model: "ConceptModel", data: "TrainingSet") -> list[Example]:
    import numpy as np

    from cbm.explanations import explain

    result = outcome(model, data)
    known = result.labels >= 0
    wrong = np.flatnonzero(result.wrong & known)[: EXAMPLES // 2].tolist()
    right = np.flatnonzero(~result.wrong & known)
    spread = right[np.linspace(0, len(right) - 1, EXAMPLES - len(wrong)).astype(int)].tolist() if len(right) else []
    chosen = list(dict.fromkeys([*spread, *wrong]))
    dataset = store.model_row(ws, name).dataset
    pictures = store.thumbnails(ws, str(dataset), [data.ids[i] for i in chosen], PICTURE) if dataset else {}
    return [
        Example(
            id=data.ids[i],
            picture="data:image/jpeg;base64," + base64.b64encode(pictures[data.ids[i]]).decode(),
            truth=data.classes[int(data.labels[i])],
            explanation=explain(model, data.x[i]),
        )
        for i in chosen
        if data.ids[i] in pictures
    ]


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.from_string(TEMPLATE.read_text(encoding="utf-8"))
