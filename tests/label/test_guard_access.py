# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import time

import pytest

from monai_usspeech.label.guard_access import GuardSettings
from monai_usspeech.label.guard_rules import ROUTES
from tests.label.asgi_client import Answer
from tests.label.guarded import SESSION, TOKEN, ask


@pytest.mark.parametrize(
    "host, right",
    [
        (b"127.0.0.1:8000", True), (b"localhost", True), (b"LOCALHOST:1", True), (b"[::1]:8000", True),
        (b"evil.example", False), (b"evil.example:8000", False), (b"127.0.0.1.evil.example", False), (b"", False),
        (b"localhost.", False), (b"localhost@evil.example", False), (b"192.168.1.5", False), (None, False),
        (b"localhost:8000/x", False), (b"localhost:999999", False),
    ],
)  # fmt: skip
def test_the_server_goes_by_its_own_names(host, right):
    answer = ask("GET", "/info/", host=host)
    assert answer.passed is right and answer.status == (200 if right else 400)


def test_further_names_and_addresses():
    named = GuardSettings(hosts=("Scanner.Clinic.example",))
    assert ask("GET", "/info/", host=b"scanner.clinic.example:8000", settings=named).passed
    everywhere = GuardSettings(any_address=True)
    assert ask("GET", "/info/", host=b"192.168.1.5:8000", settings=everywhere).passed
    assert ask("GET", "/info/", host=b"[fe80::1]:8000", settings=everywhere).passed
    assert not ask("GET", "/info/", host=b"evil.example", settings=everywhere).passed


def test_two_hosts_are_refused():
    answer = ask("GET", "/info/", headers=((b"host", b"evil.example"),))
    assert answer.status == 400 and not answer.passed


@pytest.mark.parametrize(
    "origin", [b"http://evil.example", b"null", b"http://127.0.0.1:9000", b"http://localhost:8000", b"file://", b""]
)
@pytest.mark.parametrize("method, path", [("GET", "/info/"), ("POST", "/train/m"), ("OPTIONS", "/info/")])
def test_pages_of_other_sites_do_not_ask(origin, method, path):
    answer = ask(method, path, headers=((b"origin", origin), (b"access-control-request-method", b"GET")))
    assert answer.status == 403 and not answer.passed
    assert "access-control-allow-origin" not in answer.headers


def test_pages_that_may_ask():
    assert ask("GET", "/info/", headers=((b"origin", b"http://127.0.0.1:8000"),)).passed  # its own
    allowed = GuardSettings(origins=("https://viewer.example",), token=TOKEN, failure_delay=0.0)
    origin = (b"origin", b"https://viewer.example")
    preflight = ask("OPTIONS", "/info/", headers=(origin, (b"access-control-request-method", b"GET")), settings=allowed)
    assert preflight.passed  # without the token, which a browser does not send with this
    nowhere = ask("OPTIONS", "/reload", headers=(origin, (b"access-control-request-method", b"GET")), settings=allowed)
    assert nowhere.status == 404
    refused = ask("GET", "/info/", headers=(origin,), settings=allowed)
    assert refused.status == 401 and refused.headers["access-control-allow-origin"] == "https://viewer.example"
    login = ask("GET", "/auth/", headers=(origin,), settings=allowed)
    assert login.status == 200 and login.headers["access-control-allow-origin"] == "https://viewer.example"


def bearer(token: str, scheme: str = "Bearer") -> tuple[tuple[bytes, bytes]]:
    return ((b"authorization", f"{scheme} {token}".encode()),)


LOCKED = GuardSettings(token=TOKEN, failure_delay=0.0)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_with_a_token_nothing_goes_without(route):
    path = route.path.replace("{name}", "m").replace("{session}", SESSION)
    for method in route.calls:
        for headers in [
            (),
            bearer("wrong"),
            bearer(TOKEN, "Basic"),
            bearer(TOKEN + "x"),
            bearer(TOKEN[:-1]),
            bearer(""),
        ]:
            answer = ask(method, path, headers=headers, settings=LOCKED)
            assert answer.status == 401 and not answer.passed
            assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_opens():
    assert ask("GET", "/info/", headers=bearer(TOKEN), settings=LOCKED).passed
    assert ask("GET", "/info/", headers=bearer(TOKEN, "bearer"), settings=LOCKED).passed
    assert ask("GET", "/info/", headers=(*bearer(TOKEN), *bearer("x")), settings=LOCKED).status == 400
    assert ask("GET", "/nowhere", settings=LOCKED).status == 401  # what there is, is nobody's business


def login(password: str, settings: GuardSettings = LOCKED) -> Answer:
    form = f"username=anna&password={password}&grant_type=password".encode()
    return ask("POST", "/auth/token", body=[form[:7], form[7:]], settings=settings)


def test_clients_log_in_with_the_token_as_password():
    assert json.loads(ask("GET", "/auth/", settings=LOCKED).body)["enabled"] is True
    answer = login(TOKEN)
    assert answer.status == 200 and not answer.passed
    given = json.loads(answer.body)
    assert ask("GET", "/info/", headers=bearer(given["access_token"], given["token_type"]), settings=LOCKED).passed
    assert ask("GET", "/auth/token/valid", headers=bearer(TOKEN), settings=LOCKED).status == 200
    assert ask("GET", "/auth/token/valid", headers=bearer("x"), settings=LOCKED).status == 401
    for wrong in ("", "wrong", TOKEN + "&password=x"):
        assert login(wrong).status == 401
    assert ask("POST", "/auth/token", body=b"x" * 5000, settings=LOCKED).status == 413
    assert ask("GET", "/auth/token", settings=LOCKED).status == 405


def test_without_a_token_clients_do_not_log_in():
    free = GuardSettings()
    assert json.loads(ask("GET", "/auth/", settings=free).body)["enabled"] is False
    assert json.loads(login("x", free).body) == {"access_token": None, "token_type": None}
    assert ask("GET", "/auth/token/valid", settings=free).status == 200


def test_a_wrong_token_takes_its_time():
    begin = time.monotonic()
    assert ask("GET", "/info/", settings=GuardSettings(token=TOKEN, failure_delay=0.2)).status == 401
    assert time.monotonic() - begin >= 0.2
