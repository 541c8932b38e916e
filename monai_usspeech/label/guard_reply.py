# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the guard says itself, and what it adds to the answers of the app."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

__all__ = ["Message", "Receive", "ReplyWatch", "RequestRefusedError", "Send", "send_json"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ALWAYS = {
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}


class RequestRefusedError(Exception):
    """A request is not passed on.

    Args:
        status: of the answer.
        detail: one sentence, without values of the request: it is logged.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


class ReplyWatch:
    """Sends on, with the headers of every answer; knows whether an answer has begun.

    Args:
        send: of the server.

    Attributes:
        started: an answer has begun.
        silenced: drop what is sent from here on, unless an answer has begun.
        origin: the other site that may read the answers given here; None for none.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = self.silenced = False
        self.origin: str | None = None

    async def __call__(self, message: Message) -> None:
        """Send an ASGI message."""
        if self.silenced and not self.started:
            return
        if message["type"] == "http.response.start":
            self.started = True
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in _ALWAYS]
            message = {**message, "headers": [*kept, *_ALWAYS.items()]}
        await self._send(message)


async def send_json(watch: ReplyWatch, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
    """Answer with a JSON object."""
    body = json.dumps(content).encode("utf-8")
    named = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    if watch.origin:
        named.update({"access-control-allow-origin": watch.origin, "vary": "Origin"})
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    await watch({"type": "http.response.start", "status": status, "headers": raw})
    await watch({"type": "http.response.body", "body": body})
