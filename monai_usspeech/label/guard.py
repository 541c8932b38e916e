# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What stands between the network and MONAI Label, which itself checks neither who asks nor what for.

A request passes when its host and origin are those of this server, it carries the token (where there is one), its route
is listed in :data:`~monai_usspeech.label.guard_rules.ROUTES` with this method, each of its parameters is what that
route takes, and its body is not too large. Anything else is answered here, by one sentence as JSON, before MONAI Label
sees it. This is plain ASGI: it needs no web framework.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from monai_usspeech.data.files import nearest_name
from monai_usspeech.label.guard_access import Access, GuardSettings, header_value
from monai_usspeech.label.guard_body import BodyTooLargeError, ClientLeftError, limited, read_object, replayed
from monai_usspeech.label.guard_reply import Receive, ReplyWatch, RequestRefusedError, Send, send_json
from monai_usspeech.label.guard_rules import Call, Route, find_route

__all__ = ["Guard"]

_logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON_LIMIT, _LABEL_LIMIT = 64 << 10, 1 << 20
_QUERY_LENGTH, _QUERY_COUNT = 4096, 16
_LOGIN = ("/auth", "/auth/token", "/auth/token/valid")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Guard:
    """Lets through to an ASGI app what it may be asked.

    Args:
        app: MONAI Label's application.
        settings: who may ask, and how much may be sent.
    """

    def __init__(self, app: App, settings: GuardSettings) -> None:
        self.app, self.settings, self.access = app, settings, Access(settings)
        self._limits = {
            "small": (_JSON_LIMIT, "nothing of that size is read here"),
            "json": (_JSON_LIMIT, "send less"),
            "label": (_LABEL_LIMIT, "labels and facts are smaller"),
            "request": (
                settings.max_request_mb << 20,
                "put the clip into the store first (PUT /datastore/image), or start the server with --max_request_mb",
            ),
            "upload": (settings.max_upload_mb << 20, "start the server with a greater --max_upload_mb"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing of MONAI Label speaks over web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        watch = ReplyWatch(send)
        try:
            await self._answer(scope, receive, watch)
        except RequestRefusedError as refused:
            await self._refuse(scope, watch, refused)
        except ClientLeftError:
            return
        except Exception:
            _logger.exception("%s %s failed", *_described(scope))
            if not watch.started:
                await send_json(watch, 500, {"detail": "internal error; see the server's log"})

    async def _refuse(self, scope: Scope, watch: ReplyWatch, refused: RequestRefusedError) -> None:
        _logger.warning("%s %s refused (%d): %s", *_described(scope), refused.status, refused.detail)
        if refused.status == 401:
            await asyncio.sleep(self.settings.failure_delay)
        await send_json(watch, refused.status, {"detail": refused.detail}, refused.headers)

    async def _answer(self, scope: Scope, receive: Receive, watch: ReplyWatch) -> None:
        self.access.check_host(scope)
        watch.origin = self.access.check_origin(scope)
        path = _plain_path(scope)
        if scope["method"] == "OPTIONS" and watch.origin and header_value(scope, b"access-control-request-method"):
            _route(path)
            await self.app(scope, receive, watch)  # the browser asks what it may send; no token can come with that
            return
        if path.rstrip("/") in _LOGIN:
            await self.access.answer_login(scope, receive, watch, path.rstrip("/"))
            return
        self.access.check_token(scope)
        call = _call(_route(path), str(scope["method"]))
        scope = {**scope, "query_string": _checked_query(scope, call)}
        await self._pass_on(scope, receive, watch, call)

    async def _pass_on(self, scope: Scope, receive: Receive, watch: ReplyWatch, call: Call) -> None:
        limit, mend = self._limits[call.body]
        size = f"{limit >> 20} MB" if limit >= 1 << 20 else f"{limit >> 10} KB"
        too_large = RequestRefusedError(413, f"the request is larger than {size}; {mend}.", {"connection": "close"})
        if _declared_length(scope) > limit:
            raise too_large
        if call.body == "json":
            try:
                receive = replayed(await read_object(scope, receive, limit, call.keys), receive)
            except BodyTooLargeError:
                raise too_large from None
        try:
            await self.app(scope, limited(receive, limit, watch), watch)
        except Exception:  # of a body that was cut short anything may come
            if not watch.silenced:
                raise
        if watch.silenced:
            watch.silenced = False
            raise too_large


def _declared_length(scope: Scope) -> int:
    """How many bytes a request says that it has; 0 when it does not say."""
    declared = header_value(scope, b"content-length") or "0"
    if re.fullmatch("[0-9]{1,18}", declared) is None:
        raise RequestRefusedError(400, "content-length: give a whole number.")
    return int(declared)


def _plain_path(scope: Scope) -> str:
    """The path, when it is written plainly; no route needs a character that must be escaped."""
    raw = scope.get("raw_path")
    if raw is not None and re.fullmatch(rb"[\x21-\x24\x26-\x5b\x5d-\x7e]*", raw) is None:  # neither % nor backslash
        raise RequestRefusedError(404, "there is no such path.")
    return str(scope["path"])


def _route(path: str) -> Route:
    route = find_route(path)
    if route is None:
        raise RequestRefusedError(404, "there is no such path.")
    return route


def _call(route: Route, method: str) -> Call:
    call = route.calls.get(method)
    if call is None:
        allowed = ", ".join(route.calls)
        raise RequestRefusedError(405, f"{route.path} takes {allowed}.", {"allow": allowed})
    return call


def _checked_query(scope: Scope, call: Call) -> bytes:
    """The query string, written anew from what was checked, so that the app reads the same."""
    raw = scope.get("query_string", b"")
    if len(raw) > _QUERY_LENGTH:
        raise RequestRefusedError(400, "the query is too long.")
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_QUERY_COUNT)
    except ValueError:
        raise RequestRefusedError(400, "the query has too many parameters.") from None
    names = [name for name, _ in pairs]
    for name, value in pairs:
        rule = call.query.get(name)
        if rule is None:
            known = re.fullmatch(r"[A-Za-z_]{1,40}", name)
            what = f'"{name}"' if known else "one of its names"
            raise RequestRefusedError(400, f"query: {what} is not a parameter here.{nearest_name(name, call.query)}")
        if names.count(name) > 1:
            raise RequestRefusedError(400, f"{name}: give it once.")
        if not rule.holds(value):
            raise RequestRefusedError(400, f"{name}: {rule.wanted}.")
    for name in call.required:
        if name not in names:
            raise RequestRefusedError(400, f"{name}: is needed; {call.query[name].wanted}.")
    return urlencode(pairs).encode("ascii")


def _described(scope: Scope) -> tuple[str, str]:
    """Method and route for the log, without anything that a client made up."""
    method = scope["method"] if scope["method"] in _METHODS else "?"
    route = find_route(str(scope["path"]))
    named = str(scope["path"]).rstrip("/") in _LOGIN
    return method, route.path if route else "the login" if named else "an unlisted path"
