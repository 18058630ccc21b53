"""What ships with Pellucid: the rendered demo world, its small encoder, and word lists.

Everything here is made by code in this package from a seed, so it can be made again. Nothing heavy is
imported until a module that computes is asked for.
"""

from pathlib import Path

__all__ = ["path"]

_ROOT = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Return where a shipped file or folder lies.

    Parameters
    ----------
    name
        Name relative to this package, for example ``"weights/demo/config.json"``.

    Raises
    ------
    FileNotFoundError
        If nothing of that name ships, or the name leads outside the package.
    """
    found = (_ROOT / name).resolve()
    if not found.is_relative_to(_ROOT) or not found.exists():
        raise FileNotFoundError(f"{name!r} does not ship with Pellucid; known: {', '.join(sorted(_shipped()))}")
    return found


def _shipped() -> set[str]:
    return {p.name for p in _ROOT.iterdir() if not p.name.startswith(("_", "."))}
