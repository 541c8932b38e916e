# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""MONAI Label's web application behind the guard, with errors in sentences."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

from monai_usspeech.data.files import InputError
from monai_usspeech.label.guard import Guard
from monai_usspeech.label.guard_access import GuardSettings
from monai_usspeech.label.guard_body import object_of
from monai_usspeech.label.server_folder import ServerFolder

__all__ = ["create_app"]

_logger = logging.getLogger(__name__)

_FORM_LIMIT = 64 << 10
_UPLOAD_SECONDS, _SWEEP_SECONDS = 3600.0, 300.0
_TASKS = ("train", "scoring", "batch_infer")


def create_app(folder: ServerFolder, guard: GuardSettings) -> Guard:
    """The application to serve.

    MONAI Label reads its settings from the environment when it is imported, so that must have been set before (see
    :func:`monai_usspeech.label.command.label_environment`).

    Args:
        folder: of the server.
        guard: who may ask, and how much may be sent.

    Raises:
        InputError: when MONAI Label cannot be imported, or our app cannot start on what is in the folders.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it allows all origins; the guard does not
            import monailabel.app as label
            from monailabel.interfaces.utils.app import app_instance
    except Exception as error:  # its dependencies fail in many ways
        raise InputError(
            f"MONAI Label cannot be imported ({type(error).__name__}: {error}); install monai_usspeech[label] into an"
            " environment of its own."
        ) from error
    logging.getLogger("timeloop").disabled = True  # it prints what it does on its own
    app_instance()  # here, so that an error about the folders is told in a sentence
    _check_form_values()
    _check_answers()
    _answer_errors(label.app, folder)
    _live_with(label.app, folder)
    return Guard(label.app, guard)


def _check_form_values() -> None:
    """Have the fields ``params`` and ``info`` of forms read as strictly as the guard reads bodies."""
    from monailabel.endpoints import datastore, infer

    def loads(text: str) -> dict[str, Any]:
        if len(text) > _FORM_LIMIT:
            raise InputError(f"params, info: are larger than {_FORM_LIMIT >> 10} KB.")
        try:
            return object_of(text)
        except ValueError as error:
            raise InputError(f"params, info: the field {error}.") from None

    checked = SimpleNamespace(loads=loads, dumps=json.dumps)
    for module in (datastore, infer):
        module.json = checked


def _check_answers() -> None:
    """Have an answer that is asked for as a file and has none refused in a sentence."""
    from monailabel.endpoints import infer

    send = infer.send_response

    def send_response(datastore: Any, result: dict[str, Any], output: Any, background_tasks: Any) -> Any:
        if output == "image" and not (result.get("file") or result.get("label")):
            raise InputError('output: there is no file; ask for output=json, or give the parameter "picture": true.')
        return send(datastore, result, output, background_tasks)

    infer.send_response = send_response


def _answer_errors(app: Any, folder: ServerFolder) -> None:
    """Turn the errors that a request can bring about into answers of one sentence."""
    from fastapi.exceptions import RequestValidationError
    from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse

    roots = [str(folder.uploads), str(folder.path), str(folder.settings["studies"])]

    def answer(status: int, detail: str) -> JSONResponse:
        for root in roots:
            detail = detail.replace(f"{root}/", "")
        return JSONResponse({"detail": detail}, status)

    handlers: dict[type[Exception], Callable[[Any, Any], Any]] = {
        ImageNotFoundException: lambda _, error: answer(404, error.msg),
        LabelNotFoundException: lambda _, error: answer(404, error.msg),
        MONAILabelException: lambda _, error: answer(400, error.msg),
        InputError: lambda _, error: answer(400, str(error)),
        RequestValidationError: lambda _, error: answer(422, _first_problem(error.errors())),
        HTTPException: lambda _, error: answer(
            400 if str(error.detail).startswith("Neither Image") else error.status_code, str(error.detail)
        ),
        Exception: lambda _, error: answer(500, "internal error; see the server's log"),
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, _as_coroutine(handler))


def _first_problem(problems: Sequence[Any]) -> str:
    return f"{problems[0]['loc'][-1]}: {problems[0]['msg'].lower()}."


def _as_coroutine(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Handlers that are plain functions run in a thread of their own, for which there is no need."""

    async def handle(request: Any, error: Any) -> Any:
        answer = handler(request, error)
        route = getattr(request.scope.get("route"), "path", "an unlisted path")
        _logger.info("%s %s: answered with %d", request.method, route, answer.status_code)
        return answer

    return handle


def _live_with(app: Any, folder: ServerFolder) -> None:
    """While the server runs, remove what failed uploads left; at its end, end training and scoring.

    Else it would wait for those at its end, or leave them behind.
    """
    running = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        async with running(application) as state:
            sweeper = asyncio.create_task(_sweep(folder))
            try:
                yield state
            finally:
                sweeper.cancel()
                _stop_tasks()

    app.router.lifespan_context = lifespan


async def _sweep(folder: ServerFolder) -> None:
    while True:
        folder.remove_old_uploads(_UPLOAD_SECONDS)
        await asyncio.sleep(_SWEEP_SECONDS)


def _stop_tasks() -> None:
    import psutil
    from monailabel.utils.async_tasks import utils

    for name in _TASKS:
        executor = utils.background_executors.get(name)
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
        while utils.processes(name):
            try:
                utils.stop_background_task(name)
            except psutil.NoSuchProcess:  # it has ended by itself
                break
