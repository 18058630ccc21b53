"""Opening a screen of the test's workspace without a browser, and doing its jobs here and now."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import jobs, tasks
from app.workspace import Workspace
from cbm.errors import PellucidError

sys.path.insert(0, str(Path(__file__).parent))  # for shore.py; tests are imported without packages
from shore import fill

MAIN = Path(__file__).parents[3] / "app" / "main.py"


@pytest.fixture
def open_screen(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Open a screen ("data") with parameters of the address."""
    for name, value in workspace.settings.to_environment().items():
        monkeypatch.setenv(name, value)

    def opened(screen: str, **parameters: str | list[str]) -> AppTest:
        page = AppTest.from_file(str(MAIN), default_timeout=60)
        for name, value in parameters.items():
            page.query_params[name] = value
        return page.switch_page(f"screens/{screen}.py").run()

    return opened


@pytest.fixture
def work(workspace: Workspace) -> Callable[[], None]:
    """Do every waiting job here and now, as a worker would."""

    def working() -> None:
        while claim := jobs.claim(workspace, "test"):
            try:
                jobs.succeed(
                    workspace, claim, tasks.run(workspace, claim.kind, claim.params, lambda done, message: None)
                )
            except PellucidError as error:
                jobs.fail(workspace, claim, error)

    return working


@pytest.fixture
def words() -> Callable[[AppTest], str]:
    """All text on a page."""

    def written(page: AppTest) -> str:
        parts = [*page.markdown, *page.caption, *page.info, *page.warning, *page.error, *page.success, *page.title]
        return "\n".join(str(part.value) for part in parts)

    return written


@pytest.fixture
def shore(workspace: Workspace, tmp_path: Path) -> Workspace:
    """The workspace with the birds of `shore.py` and their model."""
    fill(workspace, tmp_path / "shore")
    return workspace
