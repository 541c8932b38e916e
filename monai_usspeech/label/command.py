# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_usspeech.label``: start the server, write a token for it, or make a bundle of a model.

::

    python -m monai_usspeech.label start --studies DIR [--model CHECKPOINT] [--pretrained CHECKPOINT] ...
    python -m monai_usspeech.label token --output FILE
    python -m monai_usspeech.label bundle --model CHECKPOINT --output DIR
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging.config
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import monai_usspeech
from monai_usspeech.data.files import InputError
from monai_usspeech.label.asgi import create_app
from monai_usspeech.label.bundle_export import export_bundle
from monai_usspeech.label.guard_access import GuardSettings
from monai_usspeech.label.selection import DEFAULT_STRATEGY, STRATEGIES
from monai_usspeech.label.server_folder import ServerFolder, make_server_folder
from monai_usspeech.label.start_plan import StartPlan, bind_address, is_loopback, plan_start
from monai_usspeech.studies.lock import FolderBusyError, FolderLock

__all__ = ["argument_parser", "label_environment", "main", "write_token"]

_LOCK = "server.lock"
_TERMINATED = 128 + signal.SIGTERM  # what a shell reports for a command that was told to end


def main(arguments: Sequence[str] | None = None) -> None:
    """The command.

    Args:
        arguments: the words after its name; None: those of the command line.

    Raises:
        SystemExit: with one sentence when something given cannot be used.
    """
    parsed = argument_parser().parse_args(arguments)
    try:
        if parsed.action == "token":
            write_token(parsed.output)
        elif parsed.action == "bundle":
            print(f"Wrote {export_bundle(parsed.model, parsed.output, parsed.template)}.")
        else:
            _start(parsed)
    except InputError as error:
        raise SystemExit(f"label: {error}") from None
    except KeyboardInterrupt:
        print("label: stopped.")


def argument_parser() -> argparse.ArgumentParser:
    """The words that the command knows."""
    parser = argparse.ArgumentParser("python -m monai_usspeech.label", description="MONAI Label for ultrasound clips")
    actions = parser.add_subparsers(dest="action", required=True)
    start = actions.add_parser("start", help="start the server")
    add = start.add_argument
    add("--studies", required=True, metavar="DIR", help="folder of the clips; labels are kept in it")
    add("--model", metavar="CHECKPOINT", help="plane classifier: model.pt of a run, or the folder of a bundle")
    add("--gaze_model", metavar="CHECKPOINT", help="gaze network, likewise")
    add("--pretrained", metavar="CHECKPOINT", help="self-supervised weights: training may start from them")
    add("--app", metavar="DIR", help="folder of what the server keeps (default: .monai_usspeech in the studies folder)")
    add("--host", default="127.0.0.1", help="address to listen at (default: this computer only)")
    add("--port", type=int, default=8000, help="port (default 8000; 0: any that is free)")
    add("--token_file", metavar="FILE", help="file with the token that every request must carry")
    add("--allow_host", nargs="+", default=[], metavar="NAME", help="further names that the server is reached by")
    add("--allow_origin", nargs="+", default=[], metavar="URL", help="sites whose pages may use the server")
    add("--fan_crop", default="true", help='true: find the fan; false: pictures are cropped; "[top,left,bottom,right]"')
    add("--frame_rate", type=float, default=10.0, help="frames a second to look at (default 10)")
    add("--fps", type=float, help="frames a second of files without a clock")
    add("--strategy", choices=STRATEGIES, default=DEFAULT_STRATEGY, help="how the next clip is chosen")
    add("--max_upload_mb", type=int, default=2048, help="largest file to take into the store (default 2048)")
    add("--max_request_mb", type=int, default=64, help="largest file to take with a request for inference (default 64)")
    token = actions.add_parser("token", help="write a token for --token_file")
    token.add_argument("--output", required=True, metavar="FILE", help="file to write; only you can read it")
    bundle = actions.add_parser("bundle", help="write a bundle of a model, for MONAI Label's stock app too")
    bundle.add_argument(
        "--model", required=True, metavar="CHECKPOINT", help="model.pt of a run, or the folder of a bundle"
    )
    bundle.add_argument("--output", required=True, metavar="DIR", help="the new folder")
    bundle.add_argument(
        "--template", metavar="DIR", help="bundle whose configs are taken (default: bundle, found from here)"
    )
    return parser


def write_token(path: str | os.PathLike) -> None:
    """Write a new random token to a file that only its owner can read.

    Raises:
        InputError: when there is a file already, or none can be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"--output {path}: is there already; remove it first, or name another file.") from None
    except OSError as error:
        raise InputError(f"--output {path}: cannot be written ({error.strerror}).") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    print(f"Wrote a token to {path}. Start the server with --token_file {path}; clients log in with any user name and")
    print("the token as password.")


def label_environment(folder: ServerFolder, port: int) -> dict[str, str]:
    """The environment that MONAI Label reads when it is imported, here and in the processes that it starts.

    Args:
        folder: of the server.
        port: that it listens at.

    Returns:
        What to set; other variables of its own that are set should be removed.
    """
    here = Path(monai_usspeech.__file__).parents[1]
    installed = here.name in (
        "site-packages",
        "dist-packages",
    )  # before the standard library these may hide parts of it
    paths = [*([] if installed else [str(here)]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "MONAI_LABEL_APP_DIR": str(folder.path),
        "MONAI_LABEL_STUDIES": str(folder.settings["studies"]),
        "MONAI_LABEL_SERVER_PORT": str(port),
        "MONAI_LABEL_SESSION_PATH": str(folder.sessions),
        "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "PYTHONPATH": os.pathsep.join(paths),  # its background tasks wait for ever where this is not set
        "TMPDIR": str(folder.tasks),  # of the background tasks; the server itself puts its files into uploads
    }


def _start(arguments: argparse.Namespace) -> None:
    plan = plan_start(arguments)
    if importlib.util.find_spec("monailabel") is None:
        raise InputError("MONAI Label is not installed; install monai_usspeech[label] into an environment of its own.")
    make_server_folder(plan.app)
    with _locked(plan.app / _LOCK), _locked(plan.studies / f".monai_usspeech.{_LOCK}"):
        signal.signal(signal.SIGTERM, _terminate)
        with bind_address(plan.host, plan.port) as opened:
            _serve(plan, opened)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a folder for one server: of the server's own, and of the clips, whose labels have one history."""
    try:
        lock = FolderLock(path)
    except FolderBusyError as error:
        raise InputError(f"a server works in this folder already. {error}") from None
    try:
        yield
    finally:
        lock.release()


def _serve(plan: StartPlan, opened: socket.socket) -> None:
    import uvicorn

    folder = ServerFolder.create(plan.app, plan.settings)
    folder.tidy()
    port = opened.getsockname()[1]
    for name in [name for name in os.environ if name.startswith("MONAI_LABEL_")]:
        del os.environ[name]
    os.environ.update(label_environment(folder, port))
    tempfile.tempdir = str(folder.uploads)
    os.chdir(folder.work)
    logging.config.dictConfig(_logging(folder))
    app = create_app(folder, plan.guard)
    print(_summary(plan, folder, port), flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="none")
    server = uvicorn.Server(config)
    server.run(sockets=[opened])
    if not server.started:
        raise InputError(f"the server did not start; see {folder.logs}/server.log.")


def _terminate(number: int, frame: Any) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _summary(plan: StartPlan, folder: ServerFolder, port: int) -> str:
    """What a person is told at the start."""
    host = f"[{plan.host}]" if ":" in plan.host else plan.host
    left_out = f" ({len(plan.problems)} left out)" if plan.problems else ""
    trained = folder.trained("standard_plane")
    models = plan.settings["models"]
    planes = models["standard_plane"] or "none yet: label some clips and train"
    if trained.is_file():
        given = f", which goes before {planes}; remove it to use that" if models["standard_plane"] else ""
        planes = f"{trained} (trained here{given})"
    lines = {
        "clips": f"{plan.clips} in {plan.studies}{left_out}",
        "planes": planes,
        "gaze": models["gaze_saliency"] or "none (--gaze_model)",
        "training": "from pretrained weights too" if plan.settings["pretrained"] else "from the plane model",
        "access": _access(plan.guard, plan.host),
    }
    shown = "\n".join(f"  {name:<9} {value}" for name, value in lines.items())
    return f"MONAI Label for ultrasound clips: http://{host}:{port}\n{shown}\nStop it with Ctrl-C."


def _access(guard: GuardSettings, host: str) -> str:
    who = "this computer only" if is_loopback(host) else "the network"
    return f"{who}, {'with the token' if guard.token else 'everybody on it'}"


def _logging(folder: ServerFolder) -> dict[str, Any]:
    """Everything to a file in the server's folder; to the terminal what a person wants to see."""
    plain = {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    file = {
        "class": "logging.handlers.RotatingFileHandler",
        "filename": str(folder.logs / "server.log"),
        "maxBytes": 4 << 20,
        "backupCount": 3,
        "formatter": "plain",
        "encoding": "utf-8",
    }
    tasks = ("task_train", "task_scoring", "task_batch_infer")
    seen = {name: {"handlers": ["terminal"]} for name in ("monai_usspeech", "uvicorn", *tasks)}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": plain, "short": {"format": "%(message)s"}},
        "handlers": {
            "file": file,
            "terminal": {"class": "logging.StreamHandler", "formatter": "short", "stream": "ext://sys.stderr"},
        },
        "root": {"level": "INFO", "handlers": ["file"]},
        "loggers": seen,
    }
