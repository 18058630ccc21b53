"""The shape of the project holds: imports point one way, cost nothing, and are declared."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "assets", "cbm", "probes")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_imports_point_one_way():
    pytest.importorskip("importlinter")

    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize("module", ["cbm", "cbm.errors", "assets", "app", "app.cli"])
def test_what_only_names_things_loads_nothing_heavy(module):
    heavy = ("torch", "open_clip", "timm", "transformers", "sklearn", "streamlit", "sqlalchemy", "pandas")
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_every_import_of_another_project_is_declared():
    declared = {_normal(re.split(r"[\s\[<>=!~;]", line)[0]) for line in PROJECT["dependencies"]}
    for extra in ("photo", "postgres", "fast", "onnx", "api", "ray", "dicom"):
        declared |= {_normal(re.split(r"[\s\[<>=!~;]", line)[0]) for line in PROJECT["optional-dependencies"][extra]}
    sources = packages_distributions()

    undeclared = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in _imported(path)
        if name not in sys.stdlib_module_names and name not in PACKAGES
        if not declared & {_normal(distribution) for distribution in sources.get(name, [name])}
    }

    assert undeclared == set()


def test_every_pin_satisfies_what_is_declared():
    from packaging.requirements import Requirement
    from packaging.version import Version

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {_normal(name): Version(pin) for name, pin in (line.split("==") for line in lines if "==" in line)}
    wanted = [Requirement(line) for line in PROJECT["dependencies"]]
    wanted += [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]

    misfits = {str(need) for need in wanted if pins.get(_normal(need.name)) not in need.specifier}

    assert misfits == set()


def test_no_package_hides_another_under_tests():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_nothing_beside_the_web_app_is_named_like_one_of_our_packages():
    # Streamlit puts app/ first on sys.path: app/cbm.py would be imported in the place of cbm
    names = {path.stem for path in (ROOT / "app").iterdir()}

    assert names.isdisjoint(PACKAGES)


def _imported(path):
    """Top-level names of a file's absolute imports, wherever in the file they are."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
