"""From a mistake to a better model, the way that the product promises it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tab import Tab

import cbm
from app import store
from app.cases import ranges
from app.workspace import Workspace
from cbm.edits import PruneWeight, apply
from cbm.explanations import smallest_flip
from cbm.model import ConceptModel
from cbm.training_set import TrainingSet

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
WATER = "water background"
SAVED = f"Prune “{WATER}” for every class"


def right(model: ConceptModel, data: TrainingSet) -> float:
    """The share of right decisions, in per cent."""
    return round(100 * float((model.predict(data.x) == data.labels).double().mean()), 1)


def said(model: ConceptModel, data: TrainingSet, image: str) -> str:
    """What a model takes an image for."""
    return model.classes[int(model.predict(data.x[data.ids.index(image)][None]))]


def right_of(data: TrainingSet, image: str) -> str:
    """What an image is."""
    return data.classes[int(data.labels[data.ids.index(image)])]


def flips(model: ConceptModel, data: TrainingSet, image: str) -> bool:
    """Whether moving one concept, within what occurs, can change the decision."""
    limits = ranges(model.scores(data.split("train").x))
    return smallest_flip(model, data.x[data.ids.index(image)], low=limits.low, high=limits.high) is not None


@pytest.fixture
def birds(ws: Workspace) -> TrainingSet:
    """The embedded birds."""
    return store.training_set(ws, "birds", "builtin:demo")


def test_a_mistake_leads_to_a_better_model(
    open_tab: Callable[..., Tab], ws: Workspace, model: str, birds: TrainingSet, tmp_path: Path
) -> None:
    before, shifted = store.model(ws, model), birds.split("shifted")
    better = apply(before, [PruneWeight(WATER)])
    assert right(better, shifted) > right(before, shifted) + 2
    mistakes = [image for image in shifted.ids if said(before, birds, image) != right_of(birds, image)]
    image = next(i for i in mistakes[:8] if said(better, birds, i) == right_of(birds, i) and flips(before, birds, i))
    wrong, truth = said(before, birds, image), right_of(birds, image)

    tab = open_tab("explain", dataset="birds", model=model)
    tab.choose("Split", "shifted")
    tab.switch("Only mistakes")
    tab.says(f"{len(mistakes)} images")
    tab.pick(image, wrong)
    tab.says(f"Predicted {wrong}, ")
    tab.says(f"wrong, it is {truth}")
    expect(tab.main.get_by_role("figure", name=f"What speaks for and against {wrong}")).to_be_visible()

    flip = tab.says(re.compile("flips it: (more|less) ")).inner_text()
    [(way, concept)] = re.findall(r"(more|less) (.+), from ", flip)
    tab.main.get_by_role("link", name="Try it").click()
    tab.arrived("Intervene")
    tab.main.get_by_role("slider", name=concept).first.press("End" if way == "more" else "Home")
    tab.says(f"{wrong} becomes ")
    tab.says("1 concept changed")

    tab.menu("Edit")
    tab.choose("Concept that should not count", WATER)
    tab.says(SAVED)
    expect(tab.metric("On shifted")).to_have_text(f"{right(better, shifted)} %")
    tab.press("Save edit")
    tab.says("Accuracy with all edits so far")
    expect(tab.metric("On shifted")).to_have_text(f"{right(better, shifted)} %")
    tab.press("Undo")
    tab.says(f"undone: {SAVED}")
    assert store.history(ws, model).edits == ()
    tab.press("Redo")
    expect(tab.main.get_by_role("listitem").filter(has_text=SAVED)).to_be_visible()

    tab.menu("Explain")
    tab.says(f"Predicted {truth}, ")
    tab.menu("Export")
    with tab.page.expect_download() as taken:
        tab.main.get_by_role("button", name=re.compile("^Download .* MB$")).click()
    taken.value.save_as(tmp_path / "mine.zip")
    mine = cbm.load(tmp_path / "mine.zip")
    assert mine.edits == (PruneWeight(WATER),)
    assert said(mine, birds, image) == truth
    assert right(mine, shifted) == right(better, shifted)
