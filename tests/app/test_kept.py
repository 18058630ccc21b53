"""What is kept is told again until one of the things that it follows from changes."""

from app.kept import keep, kept
from app.workspace import Workspace


def test_a_value_is_there_as_long_as_its_key_holds(workspace: Workspace) -> None:
    assert kept(workspace, "tour of birds", "one") is None

    keep(workspace, "tour of birds", "one", {"split": "shifted"})
    assert kept(workspace, "tour of birds", "one") == {"split": "shifted"}
    assert kept(workspace, "tour of birds", "two") is None
    assert kept(workspace, "tour of cells", "one") is None

    keep(workspace, "tour of birds", "two", [])
    assert kept(workspace, "tour of birds", "one") is None
    assert kept(workspace, "tour of birds", "two") == []
