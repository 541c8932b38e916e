# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Requests to an ASGI app without a network or a web framework."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "call_app", "form"]


@dataclass
class Answer:
    """What came back; ``seen`` and ``taken``: the requests that an app behind a guard saw, and the bytes it read."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: list[dict[str, Any]] = field(default_factory=list)
    taken: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        return self.json["detail"]

    @property
    def passed(self) -> bool:
        return bool(self.seen)


def call_app(
    app: Any,
    method: str,
    path: str,
    query: str = "",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    body: bytes | list[bytes] = b"",
    host: bytes | None = b"127.0.0.1:8000",
    raw_path: bytes | None = None,
) -> Answer:
    """Send one request, its body in one piece or several, and take the answer."""
    answer = Answer()
    chunks = [body] if isinstance(body, bytes) else list(body)
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked and not chunks:
            await asyncio.Event().wait()  # as a client that waits for its answer
        asked = True
        return {"type": "http.request", "body": chunks.pop(0) if chunks else b"", "more_body": bool(chunks)}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert not answer.status, "two answers to one request"
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode() if raw_path is None else raw_path,
        "query_string": query.encode("latin-1"),
        "headers": [*([] if host is None else [(b"host", host)]), *headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }
    asyncio.run(app(scope, receive, send))
    return answer


def form(
    fields: Mapping[str, str] | None = None, files: Mapping[str, tuple[str, bytes]] | None = None
) -> dict[str, Any]:
    """Headers and body of a form, for :func:`call_app`; files are (name, content)."""
    parts = [(f'name="{name}"', value.encode()) for name, value in (fields or {}).items()]
    parts += [(f'name="{name}"; filename="{file}"', content) for name, (file, content) in (files or {}).items()]
    body = b"".join(
        b"--edge\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    headers = ((b"content-type", b"multipart/form-data; boundary=edge"),)
    return {"headers": headers, "body": body + b"--edge--\r\n"}
