"""A typed path reaches what it may and nothing else."""

import os
from dataclasses import replace

import pytest

from app import server_paths
from app.settings import Settings
from cbm.errors import UsageError


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "open" / "door").symlink_to(tmp_path / "closed")
    return Settings(home=tmp_path / "home", server_paths=os.pathsep.join([str(tmp_path / "open"), "/nowhere"]))


def test_a_path_inside_a_named_folder_may_be_used(settings, tmp_path):
    assert server_paths.permitted(settings, f" {tmp_path}/open/photos ") == tmp_path / "open" / "photos"


@pytest.mark.parametrize("given", ["closed/photos", "open/../closed", "open/door/photos", "opened"])
def test_a_path_outside_is_refused_however_it_is_written(settings, tmp_path, given):
    with pytest.raises(UsageError, match="outside the folders"):
        server_paths.permitted(settings, f"{tmp_path}/{given}")


def test_no_path_at_all_is_named(settings):
    with pytest.raises(UsageError, match="there is no path"):
        server_paths.permitted(settings, "  ")


def test_none_refuses_and_is_not_offered(settings, tmp_path):
    closed = replace(settings, server_paths="none")

    assert not server_paths.are_offered(closed)
    with pytest.raises(UsageError):
        server_paths.permitted(closed, str(tmp_path))


def test_any_is_any(settings, tmp_path):
    assert server_paths.permitted(replace(settings, server_paths="any"), str(tmp_path)) == tmp_path
