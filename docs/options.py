"""Writes every method's options into its page, between two marks: `python docs/options.py`.

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
    return BETWEEN.sub(lambda _: table(name), page(name).read_text(encoding="utf-8"))


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return (
        "empty"
        if value == ""
        else str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else f"{value}"
    )


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
