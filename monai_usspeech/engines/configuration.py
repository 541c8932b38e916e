# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Check what was typed after ``python -m monai.bundle run``, and keep the configuration beside the result.

MONAI takes any ``--name value`` and adds it to the configuration: a mistyped name changes nothing and says nothing.
"""

from __future__ import annotations

import ast
import inspect
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import monai
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.bundle.scripts import run as bundle_run
from monai.bundle.workflows import ConfigWorkflow

import monai_usspeech
from monai_usspeech.data.files import InputError, nearest_name, write_json

__all__ = [
    "check_command_line",
    "command_line_configuration",
    "report_input_errors",
    "software_versions",
    "write_configuration",
]


def command_line_configuration(arguments: Sequence[str] | None = None) -> tuple[ConfigParser, dict[str, Any]] | None:
    """The configuration files named on the command line, and the values given beside them.

    Args:
        arguments: the command line as in ``sys.argv``, which is the default.

    Returns:
        The merged files, before the values are put in, and those values by name; ``None`` when this process was not
        started by ``python -m monai.bundle``.
    """
    words = list(sys.argv if arguments is None else arguments)
    program = Path(words[0]).parts[-3:] if words else ()
    if program != ("monai", "bundle", "__main__.py"):
        return None
    given: dict[str, Any] = {}
    for place, word in enumerate(words):
        if word.startswith("--"):
            name, assigned, value = word[2:].partition("=")
            following = words[place + 1] if place + 1 < len(words) and not words[place + 1].startswith("--") else "True"
            given[name] = _value(value if assigned else following)
    parser = ConfigParser()
    if "config_file" in given:
        parser.read_config(given["config_file"])
    own = {*inspect.signature(bundle_run).parameters, *inspect.signature(ConfigWorkflow.__init__).parameters}
    return parser, {name: value for name, value in given.items() if name not in own}


def check_command_line(arguments: Sequence[str] | None = None) -> None:
    """Refuse a name on the command line that the configuration does not have.

    Args:
        arguments: the command line, default ``sys.argv``. Outside ``python -m monai.bundle`` nothing is checked.

    Raises:
        InputError: on an unknown name, with the nearest known one. New arguments of a component that is there
            (``--train#dataset#codec raw``) are the component's to judge.
    """
    found = command_line_configuration(arguments)
    if found is None:
        return
    parser, overrides = found
    for name in overrides:
        _check_name(parser, name.replace("::", "#"))


def write_configuration(folder: str | Path, arguments: Sequence[str] | None = None) -> None:
    """Write the configuration files, merged and with the values of the command line put in, as ``config.json``.

    Args:
        folder: where; it must exist.
        arguments: the command line, default ``sys.argv``. Outside ``python -m monai.bundle`` nothing is written.
    """
    found = command_line_configuration(arguments)
    if found is not None:
        parser, overrides = found
        parser.update(overrides)
        write_json(Path(folder) / "config.json", json.loads(json.dumps(parser.get(), default=str)))


def software_versions() -> dict[str, str]:
    """The versions of what a result was computed with."""
    return {
        "monai_usspeech": monai_usspeech.__version__,
        "monai": monai.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def report_input_errors() -> None:
    """End a run that fails on the user's input with one line instead of a traceback.

    MONAI wraps whatever a component raises in an error of its own, so that the sentence a user needs is in the middle
    of two tracebacks. From now on an uncaught error that comes from an :class:`~monai_usspeech.data.InputError` prints
    that sentence alone. Every other error is shown as before; when MONAI has wrapped it, what was wrong stands once
    more in the last line.
    """
    shown = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        chain = [error]
        while (cause := chain[-1].__cause__) is not None:
            chain.append(cause)
        ours = next((link for link in chain if isinstance(link, InputError)), None)
        if ours is not None:
            print(f"error: {_sentence(ours)}", file=sys.stderr)
            return
        shown(kind, error, traceback)
        if len(chain) > 1:
            print(f"error: {type(chain[-1]).__name__}: {chain[-1]}", file=sys.stderr)

    sys.excepthook = show


def _sentence(error: InputError) -> str:
    """What the error says; one from a data loader's worker process holds its traceback, and the sentence at its end."""
    text = str(error).strip()
    worker, _, _ = text.partition("\nOriginal Traceback")
    return text if worker == text else text.rpartition(f"{type(error).__name__}: ")[2]


def _check_name(parser: ConfigParser, name: str) -> None:
    parts = name.split("#")
    for depth in range(1, max(2, len(parts))):  # the last part of a path may be new: an argument not given so far
        path = "#".join(parts[:depth])
        if path not in parser:
            above = parser["#".join(parts[: depth - 1])] if depth > 1 else parser.get()
            known = [str(key) for key in above] if isinstance(above, dict) else []
            raise InputError(f'--{name}: the configuration has no "{path}".{nearest_name(parts[depth - 1], known)}')


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
