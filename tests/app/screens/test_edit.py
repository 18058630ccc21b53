"""The screen Edit: what a change does is seen before it is saved, and every change can be taken back."""

from collections.abc import Callable
from dataclasses import replace

from streamlit.testing.v1 import AppTest

from app import store
from app.workspace import Workspace
from cbm.edits import DropConcept, MergeConcepts, PruneWeight, RenameConcept, ScaleScore, apply
from cbm.model import Recipe

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def script(ws: Workspace) -> tuple[object, ...]:
    """The edits that count."""
    return store.history(ws, "shore-posthoc").edits


def numbers(page: AppTest) -> dict[str, tuple[str, str]]:
    """Accuracy after the change and what that gains, by split."""
    return {metric.label: (metric.value, metric.delta) for metric in page.metric}


def test_pruning_the_concept_to_blame_is_previewed_and_then_saved(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("edit", concept="water")
    assert numbers(page)["On shifted"] == ("100 %", "+100.0 points")
    assert numbers(page)["On test"] == ("100 %", "no change")
    assert script(shore) == ()

    page.button(key="save").click().run()

    assert script(shore) == (PruneWeight("water"),)
    assert numbers(page)["On shifted"] == ("100 %", "+100.0 points")  # now of all edits so far
    assert page.button(key="save").disabled


def test_undo_and_redo_work_in_a_second_tab(open_screen: Open, shore: Workspace) -> None:
    store.append(shore, "shore-posthoc", [PruneWeight("water")])

    open_screen("edit").button(key="undo").click().run()
    assert script(shore) == ()

    open_screen("edit").button(key="redo").click().run()
    assert script(shore) == (PruneWeight("water"),)


def test_an_undo_of_something_else_than_was_seen_is_refused(open_screen: Open, shore: Workspace) -> None:
    store.append(shore, "shore-posthoc", [PruneWeight("water")])
    page = open_screen("edit")
    store.append(shore, "shore-posthoc", [DropConcept("small")])

    page.button(key="undo").click().run()

    assert len(script(shore)) == 2
    assert "changed since you looked" in page.error[0].value


def test_losing_accuracy_at_the_source_is_warned_about(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("edit", change="Drop", concept="small")

    assert "On val the model loses" in page.warning[0].value


def test_each_kind_of_change_saves_its_edit(open_screen: Open, shore: Workspace) -> None:
    open_screen("edit", change="Scale", concept="water", factor="0.5").button(key="save").click().run()
    open_screen("edit", change="Rename", concept="water", new_name="sea").button(key="save").click().run()
    page = open_screen("edit", change="Merge")
    page.multiselect(key="merge").set_value(["white wing", "black wing"]).run()
    page.text_input(key="merged_name").set_value("wing").run()
    page.button(key="save").click().run()
    open_screen("edit", change="Drop", concept="small").button(key="save").click().run()

    assert script(shore) == (
        ScaleScore("water", 0.5),
        RenameConcept("water", "sea"),
        MergeConcepts(("white wing", "black wing"), "wing"),
        DropConcept("small"),
    )


def test_weights_can_be_changed_in_the_table(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("edit", **{"change": "Weights", "class": "gull"})

    assert list(page.data_editor[0].value["concept"])[:2] == ["white wing", "water"]
    assert page.button(key="save").disabled


def test_a_name_that_is_taken_is_refused_in_words(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("edit", change="Rename", concept="water", new_name="small")

    assert not page.exception
    assert "there already is a concept" in page.error[0].value
    assert script(shore) == ()


def test_a_branch_starts_with_the_edits_that_count(open_screen: Open, shore: Workspace) -> None:
    store.append(shore, "shore-posthoc", [PruneWeight("water")])
    page = open_screen("edit")
    page.text_input(key="branch_name").set_value("careful").run()
    page.button(key="branch").click().run()

    assert page.query_params["version"] == "careful"
    assert store.history(shore, "shore-posthoc", "careful").edits == (PruneWeight("water"),)


def test_edits_of_another_branch_are_brought_over_and_conflicts_stay_there(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    store.new_branch(shore, "shore-posthoc", "careful")
    store.append(shore, "shore-posthoc", [RenameConcept("water", "sea")])
    store.append(shore, "shore-posthoc", [PruneWeight("water"), ScaleScore("small", 2.0)], branch="careful")

    page = open_screen("edit")
    assert "Stays there: “water”: Rename “water” to “sea”, but prune “water”" in words(page).replace("\\", "")
    page.button(key="bring_over").click().run()

    assert not page.exception
    assert store.history(shore, "shore-posthoc").edits == (RenameConcept("water", "sea"), ScaleScore("small", 2.0))
    assert store.history(shore, "shore-posthoc", "careful").edits[0] == PruneWeight("water")


def test_the_edits_of_another_model_are_applied_as_far_as_they_fit(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    again = replace(store.base_model(shore, "shore-posthoc"), recipe=Recipe("posthoc", encoder_id="test:shore"))
    store.add_model(shore, "again", apply(again, [RenameConcept("small", "tiny")]), dataset="shore")
    store.append(shore, "shore-posthoc", [PruneWeight("water"), ScaleScore("small", 2.0)])

    page = open_screen("edit", model="again")
    assert "no longer applies: there is no concept named 'small'" in words(page).replace("\\", "")
    page.button(key="replay").click().run()

    assert not page.exception
    assert store.history(shore, "again").edits == (PruneWeight("water"),)
