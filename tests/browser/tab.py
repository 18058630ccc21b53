"""One tab of a browser on Pellucid, with the few gestures that every story needs."""

import re
from contextlib import suppress
from urllib.parse import urlencode

from playwright.sync_api import ConsoleMessage, Locator, Page, TimeoutError, expect

ATTEMPTS, SOON = 6, 10_000  # times, and milliseconds that a list may take to open


class Tab:
    """A page, and what its console complained about."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        # Streamlit looks for its server below the page's own address first, and is told that it is not there; and who
        # leaves a page quickly leaves before its pictures came.
        told = f"{message.text} ({place})"
        if message.type == "error" and "/_stcore/" not in place and "/media/" not in told:
            self.complaints.append(told)

    @property
    def main(self) -> Locator:
        """Everything beside the sidebar."""
        return self.page.get_by_role("main")

    def go(self, screen: str, **parameters: str) -> None:
        """Type an address."""
        self.page.goto(f"{self.address}/{screen}?{urlencode(parameters)}")
        self.settled()

    def refresh(self) -> None:
        """Load the page again."""
        self.page.reload()
        self.settled()

    def settled(self) -> None:
        """Wait until the screen is drawn and nothing computes."""
        expect(self.main.get_by_role("heading", level=1)).to_be_visible()
        expect(self.page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")

    def menu(self, screen: str) -> None:
        """Go to a screen ("Explain") by the menu at the left."""
        self.page.get_by_role("navigation", name="App pages").get_by_role("link", name=screen, exact=True).click()
        self.arrived(screen)

    def arrived(self, screen: str) -> None:
        """Wait for a screen that a link led to."""
        expect(self.main.get_by_role("heading", level=1, name=screen)).to_be_visible()
        self.settled()

    def choose(self, label: str, option: str) -> None:
        """Choose in a list, by typing the option's name; again, where the page was drawn anew meanwhile."""
        box = self.main.get_by_role("combobox", name=label, exact=True)
        if box.input_value() == option:
            return
        for _ in range(ATTEMPTS):
            box.fill(option)
            with suppress(TimeoutError):
                self.page.get_by_role("option", name=option, exact=True).click(timeout=SOON)
                break
        expect(box).to_have_value(option)
        self.settled()

    def switch(self, label: str) -> None:
        """Turn a switch the other way."""
        self.main.get_by_text(label, exact=True).click()
        self.settled()

    def show(self, view: str) -> None:
        """Choose one of the views of a screen."""
        self.main.get_by_role("radiogroup").get_by_text(view, exact=True).click()
        expect(self.main.get_by_role("radio", name=view, exact=True)).to_be_checked()
        self.settled()

    def press(self, button: str) -> None:
        """Press a button, whatever shortcut its label names."""
        found = self.main.get_by_role("button", name=re.compile(rf"^{re.escape(button)}( Shortcut .*)?$"))
        expect(found).to_have_count(1)  # while a page is drawn again, its last drawing can still be there below
        found.click()
        self.settled()

    def pick(self, image: str, prediction: str) -> None:
        """Select an image by the button under its picture, which names what the model takes it for."""
        cell = self.main.locator("[data-testid=stVerticalBlock]").filter(has=self.page.get_by_role("img", name=image))
        cell.last.get_by_role("button", name=prediction, exact=True).click()
        expect(self.says(re.compile(rf"^{image} \("))).to_be_visible()
        self.settled()

    def says(self, text: str | re.Pattern[str]) -> Locator:
        """The first paragraph with a text, which must be there."""
        found = self.main.get_by_text(text).first
        expect(found).to_be_visible()
        return found

    def metric(self, label: str) -> Locator:
        """The value of a number that stands in a frame under its label."""
        frame = self.main.locator("[data-testid=stMetric]").filter(has_text=label)
        return frame.locator("[data-testid=stMetricValue]")
