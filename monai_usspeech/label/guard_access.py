# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Who may ask: the names the server goes by, the sites whose pages may use it, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from monai_usspeech.label.guard_reply import Receive, ReplyWatch, RequestRefusedError, send_json

__all__ = ["LOOPBACK_NAMES", "Access", "GuardSettings", "header_value"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_LOGIN_LIMIT = 4096
_USER: dict[str, Any] = {"username": "token", "email": None, "name": None, "roles": []}


@dataclass(frozen=True)
class GuardSettings:
    """What the guard goes by.

    Attributes:
        hosts: names, besides those of this computer itself, that the server is reached by.
        any_address: it may be reached by any IP address too (it listens on all of them). A page of another site that
            has its name resolved to this server still comes with that name.
        origins: sites such as ``https://viewer.example`` whose pages may use the server.
        token: what every request must carry; None: nothing.
        max_request_mb: the most that a request for inference may carry, MiB.
        max_upload_mb: the most that a file for the store or a session may have, MiB.
        failure_delay: seconds before a wrong token is answered.
    """

    hosts: tuple[str, ...] = ()
    any_address: bool = False
    origins: tuple[str, ...] = ()
    token: str | None = None
    max_request_mb: int = 64
    max_upload_mb: int = 2048
    failure_delay: float = 0.5


def header_value(scope: Mapping[str, Any], name: bytes) -> str | None:
    """A header of a request; None when it is not there.

    Raises:
        RequestRefusedError: when it is there more than once.
    """
    found = [value for key, value in scope.get("headers", []) if key.lower() == name]
    if len(found) > 1:
        raise RequestRefusedError(400, f"{name.decode()}: give the header once.")
    return found[0].decode("latin-1") if found else None


class Access:
    """The checks that need no route.

    Args:
        settings: of the guard.
    """

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self._hosts = {name.lower() for name in (*LOOPBACK_NAMES, *settings.hosts)}

    def check_host(self, scope: Mapping[str, Any]) -> None:
        """A page can have its own name resolved to this computer; its requests then carry that name."""
        match = _HOST.fullmatch(header_value(scope, b"host") or "")
        name = match.group(1).lower() if match else ""
        if name not in self._hosts and not (self.settings.any_address and _is_address(name)):
            raise RequestRefusedError(
                400, "host: the server does not go by this name; start it with --allow_host NAME."
            )

    def check_origin(self, scope: Mapping[str, Any]) -> str | None:
        """Pages of other sites may not ask through a person's browser.

        Returns:
            The origin, when it is another one and allowed.
        """
        origin = header_value(scope, b"origin")
        host = (header_value(scope, b"host") or "").lower()
        if origin is None or origin.lower() in (f"http://{host}", f"https://{host}"):
            return None
        if origin in self.settings.origins:
            return origin
        raise RequestRefusedError(
            403, "origin: pages of other sites may not ask; start the server with --allow_origin URL."
        )

    def check_token(self, scope: Mapping[str, Any]) -> None:
        """Refuse a request without the token, where there is one."""
        if self.settings.token is None:
            return
        scheme, _, given = (header_value(scope, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not self._is_token(given.strip()):
            raise RequestRefusedError(
                401, "the server needs its token: Authorization: Bearer TOKEN.", {"www-authenticate": "Bearer"}
            )

    def _is_token(self, given: str) -> bool:
        token = self.settings.token or ""
        return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode("utf-8"))

    async def answer_login(self, scope: Mapping[str, Any], receive: Receive, watch: ReplyWatch, path: str) -> None:
        """Speak MONAI Label's way to log in: its clients ask for user and password, and the token is the password.

        Raises:
            RequestRefusedError: for a wrong password or token, and another method.
        """
        method = "POST" if path == "/auth/token" else "GET"
        if scope["method"] != method:
            raise RequestRefusedError(405, f"{path} takes {method}.", {"allow": method})
        enabled = self.settings.token is not None
        if path == "/auth":
            await send_json(watch, 200, {"enabled": enabled, "client_id": "monailabel-app", "realm": ""})
        elif path == "/auth/token/valid":
            self.check_token(scope)
            await send_json(watch, 200, _USER)
        elif not enabled:
            await send_json(watch, 200, {"access_token": None, "token_type": None})
        elif self._is_token(await _password(receive)):
            await send_json(watch, 200, {"access_token": self.settings.token, "token_type": "bearer"})
        else:
            raise RequestRefusedError(401, "the password is not the server's token.", {"www-authenticate": "Bearer"})


async def _password(receive: Receive) -> str:
    """The password of a login form."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _LOGIN_LIMIT:
            raise RequestRefusedError(413, "a login is not that long.", {"connection": "close"})
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=16)
    except ValueError:
        return ""
    given = fields.get("password", [])
    return given[0] if len(given) == 1 else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
