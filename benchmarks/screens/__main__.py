"""Every screen on a data set of 100,000 images: what it costs the server, and what a person in a browser waits for.

    python -m benchmarks.screens --images 100000                # make the workspace (ten minutes, 600 MB), time the scripts
    python -m benchmarks.screens --images 100000 --browser      # the same in Chromium, with the server's memory

`first_s` is with empty caches, `again_s` another person's session; both hold the 0.2 s that the test harness takes for a
page with nothing on it. `cpu_s` is the median of what people do most on the screen.
"""

import argparse
import os
from pathlib import Path

import torch

from app import store
from app.settings import Settings
from benchmarks.measure import report
from benchmarks.screens import crowd, server


def main() -> None:
    """Parse the command line, make what is missing, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.screens", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--home", type=Path, help="folder of the workspace; kept, and used again")
    parser.add_argument("--only", action="append", help="these screens")
    parser.add_argument("--browser", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    home = (given.home or Path(f"crowd-{given.images}")).absolute()
    ws = store.open_workspace(Settings(home=home))
    crowd.build(ws, given.images, on_progress=lambda done, message: print(f"\r{message:60}", end="", flush=True))
    ws.close()
    os.environ["PELLUCID_HOME"] = str(home)
    screens = tuple(screen for screen in server.SCREENS if given.only is None or screen.name in given.only)
    if given.browser:
        from benchmarks.screens import browser

        report("screens-browser", f"screens in a browser, {given.images:,} images",
               browser.measured(home, screens, dataset=crowd.NAME))  # fmt: skip
    else:
        report("screens", f"screens of {given.images:,} images", server.measured(screens, dataset=crowd.NAME))


if __name__ == "__main__":
    main()
