# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The folder in which a server keeps what is its own: settings, models, scores, old labels, what was sent to it.

::

    server.json   how it was started           history/   labels that were replaced, ID/REVISION.json
    main.py       MONAI Label finds the app    uploads/   files of the requests under way
    model/        models trained here          sessions/  files that came with a session, for an hour
    scores/       what is known of each clip   logs/      what the server wrote
    tasks/        temporary files of training and scoring
    work/         empty; where it works, so that no name of a clip is the name of a file there

It holds pictures of patients for a while, so it is its owner's alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError, atomic_file, nearest_name, read_json, write_json
from monai_usspeech.label.clip_folder import is_inside
from monai_usspeech.label.selection import DEFAULT_STRATEGY, STRATEGIES

__all__ = ["SERVER_FILE", "ServerFolder", "make_server_folder"]

SERVER_FILE = "server.json"
_SCHEMA = 1
_MAIN = "# MONAI Label looks here for the app.\nfrom monai_usspeech.label.app import UltrasoundLabelApp  # noqa: F401\n"
_FOLDERS = ("model", "scores", "sessions", "uploads", "history", "logs", "work", "tasks")
_MODELS = ("standard_plane", "gaze_saliency")
_DEFAULTS: dict[str, Any] = {
    "schema": _SCHEMA,
    "models": {name: None for name in _MODELS},
    "pretrained": None,
    "fan_crop": True,
    "frame_rate": 10.0,
    "fps": None,
    "strategy": DEFAULT_STRATEGY,
    "max_request_mb": 64,
    "max_upload_mb": 2048,
}


def make_server_folder(path: str | os.PathLike) -> Path:
    """Make the folder, for its owner alone, or take one that a server has had before.

    Raises:
        InputError: when something else is in it, or it cannot be made.
    """
    folder = Path(os.path.abspath(path))
    try:
        if folder.is_dir() and not (folder / SERVER_FILE).exists() and any(_foreign(folder)):
            raise InputError(f"{folder}: holds other files; give --app a folder of the server's own.")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); give another folder as --app.") from error
    return folder


def _foreign(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if not name.startswith(".") and name != "server.lock"]


@dataclass(frozen=True)
class ServerFolder:
    """A server's folder; make one with :meth:`create`, or open one with :meth:`read`.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def create(cls, path: str | os.PathLike, settings: Mapping[str, Any]) -> ServerFolder:
        """Make the folder, or bring one that is there up to date; models, scores and labels in it stay.

        Args:
            path: the folder.
            settings: what goes into ``server.json``; ``studies`` is needed, the rest has defaults.

        Raises:
            InputError: when the folder cannot be made or a setting is wrong.
        """
        folder = cls(make_server_folder(path))
        models = {**_DEFAULTS["models"], **(settings.get("models") or {})}
        content = {**_DEFAULTS, **settings, "models": models}
        _check_settings(content, str(folder.path / SERVER_FILE))
        for name in _FOLDERS:
            (folder.path / name).mkdir(mode=0o700, exist_ok=True)
        with atomic_file(folder.path / "main.py", "w") as file:
            file.write(_MAIN)
        write_json(folder.path / SERVER_FILE, content)
        return cls(folder.path)

    @classmethod
    def read(cls, path: str | os.PathLike) -> ServerFolder:
        """Open a folder that :meth:`create` made.

        Raises:
            InputError: when ``server.json`` is missing or wrong.
        """
        folder = cls(Path(os.path.abspath(path)))
        _ = folder.settings
        return folder

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What ``server.json`` says, read once.

        Raises:
            InputError: when it is missing or wrong.
        """
        place = self.path / SERVER_FILE
        content = read_json(place)
        if not isinstance(content, dict):
            raise InputError(f"{place}: is not a server's settings; start the server again to write it anew.")
        _check_settings(content, str(place))
        return content

    @property
    def models(self) -> Path:
        """Weights of the models trained here."""
        return self.path / "model"

    def trained(self, name: str) -> Path:
        """Where the weights of a model are that was trained here; the file need not be there."""
        return self.models / f"{name}.pt"

    def weights(self, name: str) -> Path | None:
        """The weights in use of a model: trained here, else those that the server was started with, else None."""
        trained, given = self.trained(name), self.settings["models"].get(name)
        return trained if trained.is_file() else None if given is None else Path(given)

    @property
    def pretrained(self) -> Path | None:
        """The self-supervised weights that the server was started with."""
        given = self.settings["pretrained"]
        return None if given is None else Path(given)

    @property
    def scoring_weights(self) -> dict[str, Path | None]:
        """The weights that clips are scored by: ``plane``, the classifier in use, and ``pretrained``."""
        return {"plane": self.weights("standard_plane"), "pretrained": self.pretrained}

    @property
    def reader(self) -> dict[str, Any]:
        """How clips are read: ``fan_crop``, ``frame_rate`` and ``fps`` of ``FanVideoReader``."""
        return {name: self.settings[name] for name in ("fan_crop", "frame_rate", "fps")}

    @property
    def scores(self) -> Path:
        """What is known of each clip, ``ID.json``."""
        return self.path / "scores"

    @property
    def sessions(self) -> Path:
        """Files that came with a session."""
        return self.path / "sessions"

    @property
    def uploads(self) -> Path:
        """Files of the requests under way."""
        return self.path / "uploads"

    @property
    def history(self) -> Path:
        """Labels that were replaced, ``ID/REVISION.json``."""
        return self.path / "history"

    @property
    def logs(self) -> Path:
        """What the server wrote while it ran."""
        return self.path / "logs"

    @property
    def work(self) -> Path:
        """An empty folder to work in: MONAI Label takes an id that is a file's name there for that file."""
        return self.path / "work"

    @property
    def tasks(self) -> Path:
        """Temporary files of the processes that train and score."""
        return self.path / "tasks"

    def remove_old_uploads(self, seconds: float) -> None:
        """Remove what a request that failed left: files that nobody has written to for so long."""
        before = time.time() - seconds
        for entry in self.uploads.iterdir():
            with contextlib.suppress(FileNotFoundError):  # its request ended just now
                if entry.lstat().st_mtime < before:
                    _remove(entry)

    def tidy(self) -> None:
        """Remove what a server that ended in the middle of something left: uploads, and sessions without their file.

        To be called while no server runs here. MONAI Label cannot start with such sessions.
        """
        for entry in (*self.uploads.iterdir(), *self.tasks.iterdir()):
            _remove(entry)
        for entry in self.sessions.iterdir():
            if not _is_whole_session(entry):
                _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_whole_session(folder: Path) -> bool:
    try:
        image = json.loads((folder / "meta.info").read_text(encoding="utf-8"))["image"]
        return os.path.exists(image) and is_inside(image, folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False


# What is wrong with a setting; empty when nothing is


def _check_settings(content: Mapping[str, Any], name: str) -> None:
    for key in content:
        if key not in _CHECKS:
            raise InputError(f'{name}: there is no setting "{str(key)[:80]}".{nearest_name(str(key), _CHECKS)}')
    for key, check in _CHECKS.items():
        if key not in content:
            raise InputError(f'{name}: "{key}" is missing; start the server again to write the file anew.')
        problem = check(content[key])
        if problem:
            raise InputError(f'{name}: "{key}" is {str(content[key])[:80]!r}; {problem}.')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _path_problem(value: Any) -> str:
    return "" if isinstance(value, str) and os.path.isabs(value) else "give a whole path"


def _optional(check: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value is None else check(value)


def _models_problem(value: Any) -> str:
    if not isinstance(value, dict) or any(name not in _MODELS for name in value):
        return f"give the paths of {' and '.join(_MODELS)}"
    return next((problem for path in value.values() if (problem := _optional(_path_problem)(path))), "")


def _rate_problem(value: Any) -> str:
    return "" if _is_number(value) else "give a positive number of frames a second"


def _fan_problem(value: Any) -> str:
    box = isinstance(value, list) and len(value) == 4
    if isinstance(value, bool) or (box and all(isinstance(edge, int) and edge >= 0 for edge in value)):
        return ""
    return "give true, false, or [top, left, bottom, right] in pixels"


def _size_problem(value: Any) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else "give whole megabytes"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "schema": lambda value: "" if value == _SCHEMA else f"this version reads {_SCHEMA}; start the server again",
    "studies": _path_problem,
    "models": _models_problem,
    "pretrained": _optional(_path_problem),
    "fan_crop": _fan_problem,
    "frame_rate": _optional(_rate_problem),
    "fps": _optional(_rate_problem),
    "strategy": lambda value: "" if value in STRATEGIES else f"give one of {', '.join(STRATEGIES)}",
    "max_request_mb": _size_problem,
    "max_upload_mb": _size_problem,
}
