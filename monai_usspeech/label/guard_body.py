# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Bodies of requests: counted while they stream, or read and checked when they are JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from monai_usspeech.data.files import nearest_name
from monai_usspeech.label.guard_access import header_value
from monai_usspeech.label.guard_reply import Message, Receive, ReplyWatch, RequestRefusedError
from monai_usspeech.label.guard_rules import Rule

__all__ = ["BodyTooLargeError", "ClientLeftError", "limited", "object_of", "read_object", "replayed"]

_DIGITS = 20


class BodyTooLargeError(Exception):
    """More was sent than the route takes."""


class ClientLeftError(Exception):
    """The client went away while it was sending."""


def limited(receive: Receive, limit: int, watch: ReplyWatch) -> Receive:
    """The same messages, up to ``limit`` bytes of body; more ends the request, whatever the app makes of that.

    A client need not say how much it will send, so the bytes are counted as they come.

    Args:
        receive: of the server.
        limit: bytes.
        watch: silenced when there is more, so that the guard's answer is the one that is sent.
    """
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > limit:
            watch.silenced = not watch.started
            raise BodyTooLargeError
        return message

    return counted


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives a body that was read already, and then what ``receive`` gives."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def read_object(scope: Mapping[str, Any], receive: Receive, limit: int, keys: Mapping[str, Rule]) -> bytes:
    """Read the body of a request that takes JSON, and check it.

    Args:
        scope: of the request.
        receive: of the server.
        limit: bytes.
        keys: what the object may hold.

    Returns:
        The body as it came; it may be empty.

    Raises:
        BodyTooLargeError: when there is more than ``limit``.
        ClientLeftError: when the client went away.
        RequestRefusedError: when it is not such an object.
    """
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise BodyTooLargeError
    if not body:
        return body
    kind = (header_value(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestRefusedError(415, "the body must be JSON; send Content-Type: application/json.")
    try:
        content = object_of(body)
    except ValueError as error:
        raise RequestRefusedError(400, f"the body {error}.") from None
    for key, value in content.items():
        rule = keys.get(key)
        if rule is None:
            known = ", ".join(sorted(keys))
            hint = nearest_name(key, keys)
            raise RequestRefusedError(400, f"the body holds a key that is not taken here; known: {known}.{hint}")
        if not rule.holds(value):
            raise RequestRefusedError(400, f"{key}: {rule.wanted}.")
    return body


def object_of(text: str | bytes) -> dict[str, Any]:
    """Read a JSON object strictly: no key twice, no NaN, no number of thousands of digits.

    Raises:
        ValueError: when the text is none; the message goes on after "the body" or the like.
    """
    try:
        content = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            parse_constant=_no_constant,
            parse_int=_short_integer,
            object_pairs_hook=_no_key_twice,
        )
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error.msg} at character {error.pos})") from None
    if not isinstance(content, dict):
        raise ValueError("must be a JSON object")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no JSON")


def _short_integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("holds a number that is too long")
    return int(digits)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("holds a key twice")
    return content
