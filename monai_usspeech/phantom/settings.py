# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Settings of the phantom as users write them, checked one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from monai_usspeech.data.files import InputError, nearest_name

__all__ = ["number", "number_range", "style_of", "whole_number", "whole_pair"]

Style = TypeVar("Style")


def number(name: str, value: Any) -> float:
    """``value`` as a finite number; an :class:`InputError` that names the setting otherwise."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"Phantom: {name} is {value!r}; give a number.")
    return found


def whole_number(name: str, value: Any) -> int:
    """``value`` as a whole number; an :class:`InputError` that names the setting otherwise."""
    found = number(name, value)
    if found != int(found):
        raise InputError(f"Phantom: {name} is {value!r}; give a whole number.")
    return int(found)


def _pair(name: str, values: Any) -> tuple[float, float]:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 2:
        raise InputError(f"Phantom: {name} is {values!r}; give two numbers, such as [4, 8].")
    return number(name, values[0]), number(name, values[1])


def number_range(name: str, values: Any) -> tuple[float, float]:
    """Two numbers, the smaller first; an :class:`InputError` that names the setting otherwise."""
    low, high = _pair(name, values)
    if low > high:
        raise InputError(f"Phantom: {name} is {values!r}; give two numbers, the smaller first.")
    return low, high


def whole_pair(name: str, values: Any) -> tuple[int, int]:
    """Two whole numbers; an :class:`InputError` that names the setting otherwise."""
    first, second = _pair(name, values)
    return whole_number(name, first), whole_number(name, second)


def style_of(name: str, kind: type[Style], given: Any, preset: Mapping[str, Any]) -> Style:
    """A style (a dataclass of settings) from what a user gave and what a preset says.

    Args:
        name: what the setting is called in messages. kind: the dataclass.
        given: an instance, which is taken as it is; or a mapping of arguments, of which those that are None count as
            not given; or None.
        preset: arguments that hold where ``given`` does not name them.

    Raises:
        InputError: on an unknown argument or one that is out of range.
    """
    if isinstance(given, kind):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"Phantom: {name} is {given!r}; give its settings by name.")
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    for key in given or {}:
        if key not in defaults:
            raise InputError(f"Phantom: {name} has no setting {key}.{nearest_name(str(key), list(defaults))}")
    values = {**preset, **{key: value for key, value in (given or {}).items() if value is not None}}
    for key in values:
        if isinstance(defaults[key], tuple):
            values[key] = number_range(f"{name} {key}", values[key])
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"Phantom: {name}: {error}") from error
