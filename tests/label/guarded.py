# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A guard before an app that takes everything, and requests to it."""

from __future__ import annotations

from typing import Any

from monai_usspeech.label.guard import Guard
from monai_usspeech.label.guard_access import GuardSettings
from tests.label.asgi_client import Answer, call_app

__all__ = ["JSON", "SESSION", "TOKEN", "ask"]

SESSION = "3c2f1f0e-e7b1-11ee-a0c5-0242ac120002"
TOKEN = "a-token-of-enough-characters"
JSON = (b"content-type", b"application/json")


def ask(
    method: str,
    path: str,
    query: str = "",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    body: bytes | list[bytes] = b"",
    settings: GuardSettings | None = None,
    host: bytes | None = b"127.0.0.1:8000",
    raw_path: bytes | None = None,
    app: Any = None,
) -> Answer:
    """Send one request through a guard to an app that reads it all and answers 200."""
    seen: list[dict[str, Any]] = []
    taken = bytearray()

    async def stub(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope)
        more = True
        while more:
            message = await receive()
            taken.extend(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"public")]})
        await send({"type": "http.response.body", "body": b"from the app"})

    guard = Guard(app or stub, settings or GuardSettings(failure_delay=0.0))
    answer = call_app(guard, method, path, query, headers, body, host, raw_path)
    answer.seen, answer.taken = seen, bytes(taken)
    return answer
