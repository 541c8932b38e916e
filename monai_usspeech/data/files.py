# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Errors about the user's files, and writing that never leaves half a file behind."""

from __future__ import annotations

import difflib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = [
    "InputError",
    "atomic_file",
    "changed_values",
    "check_folder_and_output",
    "nearest_name",
    "read_json",
    "write_json",
]


class InputError(ValueError):
    """Something the user supplied cannot be used. The message names the file, the field and the mend."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name.

    Args:
        name: what was written.
        known: the names that would have been right.

    Returns:
        ``' Did you mean "x"?'`` with the closest known name, or an empty string when nothing is close.
    """
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{match[0]}"?' if match else ""


def changed_values(
    before: Mapping[str, Any], after: Mapping[str, Any], names: Iterable[str] | None = None
) -> list[str]:
    """What differs between two records, in words.

    Args:
        before: values by name; a value of None is the same as none at all.
        after: the same, later.
        names: look at these only; None: at all of both, sorted.

    Returns:
        ``"seed was 0 and is 1"``, ``"size was absent and is 64"``, ...; empty when nothing differs.
    """

    def shown(values: Mapping[str, Any], name: str) -> str:
        return repr(values[name]) if name in values else "absent"

    looked_at = sorted({*before, *after}) if names is None else names
    differing = (name for name in looked_at if before.get(name) != after.get(name))
    return [f"{name} was {shown(before, name)} and is {shown(after, name)}" for name in differing]


def check_folder_and_output(folder: Any, output: Any) -> None:
    """Refuse what a command line can hold as the folder to read and the JSON file to write, before anything is read.

    Args:
        folder: what is to be read; whether it is there is for its reader to say.
        output: the file to write, in a folder that exists.

    Raises:
        InputError: when one of them is no path, or the file cannot have that place.
    """
    for name, value in (("folder", folder), ("output", output)):
        if not isinstance(value, (str, os.PathLike)):
            raise InputError(f"{name} is {value!r}; give a path, with ./ before a name that is a number.")
    parent = Path(output).resolve().parent
    if not parent.is_dir():
        raise InputError(f"output: there is no folder {parent}; make it first.")
    if Path(output).is_dir():
        raise InputError(f"output: {output} is a folder; name the JSON file to write.")


@contextmanager
def atomic_file(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under its name only when it is whole.

    The content goes to a temporary file in the same folder, is flushed to the disk, and is then renamed over ``path``.
    When the body raises, the temporary file is removed and ``path`` keeps what it held before.

    Args:
        path: the final name; its folder must exist.
        mode: ``"wb"`` or ``"w"``.
    """
    target = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files private; a result is as readable as any other file
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all (see :func:`atomic_file`)."""
    with atomic_file(path, "w") as file:
        json.dump(content, file, indent=4)
        file.write("\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises:
        InputError: when the file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}).") from error
