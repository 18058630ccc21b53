"""The product as a person meets it: the installed command serves a small demo world, and Chromium looks at it.

Every test works on a model of its own, so that what one test prunes is still there for the next.
"""

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from app import demo, store
from app.settings import Settings
from app.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))  # for server.py and tab.py; tests are imported without packages
from server import Server
from tab import Tab

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE = 60_000  # milliseconds; a busy machine is no failure
WORLD = demo.World(
    name="birds",
    counts={"train": 400, "val": 100, "test": 100, "shifted": 150},
    banks={"birds-examples": "examples"},
    methods=("posthoc",),
)
_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember whether a test failed, for `browsing` to take pictures of its tabs."""
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or Google's Chrome, without a window."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def home(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a workspace with a few hundred birds, their concepts, and one model."""
    home = tmp_path_factory.mktemp("browser") / "home"
    ws = store.open_workspace(Settings(home=home))
    demo.build(ws, worlds=(WORLD,))
    ws.close()
    return home


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Server]:
    """The server of that workspace."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(home, home.parent / "server.log", port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def ws(home: Path) -> Iterator[Workspace]:
    """The same workspace seen from here, to know what the screens should say."""
    ws = store.open_workspace(Settings(home=home))
    yield ws
    ws.close()


@pytest.fixture
def model(ws: Workspace, request: pytest.FixtureRequest) -> str:
    """Name of a model that only this test edits."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:60]
    store.add_model(ws, name, store.base_model(ws, "birds-posthoc"), dataset="birds", bank="birds-examples")
    return name


@pytest.fixture
def browsing(chromium: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """One person's browser. Pictures of its tabs are kept in `tmp_path` when the test fails."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield context
    if request.node.stash.get(_failed, False):
        for number, page in enumerate(context.pages):
            page.screenshot(path=tmp_path / f"tab-{number}.png", full_page=True)
            print(f"{page.url}\nlooked like {tmp_path}/tab-{number}.png")
    context.close()


@pytest.fixture
def open_tab(server: Server, browsing: BrowserContext) -> Iterator[Callable[..., Tab]]:
    """Open a screen ("explain") in a new tab, with parameters of the address; in the end no tab may have complained."""
    tabs: list[Tab] = []

    def opened(screen: str = "", *, width: int = 1280, **parameters: str) -> Tab:
        page: Page = browsing.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        tab = Tab(page, f"http://127.0.0.1:{server.port}")
        tabs.append(tab)
        tab.go(screen, **parameters)
        return tab

    yield opened
    assert [complaint for tab in tabs for complaint in tab.complaints] == []
