"""Workspaces for the tests of `app`: `ws` on SQLite and on PostgreSQL in turn, `workspace` on SQLite only."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.settings import Settings
from app.workspace import Workspace, open_workspace


def _programs() -> Path | None:
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return Path(found).parent if found else versions[-1].parent if versions else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of an empty PostgreSQL server of our own, or the one named by PELLUCID_TEST_POSTGRES."""
    if os.environ.get("PELLUCID_TEST_POSTGRES"):
        yield os.environ["PELLUCID_TEST_POSTGRES"]
        return
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pellucid-pg-"))
    as_user = []
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def call(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")

    data, pg_ctl = str(folder / "data"), str(programs / "pg_ctl")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c max_connections=60"
    call(str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    try:
        call(pg_ctl, "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        call(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database; "" means SQLite in the workspace."""
    if request.param == "sqlite":
        yield ""
        return
    server = request.getfixturevalue("postgres_server")
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings for quick tests: signs of life every tenth of a second."""
    return quick_settings(tmp_path / "home", database_url)


@pytest.fixture
def ws(settings: Settings) -> Iterator[Workspace]:
    """An empty workspace, once on each database."""
    ws = open_workspace(settings)
    yield ws
    ws.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace on SQLite, for tests that do not care about the database."""
    ws = open_workspace(quick_settings(tmp_path / "home", ""))
    yield ws
    ws.close()


def quick_settings(home: Path, database_url: str) -> Settings:
    """Settings whose workers notice everything within a second."""
    return Settings(
        home=home,
        database_url=database_url,
        heartbeat=0.1,
        dead_after=1.5,
        grace=1.0,
        max_attempts=2,
        extensions="slow_jobs",
    )
