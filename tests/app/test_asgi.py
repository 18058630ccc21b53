"""The server answers its own names only, says whether it works, and forbids what pages never need."""

import signal
import subprocess
import sys

import pytest
from starlette.testclient import TestClient
from streamlit.runtime import Runtime

from app import asgi
from app.settings import Settings
from app.workspace import open_workspace


@pytest.fixture
def settings(tmp_path):
    settings = Settings(home=tmp_path / "home")
    open_workspace(settings).close()
    return settings


@pytest.fixture
def client(settings):
    yield from _client(settings)


def _client(settings, **options):
    # Streamlit allows one server a process, for good; a test lets the next one have its own.
    Runtime._instance = None
    app = asgi.build(settings, worker=False, **options)
    yield TestClient(app, base_url="http://localhost")
    Runtime._instance = None


def test_health_needs_nothing(client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_whole_workspace_is_ready(client):
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"ready": True, "problems": []})


def test_a_database_without_its_tables_is_not_ready(client, settings):
    (settings.home / "pellucid.db").unlink()

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert any("tables" in problem for problem in answer.json()["problems"])


@pytest.mark.parametrize("path", ["/healthz", "/", "/_stcore/health"])
def test_every_answer_forbids_framing_sniffing_and_foreign_content(client, path):
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "img-src 'self' data: blob:;" in headers["content-security-policy"]


def test_a_foreign_host_name_gets_no_page(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:8501"}).status_code == 200


def test_an_allowed_name_is_answered(settings):
    for client in _client(settings, hosts=["lab.example"]):
        assert client.get("/healthz", headers={"Host": "lab.example"}).status_code == 200
        assert client.get("/healthz", headers={"Host": "localhost"}).status_code == 400


def test_a_worker_that_ignores_the_request_to_stop_is_killed():
    deaf = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"deaf\n"

    asgi.stop_worker(process, grace=-0.9)

    assert process.returncode == -signal.SIGKILL
    process.stdout.close()


def test_the_worker_starts_and_stops_in_order(settings):
    process = asgi.start_worker(settings)
    assert process.poll() is None

    asgi.stop_worker(process, grace=20)

    assert process.returncode in (0, -signal.SIGTERM)  # the latter when it was asked before it could listen


def test_a_worker_whose_server_was_killed_ends_too(settings):
    process = asgi.start_worker(settings)

    process.stdin.close()

    assert process.wait(30) == 0


def test_the_theme_of_the_file_reaches_the_server() -> None:
    options = asgi.theme()

    assert options["theme.font"] == "sans-serif"
    assert str(options["theme.light.primaryColor"]).startswith("#")
    assert "theme.dark.sidebar.backgroundColor" in options
