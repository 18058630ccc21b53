"""Makes `import torchvision` work where PyPI's build of it (for CUDA) sits beside a torch for CPU only.

That import fails with "operator torchvision::nms does not exist", and with it fail open_clip and timm. Declaring the
missing operators is enough for everything we use; a torchvision that works is left alone.
"""

import importlib
import re
import sys
from types import ModuleType

import torch

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_DECLARED: dict[str, torch.library.Library] = {}  # a declaration lasts as long as its Library object


def ensure_torchvision() -> ModuleType:
    """Import torchvision, declaring operators that its own library failed to bring.

    Raises
    ------
    RuntimeError
        If the import fails for another reason.
    """
    for _ in SCHEMAS:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            _declare(missing_operator(error))
            _forget_half_imported()
    return importlib.import_module("torchvision")


def missing_operator(error: RuntimeError) -> str:
    """Name of the operator that a failed import of torchvision asked for; the error itself if it is another one."""
    found = re.search(r"operator torchvision::(\w+) does not exist", str(error))
    if found is None or found[1] not in SCHEMAS or found[1] in _DECLARED:
        raise error
    return found[1]


def declared_operators() -> tuple[str, ...]:
    """The operators that had to be declared in this process, for `pellucid doctor`."""
    return tuple(_DECLARED)


def _declare(name: str) -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(SCHEMAS[name])  # type: ignore[no-untyped-call]
    _DECLARED[name] = library


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
