"""The laws of an edit history, alone and with two sessions at work on the same model."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from app import store
from app.history import StaleEdit, append, bring_over, diff, history, new_branch, redo, undo
from app.workspace import Workspace, open_workspace
from cbm.edits import DropConcept, RenameConcept, ScaleScore, SetScore, SetWeight
from cbm.errors import StoreError, UnknownName
from cbm.io import fingerprint
from cbm.model import ConceptModel

A, B, C = ScaleScore("stripes", 2.0), SetScore("spots", 1.0), DropConcept("water")


@pytest.fixture
def filled(ws: Workspace, animal_model: ConceptModel) -> Workspace:
    store.add_model(ws, "animals", animal_model)
    return ws


def test_undo_then_redo_is_where_we_were(filled: Workspace) -> None:
    append(filled, "animals", [A, B, C])
    before = store.model(filled, "animals")

    undone = undo(filled, "animals", steps=2)
    redone = redo(filled, "animals", steps=2)

    assert (undone.edits, undone.undone) == ((A,), (B, C))
    assert (redone.edits, redone.undone) == ((A, B, C), ())
    assert fingerprint(store.model(filled, "animals")) == fingerprint(before)


def test_undoing_everything_is_the_model_that_was_fitted(filled: Workspace, animal_model: ConceptModel) -> None:
    append(filled, "animals", [A, B, C])

    undo(filled, "animals", steps=99)

    assert fingerprint(store.model(filled, "animals")) == fingerprint(animal_model)
    assert undo(filled, "animals").edits == ()


def test_a_new_edit_discards_what_the_person_has_seen_undone(filled: Workspace) -> None:
    append(filled, "animals", [A, B])
    seen = undo(filled, "animals")

    after = append(filled, "animals", [C], expect_version=seen.version)

    assert (after.edits, after.undone) == ((A, C), ())


def test_edits_from_a_second_tab_are_kept_before_the_new_ones(filled: Workspace) -> None:
    seen = history(filled, "animals")
    append(filled, "animals", [A], expect_version=seen.version)

    after = append(filled, "animals", [B], expect_version=seen.version)

    assert after.edits == (A, B)


def test_an_edit_that_would_discard_an_unseen_undo_is_stale(filled: Workspace) -> None:
    seen = append(filled, "animals", [A, B])
    undo(filled, "animals")

    with pytest.raises(StaleEdit, match="undone meanwhile"):
        append(filled, "animals", [C], expect_version=seen.version)

    assert history(filled, "animals").undone == (B,)


def test_an_undo_never_hits_an_edit_that_came_meanwhile(filled: Workspace) -> None:
    seen = append(filled, "animals", [A])
    append(filled, "animals", [B])

    with pytest.raises(StaleEdit, match="have changed"):
        undo(filled, "animals", expect_version=seen.version)

    assert history(filled, "animals").edits == (A, B)


def test_an_edit_is_checked_against_the_model_as_it_is_now(filled: Workspace) -> None:
    append(filled, "animals", [RenameConcept("water", "sea")])

    with pytest.raises(UnknownName, match="water"):
        append(filled, "animals", [DropConcept("water")])

    assert append(filled, "animals", [DropConcept("sea")]).edits[-1] == DropConcept("sea")


def test_no_edit_is_lost_between_sessions_on_their_own_connections(filled: Workspace) -> None:
    def session(number: int) -> None:
        ws = open_workspace(filled.settings)
        for step in range(8):
            append(ws, "animals", [SetWeight("spots", "whale", 100.0 * number + step)])
        ws.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(session, range(3)))

    values = [edit.value for edit in history(filled, "animals").edits]
    for number in range(3):  # all are there, and each session's own are in its order
        assert [value for value in values if value // 100 == number] == [100.0 * number + step for step in range(8)]


@given(moves=some.lists(some.sampled_from(["append", "undo", "redo", "other tab"]), max_size=12))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_history_is_a_list_with_a_cursor(ws: Workspace, animal_model: ConceptModel, moves: list[str]) -> None:
    store.add_model(ws, "animals", animal_model)
    other = open_workspace(ws.settings)
    done, undone = [], []
    for number, move in enumerate(moves):
        if move == "undo":
            undo(ws, "animals")
            undone = done[-1:] + undone
            done = done[:-1]
        elif move == "redo":
            redo(ws, "animals")
            done, undone = done + undone[:1], undone[1:]
        else:
            append(other if move == "other tab" else ws, "animals", [SetScore("spots", float(number))])
            done, undone = [*done, SetScore("spots", float(number))], []

    now = history(other, "animals")
    assert (list(now.edits), list(now.undone)) == (done, undone)
    other.close()
    store.delete_model(ws, "animals")


def test_a_branch_starts_with_the_edits_that_count_and_goes_its_own_way(filled: Workspace) -> None:
    append(filled, "animals", [A, B])
    undo(filled, "animals")

    new_branch(filled, "animals", "careful")
    append(filled, "animals", [C], branch="careful")
    redo(filled, "animals")

    main, careful = history(filled, "animals"), history(filled, "animals", "careful")
    assert store.branches(filled, "animals") == ["main", "careful"]
    assert diff(main.edits, careful.edits) == store.Diff(common=(A,), left=(B,), right=(C,))
    assert store.model(filled, "animals", branch="careful").concepts == ("stripes", "spots")
    assert len(store.model(filled, "animals").concepts) == 3


def test_branch_names_are_unique_and_main_stays(filled: Workspace) -> None:
    new_branch(filled, "animals", "careful")

    with pytest.raises(StoreError, match="already has a branch 'careful'"):
        new_branch(filled, "animals", "careful")
    with pytest.raises(StoreError, match="cannot be deleted"):
        store.delete_branch(filled, "animals", "main")
    store.delete_branch(filled, "animals", "careful")
    with pytest.raises(UnknownName, match="careful"):
        history(filled, "animals", "careful")


def test_a_branch_is_brought_over_once(filled: Workspace) -> None:
    new_branch(filled, "animals", "careful")
    append(filled, "animals", [A])
    append(filled, "animals", [B], branch="careful")

    first, opposed = bring_over(filled, "animals", "careful")
    again, _ = bring_over(filled, "animals", "careful")

    assert (first.edits, opposed) == ((A, B), ())
    assert again == first


def test_bringing_over_after_an_unseen_undo_is_stale(filled: Workspace) -> None:
    new_branch(filled, "animals", "careful")
    append(filled, "animals", [B], branch="careful")
    seen = append(filled, "animals", [A])
    undo(filled, "animals")

    with pytest.raises(StaleEdit):
        bring_over(filled, "animals", "careful", expect_version=seen.version)
