# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What ``start`` was asked for, checked: whatever can be wrong is said before anything runs."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import socket
import stat
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monai_usspeech.data.files import InputError
from monai_usspeech.label.clip_folder import CLIP_SUFFIXES, clip_files
from monai_usspeech.label.guard_access import GuardSettings
from monai_usspeech.label.model_files import load_model, load_stream
from monai_usspeech.label.server_folder import ServerFolder

__all__ = ["StartPlan", "bind_address", "is_loopback", "plan_start", "read_token"]

_APP = ".monai_usspeech"
_MIN_TOKEN = 16
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class StartPlan:
    """A server to start.

    Attributes:
        studies: the folder of the clips.
        app: the server's folder; it need not be there yet.
        host, port: where to listen.
        settings: for ``server.json``.
        guard: who may ask.
        clips: how many there are.
        problems: sentences about files that are left out.
    """

    studies: Path
    app: Path
    host: str
    port: int
    settings: dict[str, Any]
    guard: GuardSettings
    clips: int
    problems: tuple[str, ...]


def plan_start(arguments: Namespace) -> StartPlan:
    """Check the arguments of ``start``.

    Raises:
        InputError: for the first that cannot be used.
    """
    guard = _guard(arguments)
    studies = _studies(arguments.studies)
    clips, problems = clip_files(studies)
    if not clips:
        found = "; ".join(problems) or f"their endings are {', '.join(CLIP_SUFFIXES)}"
        raise InputError(f"{studies}: there are no clips in this folder ({found}).")
    app = Path(os.path.abspath(arguments.app)) if arguments.app else studies / _APP
    if app == studies or app in studies.parents:
        raise InputError(f"--app {app}: is the folder of the clips or above it; give one of the server's own.")
    trained = ServerFolder(app).trained("standard_plane")
    if arguments.model is None and arguments.pretrained is None and not trained.is_file():
        raise InputError(
            "without a model the server can only train one, and that starts from pretrained weights: give --model"
            " CHECKPOINT or --pretrained CHECKPOINT."
        )
    settings = {
        "studies": str(studies),
        "models": {
            "standard_plane": _model(arguments.model, "standard_plane"),
            "gaze_saliency": _model(arguments.gaze_model, "gaze_saliency"),
        },
        "pretrained": _pretrained(arguments.pretrained),
        "fan_crop": _fan_crop(arguments.fan_crop),
        "frame_rate": _positive(arguments.frame_rate, "--frame_rate"),
        "fps": None if arguments.fps is None else _positive(arguments.fps, "--fps"),
        "strategy": arguments.strategy,
        "max_request_mb": guard.max_request_mb,
        "max_upload_mb": guard.max_upload_mb,
    }
    return StartPlan(studies, app, arguments.host, arguments.port, settings, guard, len(clips), tuple(problems))


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: str | os.PathLike) -> str:
    """The token in a file, as ``token`` writes it.

    Raises:
        InputError: when the file cannot be read, others can read it too, or it holds no token.
    """
    place = Path(path)
    try:
        mode, text = place.stat().st_mode, place.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token_file {place}: cannot be read ({error}).") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise InputError(f"--token_file {place}: others may read it; run chmod 600 {place}.")
    if len(text) < _MIN_TOKEN or not text.isprintable() or " " in text:
        raise InputError(
            f"--token_file {place}: holds no token of at least {_MIN_TOKEN} characters; write one with"
            " python -m monai_usspeech.label token --output FILE."
        )
    return text


def bind_address(host: str, port: int) -> socket.socket:
    """A socket at an address, before anything slow is done, so that no server starts in vain.

    It does not listen yet: whoever connects is turned away, not kept waiting, until the server is ready.

    Raises:
        InputError: when the address is taken or none.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {host}: is no address of this computer ({error}).") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        why = error.strerror or error
        raise InputError(f"--host {host} --port {port}: cannot be used ({why}); give another --port.") from None
    return found


def _guard(arguments: Namespace) -> GuardSettings:
    if not is_loopback(arguments.host) and arguments.token_file is None:
        raise InputError(
            f"--host {arguments.host}: others could reach the server, and MONAI Label lets everybody do everything;"
            " give --token_file FILE too (python -m monai_usspeech.label token --output FILE writes one)."
        )
    if not 0 <= arguments.port <= 65535:
        raise InputError(f"--port {arguments.port}: give a number from 1 to 65535, or 0 for any that is free.")
    for name in ("max_upload_mb", "max_request_mb"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name}: give a whole number of megabytes, at least 1.")
    everywhere = arguments.host in _EVERYWHERE
    own = [] if everywhere else [f"[{arguments.host}]" if ":" in arguments.host else arguments.host]
    return GuardSettings(
        hosts=tuple([*own, *arguments.allow_host]),
        any_address=everywhere,
        origins=tuple(_origin(url) for url in arguments.allow_origin),
        token=None if arguments.token_file is None else read_token(arguments.token_file),
        max_request_mb=arguments.max_request_mb,
        max_upload_mb=arguments.max_upload_mb,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    if parts.scheme not in ("http", "https") or not parts.netloc or url.rstrip("/").lower() != origin:
        raise InputError(f"--allow_origin {url}: give it as a browser does, such as https://viewer.example:8443.")
    return origin


def _studies(name: str) -> Path:
    studies = Path(os.path.realpath(name))
    if not studies.is_dir():
        raise InputError(f"--studies {studies}: there is no such folder.")
    if not os.access(studies, os.R_OK | os.W_OK | os.X_OK):
        raise InputError(
            f"--studies {studies}: cannot be written to, and labels are kept there; change its permissions."
        )
    return studies


def _model(path: str | None, task: str) -> str | None:
    if path is None:
        return None
    _, spec = load_model(path, task)
    return os.path.abspath(spec.weights)


def _pretrained(path: str | None) -> str | None:
    if path is None:
        return None
    _, spec = load_stream(path)
    return os.path.abspath(spec.weights)


def _positive(value: float, name: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} {value}: give a positive number of frames a second.")
    return value


def _fan_crop(text: str) -> bool | list[int]:
    try:
        value = json.loads(text.lower())
    except ValueError:
        value = None
    if isinstance(value, bool):
        return value
    whole = isinstance(value, list) and len(value) == 4 and all(type(edge) is int and edge >= 0 for edge in value)
    if not whole or not (value[0] < value[2] and value[1] < value[3]):
        raise InputError(f'--fan_crop {text}: give true, false, or "[top, left, bottom, right]" in pixels.')
    return list(value)
