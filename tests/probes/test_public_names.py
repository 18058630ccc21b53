import subprocess
import sys

import pytest

import probes


@pytest.mark.parametrize("name", probes.__all__)
def test_every_public_name_is_there(name):
    assert getattr(probes, name) is not None
    assert name in dir(probes)


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        probes.evaluat  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    code = "import sys, probes; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
