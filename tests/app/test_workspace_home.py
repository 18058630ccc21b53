"""A database that several hosts use, and the folder that must be the same on all of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.settings import Settings
from app.workspace import Workspace, open_workspace
from cbm.errors import StoreError


@pytest.fixture
def shared(settings: Settings, tmp_path: Path) -> Settings:
    """Settings that name their database, on SQLite too."""
    return settings if settings.database_url else replace(settings, database_url=f"sqlite:///{tmp_path / 'shared.db'}")


def opened(settings: Settings) -> None:
    ws = open_workspace(settings)
    ws.close()


def test_another_host_with_the_same_folder_is_welcome(shared: Settings) -> None:
    opened(shared)
    opened(shared)


def test_a_host_with_another_folder_is_refused_and_told_what_to_do(shared: Settings, tmp_path: Path) -> None:
    opened(shared)
    known = (shared.home / "workspace.id").read_text()

    with pytest.raises(StoreError, match="is not the workspace folder of this database") as refused:
        opened(replace(shared, home=tmp_path / "elsewhere"))

    assert known in refused.value.hint
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "elsewhere" / "workspace.id").write_text(known + "\n")
    opened(replace(shared, home=tmp_path / "elsewhere"))


def test_a_folder_of_another_database_is_refused(shared: Settings, tmp_path: Path) -> None:
    opened(shared)
    other = replace(shared, home=tmp_path / "other", database_url=f"sqlite:///{tmp_path / 'other.db'}")
    opened(other)

    with pytest.raises(StoreError, match="is not the workspace folder"):
        opened(replace(shared, home=other.home))


def test_a_database_that_was_set_up_again_takes_the_folder_that_is_there(shared: Settings, tmp_path: Path) -> None:
    opened(shared)
    known = (shared.home / "workspace.id").read_text()

    opened(replace(shared, database_url=f"sqlite:///{tmp_path / 'new.db'}"))

    assert (shared.home / "workspace.id").read_text() == known


def test_a_database_inside_the_folder_needs_no_such_file(workspace: Workspace) -> None:
    assert not (workspace.settings.home / "workspace.id").exists()
