"""The documentation says what is so: its links lead somewhere, its commands exist, its snippets run, its tables fit."""

import json
import re
import runpy
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import click
import pytest
from PIL import Image

from app.cli import main
from cbm.methods import methods

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def options() -> dict:
    """The functions of the script that writes the tables."""
    return runpy.run_path(str(ROOT / "docs" / "options.py"))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What `#...` can point to in a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text: str) -> Iterator[list[str]]:
    """Every `pellucid ...` line and every one inside backticks, as words."""
    indented = re.findall(r"^ {4}(pellucid .+)$", text, re.MULTILINE)
    fenced = [
        line
        for block in blocks(text, "(?:sh|console|bash)")
        for line in re.findall(r"^\$? ?(pellucid .+)$", block, re.M)
    ]
    quoted = re.findall(r"`(pellucid [^`]+)`", text)
    for line in [*indented, *fenced, *quoted]:
        yield shlex.split(line.replace("\n", " "), comments=True)


def fault(words: list[str]) -> str:
    """Why a command line would be refused, as far as its command and its options go; empty when it would not."""
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h", "--version"}
    used = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    return ", ".join(f"{command.name} has no option {name}" for name in used if name not in known)


@pytest.mark.parametrize("name", NAMES)
def test_every_local_link_leads_somewhere(name):
    page = ROOT / name

    dead = []
    for target in LINK.findall(page.read_text()):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = page.parent / file if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(target)

    assert dead == []


@pytest.mark.parametrize("name", NAMES)
def test_every_command_exists_with_its_options(name):
    wrong = {" ".join(words): fault(words) for words in commands((ROOT / name).read_text())}

    assert {line: why for line, why in wrong.items() if why} == {}


def test_a_command_that_does_not_exist_is_found():
    assert fault(["pellucid", "data", "mport"]) == "there is no command 'mport'"
    assert fault(["pellucid", "embed", "birds", "--speed", "9"]) == "embed has no option --speed"
    assert fault(["pellucid", "embed", "birds", "--encoder", "builtin:demo"]) == ""


@pytest.mark.parametrize("name", NAMES)
def test_python_compiles_and_json_is_json(name):
    text = (ROOT / name).read_text()

    for code in blocks(text, "python"):
        compile(code, name, "exec")
    for value in blocks(text, "json"):
        json.loads(value)


def test_the_snippet_of_the_readme_runs(tmp_path, monkeypatch):
    for colour, number in product(("red", "blue"), range(12)):
        file = tmp_path / "photos" / colour / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shade = 255 - 9 * number
        Image.new("RGB", (32, 32), (shade, 0, 20) if colour == "red" else (20, 0, shade)).save(file)
    [code] = blocks((ROOT / "README.md").read_text(), "python")
    monkeypatch.chdir(tmp_path)

    exec(compile(code, "README.md", "exec"), {})

    import cbm

    assert cbm.load("model").concepts == ("striped wing", "yellow bill")


@pytest.mark.parametrize("name", [method.name for method in methods()])
def test_a_method_has_a_page_whose_table_is_that_of_its_options(name):
    written = options()

    assert written["page"](name).exists(), (
        "begin its page: python docs/options.py; then fill it, and list it in README.md"
    )
    text = written["page"](name).read_text()

    assert written["table"](name) in text, "write the tables again: python docs/options.py"
    assert f"({name}.md)" in (ROOT / "docs" / "methods" / "README.md").read_text()


def test_no_page_belongs_to_a_method_that_is_gone():
    pages = {page.stem for page in (ROOT / "docs" / "methods").glob("*.md")} - {"README"}

    assert pages == {method.name for method in methods()}


def test_the_page_of_the_bundle_names_every_file_and_every_tensor():
    from dataclasses import fields

    from cbm.io import BOTTLENECKS, OPTIONAL, REQUIRED

    text = (ROOT / "docs" / "bundle.md").read_text()

    tensors = {f"bottleneck.{field.name}" for kind in BOTTLENECKS.values() for field in fields(kind)}
    assert [name for name in (*REQUIRED, *OPTIONAL, *BOTTLENECKS, *tensors) if f"`{name}`" not in text] == []


def test_the_page_of_data_names_every_kind_of_problem():
    sources = [ROOT / "cbm" / f"{name}.py" for name in ("manifests", "layouts", "rowchecks", "filechecks")]
    found = [re.findall(r'(?:roblem\(|yield |append\(\()\s*"([a-z_]+)"', source.read_text()) for source in sources]
    text = (ROOT / "docs" / "data.md").read_text()

    assert [kind for kinds in found for kind in kinds if f"`{kind}`" not in text] == []


def test_the_page_of_operations_names_every_setting():
    from app.settings import Settings

    text = (ROOT / "docs" / "operations.md").read_text()

    assert [name for name in Settings.__dataclass_fields__ if f"`PELLUCID_{name.upper()}`" not in text] == []
