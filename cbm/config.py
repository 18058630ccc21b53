"""A method's options: a frozen dataclass whose fields carry their help, bounds and choices.

One declaration draws the form on the Build screen, the `--set` options of the command line, the stored recipe and
the table in the docs.
"""

import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from cbm.errors import UsageError, unknown

C = TypeVar("C")


def option(
    default: Any,
    *,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with a default, one sentence of help, and inclusive bounds or choices."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class OptionSpec:
    """What a form needs to know about one option; `type` is one of int, float, bool, str, Path."""

    name: str
    type: type
    default: int | float | bool | str | Path | None
    optional: bool
    help: str
    low: float | None
    high: float | None
    choices: tuple[str, ...] | None


def specs(config: type) -> tuple[OptionSpec, ...]:
    """Every option of a config class, in the order of its fields."""
    hints = get_type_hints(config)
    return tuple(_spec(f, hints[f.name]) for f in fields(config))


def build(config: type[C], options: Mapping[str, object]) -> C:
    """A config value from names and values; text is read as the option's type.

    Raises
    ------
    UsageError
        If an option does not exist, or a value has the wrong type, is no choice of it or lies outside its bounds.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     alpha: float = option(0.99, help="share of L1", low=0, high=1)
    >>> build(Config, {"alpha": "0.5"}).alpha
    0.5
    """
    known = {spec.name: spec for spec in specs(config)}
    for name in options:
        if name not in known:
            raise _unusable("option", name, known)
    return config(**{name: _read(known[name], value) for name, value in options.items()})


def _spec(f: "Field[Any]", hint: Any) -> OptionSpec:
    parts = [t for t in get_args(hint) if t is not type(None)]
    is_union = get_origin(hint) in (Union, types.UnionType)
    kind = parts[0] if is_union else hint
    return OptionSpec(
        name=f.name,
        type=kind if isinstance(kind, type) else str,
        default=None if f.default is MISSING else f.default,
        optional=is_union,
        help=f.metadata.get("help", ""),
        low=f.metadata.get("low"),
        high=f.metadata.get("high"),
        choices=f.metadata.get("choices"),
    )


def _read(spec: OptionSpec, value: object) -> object:
    if value is None or (spec.optional and value in ("", "none", "None")):
        if spec.optional:
            return None
        raise UsageError(f"option {spec.name} needs a value", hint=spec.help)
    converted = _convert(spec, value)
    _check(spec, converted)
    return converted


def _convert(spec: OptionSpec, value: object) -> Any:
    if spec.type is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
    elif not (spec.type is int and isinstance(value, float) and not value.is_integer()):
        try:
            return spec.type(value)
        except (TypeError, ValueError):
            pass
    raise UsageError(f"option {spec.name} is {value!r}; it must be {spec.type.__name__}", hint=spec.help)


def _check(spec: OptionSpec, value: Any) -> None:
    if spec.choices and value not in spec.choices:
        raise _unusable(f"choice of {spec.name}", str(value), spec.choices)
    too_low = spec.low is not None and not value >= spec.low
    too_high = spec.high is not None and not value <= spec.high
    if too_low or too_high:
        bounds = f"between {spec.low} and {spec.high}" if spec.high is not None else f"at least {spec.low}"
        raise UsageError(f"option {spec.name} is {value}; it must be {bounds}", hint=spec.help)


def _unusable(what: str, name: str, choices: Iterable[str]) -> UsageError:
    near = unknown(what, name, choices)
    return UsageError(near.message, hint=near.hint)
