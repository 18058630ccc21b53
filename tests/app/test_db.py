"""Opening, migrating, checking and backing up, on both databases."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import IntegrityError

from app import db
from app.db import reading, writing
from app.settings import Settings
from app.tables import Draft, Note, Table, now
from app.workspace import Workspace, open_workspace
from cbm.errors import StoreError, UsageError


def test_a_new_workspace_has_every_table_and_no_problem(ws: Workspace) -> None:
    assert set(inspect(ws.engine).get_table_names()) == {*Table.metadata.tables, "alembic_version"}
    assert db.check(ws.engine) == []


def test_processes_that_start_together_migrate_once(settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(open_workspace, [settings] * 4))

    assert db.check(opened[0].engine) == []
    for ws in opened:
        ws.close()


def test_a_column_that_is_missing_is_a_problem(ws: Workspace) -> None:
    with writing(ws.engine) as session:
        session.execute(text("ALTER TABLE note DROP COLUMN text"))

    assert any("note" in problem and "text" in problem for problem in db.check(ws.engine))


def test_a_database_made_by_a_newer_version_is_refused(ws: Workspace) -> None:
    with writing(ws.engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match="does not fit"):
        db.upgrade(ws.engine)


def test_foreign_keys_hold(ws: Workspace) -> None:
    with pytest.raises(IntegrityError), writing(ws.engine) as session:
        session.add(Draft(model_id=1, image="a", owner="", clamps={}))


def test_a_block_that_raises_leaves_nothing(ws: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), writing(ws.engine) as session:
        session.add(Note(kind="image", subject="1", owner="", text="half done"))
        session.flush()
        _ = 1 / 0

    with reading(ws.engine) as session:
        assert session.scalar(select(func.count()).select_from(Note)) == 0


def test_writers_wait_for_one_another(ws: Workspace) -> None:
    with writing(ws.engine) as session:
        session.add(Note(kind="counter", subject="1", owner="", text="0"))

    def add_one(_: int) -> None:
        with writing(ws.engine) as session:
            note = session.scalars(select(Note).with_for_update()).one()
            note.text = str(int(note.text) + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(40)))

    with reading(ws.engine) as session:
        assert session.scalars(select(Note.text)).one() == "40"


def test_the_databases_clock_is_in_seconds_since_1970(ws: Workspace) -> None:
    with reading(ws.engine) as session:
        first = session.scalar(select(now()))
        known = {"sqlite": "strftime('%s','now')", "postgresql": "extract(epoch from clock_timestamp())"}
        second = float(session.scalar(text(f"SELECT {known[ws.engine.dialect.name]}")))

    assert first == pytest.approx(second, abs=2)


def test_a_backup_of_sqlite_is_a_whole_database(workspace: Workspace, tmp_path: Path) -> None:
    with writing(workspace.engine) as session:
        session.add(Note(kind="image", subject="1", owner="ada", text="a stripe"))

    path = db.backup(workspace.engine, tmp_path / "backup" / "pellucid.db")

    with sqlite3.connect(path) as copy:
        assert copy.execute("SELECT text FROM note").fetchall() == [("a stripe",)]
    copy.close()


def test_a_backup_is_listed_by_pg_restore(ws: Workspace, tmp_path: Path) -> None:
    if ws.engine.dialect.name != "postgresql":
        pytest.skip("a SQLite backup has its own test")

    path = db.backup(ws.engine, tmp_path / "pellucid.dump")

    listing = subprocess.run(["pg_restore", "--list", str(path)], capture_output=True, text=True, check=True).stdout
    assert "TABLE DATA public job" in listing


def test_a_backup_never_overwrites(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")

    with pytest.raises(StoreError, match="exists already"):
        db.backup(workspace.engine, tmp_path / "there")

    assert (tmp_path / "there").read_text() == "precious"


def test_a_database_that_cannot_be_reached_is_explained(tmp_path: Path) -> None:
    url = f"postgresql://nobody:secret@/none?host={tmp_path}"

    with pytest.raises(StoreError, match="cannot be opened") as caught:
        open_workspace(Settings(home=tmp_path, database_url=url))

    assert "secret" not in caught.value.message


def test_settings_come_from_the_environment_and_go_back() -> None:
    environ = {"PELLUCID_HOME": "/data", "PELLUCID_THREADS": "4", "PELLUCID_ALLOW_DOWNLOAD": "yes", "OTHER": "x"}

    settings = Settings.from_environment(environ)

    assert (settings.home, settings.threads, settings.allow_download) == (Path("/data"), 4, True)
    assert Settings.from_environment(settings.to_environment()) == settings


def test_a_setting_out_of_bounds_is_refused() -> None:
    with pytest.raises(UsageError, match="threads"):
        Settings.from_environment({"PELLUCID_THREADS": "-1"})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_a_postgresql_url_uses_our_driver(scheme: str) -> None:
    assert Settings(database_url=f"{scheme}://host/db").url == "postgresql+psycopg://host/db"


def test_jobs_can_be_listed_without_importing_torch() -> None:
    code = "import sys, app.jobs, app.worker, app.workspace; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
