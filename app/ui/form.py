"""A form drawn from a method's options: one control an option, with its help, bounds and default."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cbm.config import OptionSpec, specs

AUTO = "chosen by the method"


def option_form(config: type, *, key: str) -> dict[str, Any]:
    """The values that differ from the defaults, by option."""
    values: dict[str, Any] = {}
    with st.grid(3, min_column_width=220, gap="medium"):
        for spec in specs(config):
            with st.container(gap="xxsmall"):
                value = _control(spec, f"{key}_{spec.name}")
            if value != spec.default:
                values[spec.name] = value
    return values


def options_held(config: type, *, key: str) -> dict[str, Any]:
    """The same at this moment, for a callback: a number that was just typed comes together with the click."""
    held = {spec.name: (spec, st.session_state.get(f"{key}_{spec.name}", spec.default)) for spec in specs(config)}
    return {name: _given(spec, value) for name, (spec, value) in held.items() if _given(spec, value) != spec.default}


def option_rows(config: type) -> list[tuple[str, str, str, str]]:
    """Every option with its default, its bounds and its help, for the method's page."""
    return [(spec.name, _shown(spec.default), bounds(spec), spec.help) for spec in specs(config)]


def bounds(spec: OptionSpec) -> str:
    """What an option may be, in words."""
    if spec.choices:
        return ", ".join(spec.choices)
    none = " or none" if spec.optional else ""
    if spec.low is not None and spec.high is not None:
        return f"{spec.low:g} to {spec.high:g}{none}"
    if spec.low is not None:
        return f"at least {spec.low:g}{none}"
    return {bool: "true or false", str: "text"}.get(spec.type, "a number") + none


def title_of(name: str) -> str:
    """An option's name as a label.

    Examples
    --------
    >>> title_of("per_side"), title_of("nec")
    ('Per side', 'NEC')
    """
    words = name.replace("_", " ")
    return {"nec": "NEC", "lam": "Penalty (lam)", "alpha": "L1 share (alpha)"}.get(name, words[:1].upper() + words[1:])


def as_settings(values: Mapping[str, Any]) -> list[str]:
    """The values as `--set` options of the command line.

    Examples
    --------
    >>> as_settings({"nec": 8, "lam": None})
    ['--set', 'nec=8', '--set', 'lam=none']
    """
    return [part for name, value in values.items() for part in ("--set", f"{name}={_shown(value)}")]


def _control(spec: OptionSpec, key: str) -> Any:
    """The control of one option; an empty box is "none" where the option may be none."""
    label, hint = title_of(spec.name), spec.help[:1].upper() + spec.help[1:]
    if spec.choices:
        return st.selectbox(label, spec.choices, index=spec.choices.index(str(spec.default)), key=key, help=hint)
    if spec.type is bool:
        return st.toggle(label, value=bool(spec.default), key=key, help=hint)
    if spec.type in (int, float):
        return _number(spec, label, hint, key)
    return _given(spec, st.text_input(label, value=str(spec.default or ""), key=key, help=hint))


def _given(spec: OptionSpec, value: Any) -> Any:
    """What a control's value stands for: an empty text is none where the option may be none."""
    return None if value == "" and spec.optional else value


def _number(spec: OptionSpec, label: str, hint: str, key: str) -> int | float | None:
    kind = spec.type
    step: int | float = 1 if kind is int else 0.01
    low = None if spec.low is None else kind(spec.low)
    high = None if spec.high is None else kind(spec.high)
    value: int | float | None = st.number_input(
        label, min_value=low, max_value=high, value=spec.default, step=step, key=key, help=f"{hint} ({bounds(spec)})",
        placeholder=AUTO if spec.optional else None, format=None if kind is int else "%g",
    )  # fmt: skip
    return value


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
