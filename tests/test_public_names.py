"""A public name that is also a module's name would turn into that module as soon as somebody imports it."""

from pathlib import Path

import pytest

import cbm
import probes


@pytest.mark.parametrize("package", [cbm, probes], ids=lambda package: package.__name__)
def test_no_public_name_is_hidden_by_a_module_of_the_same_name(package):
    modules = {path.stem for path in Path(package.__file__).parent.iterdir()}

    assert modules.isdisjoint(package.__all__)
