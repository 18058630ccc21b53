"""Writes every method's options into its page, between two marks, and begins pages that are missing: `python docs/options.py`.

The table comes from the method's `Config`, as the form of the Build screen and `pellucid methods` do; a test fails when
a page says something else.
"""

import re
from pathlib import Path

from cbm.config import OptionSpec, specs
from cbm.methods import method, methods

FOLDER = Path(__file__).with_name("methods")
BETWEEN = re.compile(r"(?<=<!-- options -->\n).*?(?=<!-- end of options -->)", re.DOTALL)


def table(name: str) -> str:
    """The options of a method as a Markdown table."""
    rows = [
        f"| `{spec.name}` | {_shown(spec.default)} | {_allowed(spec)} | {spec.help} |"
        for spec in specs(method(name).config)
    ]
    return "\n".join(["| option | default | allowed | what it does |", "| --- | --- | --- | --- |", *rows, ""])


def page(name: str) -> Path:
    """The file that describes a method."""
    return FOLDER / f"{name}.md"


def filled(name: str) -> str:
    """The text of a method's page with its table as it should be."""
    file = page(name)
    text = file.read_text(encoding="utf-8") if file.exists() else begun(name)
    return BETWEEN.sub(lambda _: table(name), text)


def begun(name: str) -> str:
    """A page to write on, for a method that has none."""
    found = method(name)
    parts = (f"# {found.title}", f"*{found.paper}.*", f"**Idea.** {found.summary}", "**Mathematics.**", "## Options",
             "<!-- options -->\n<!-- end of options -->", "**Where we differ.**", "**What the controls tell.**")  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _shown(value: object) -> str:
    words = {None: "none", "": "empty", True: "true", False: "false"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return words.get(value, str(value))


def _allowed(spec: OptionSpec) -> str:
    if spec.choices:
        return ", ".join(spec.choices)
    if spec.type is bool:
        return "true, false"
    if spec.low is None:
        return "text"
    bounds = f"{spec.low:,g} to {spec.high:,g}" if spec.high is not None else f"from {spec.low:,g}"
    return f"{bounds}, or none" if spec.optional else bounds


if __name__ == "__main__":
    for each in methods():
        page(each.name).write_text(filled(each.name), encoding="utf-8")
