# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest

from monai_usspeech.label.guard import Guard
from monai_usspeech.label.guard_access import GuardSettings
from monai_usspeech.label.guard_rules import ROUTES, find_route
from tests.label.asgi_client import Answer, call_app

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


def test_what_clients_call_passes():
    for method, path, query in [
        ("GET", "/", ""),
        ("GET", "/openapi.json", ""),
        ("GET", "/info/", ""),
        ("GET", "/datastore/", "output=all"),
        ("PUT", "/datastore/", "image=a+b"),
        ("PUT", "/datastore/image", "image=p001_s-1.v2"),
        ("GET", "/datastore/image", "image=x"),
        ("HEAD", "/datastore/image", "image=x&check_sum=SHA256:" + "0" * 64),
        ("DELETE", "/datastore/image", "id=x"),
        ("GET", "/datastore/image/info", "image=x"),
        ("PUT", "/datastore/image/info", "image=x"),
        ("PUT", "/datastore/label", "image=x&tag=final"),
        ("GET", "/datastore/label", "label=x&tag=original"),
        ("HEAD", "/datastore/label", "image=x&tag=final"),
        ("DELETE", "/datastore/label", "id=x&tag=final"),
        ("GET", "/datastore/label/info", "label=x&tag=final"),
        ("PUT", "/datastore/label/info", "label=x&tag=final"),
        ("POST", "/infer/standard_plane", "image=x&output=json"),
        ("POST", "/infer/standard_plane", f"image=&session_id={SESSION}"),
        ("GET", "/train/", "check_if_running=true"),
        ("DELETE", "/train/", ""),
        ("POST", "/train/standard_plane", ""),
        ("POST", "/activelearning/mixed", ""),
        ("GET", "/scoring/", "all=false"),
        ("POST", "/scoring/clips", "run_sync=false"),
        ("DELETE", "/scoring/", ""),
        ("POST", "/batch/infer/standard_plane", "images=unlabeled"),
        ("GET", "/batch/infer", ""),
        ("DELETE", "/batch/infer", ""),
        ("GET", "/model/info/standard_plane", ""),
        ("PUT", "/session/", "uncompress=false&expiry=600"),
        ("GET", f"/session/{SESSION}", "update_ts=true"),
        ("DELETE", f"/session/{SESSION}", ""),
    ]:
        answer = ask(method, path, query)
        assert answer.passed and answer.status == 200, (method, path, answer.body)
        assert answer.body == b"from the app"


def test_a_slash_more_or_less_at_the_end_is_left_to_the_redirect():
    assert ask("GET", "/info").passed and ask("GET", "/batch/infer/").passed and ask("GET", "/datastore").passed


@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "/reload"),
        ("GET", "/logs/"),
        ("GET", "/logs/gpu"),
        ("GET", "/proxy/dicom/wado/x"),
        ("GET", "/ohif/"),
        ("GET", "/ohif/../../etc/passwd"),
        ("GET", "/static/ohif/index.html"),
        ("GET", "/docs"),
        ("GET", "/datastore/dataset"),
        ("PUT", "/datastore/updatelabelinfo"),
        ("GET", "/model/standard_plane"),
        ("PUT", "/model/standard_plane"),
        ("DELETE", "/model/standard_plane"),
        ("POST", "/infer/wsi/standard_plane"),
        ("POST", "/infer/wsi_v2/standard_plane"),
        ("POST", "/infer/"),
        ("POST", "/infer/a.b"),
        ("GET", "/session/../../x"),
        ("GET", "/session/not-an-id"),
        ("GET", "//info/"),
        ("GET", "/info//"),
        ("GET", "/info/\n"),
        ("GET", "/INFO/"),
        ("GET", ""),
    ],
)
def test_what_opens_the_machine_is_not_there(method, path):
    answer = ask(method, path)
    assert answer.status == 404 and not answer.passed


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("PUT", "/info/", "GET"),
        ("DELETE", "/datastore/", "GET, PUT"),
        ("GET", "/infer/standard_plane", "POST"),
        ("POST", "/datastore/image", "PUT, GET, HEAD, DELETE"),
        ("OPTIONS", "/info/", "GET"),
    ],
)
def test_other_methods_are_named_as_such(method, path, allowed):
    answer = ask(method, path)
    assert answer.status == 405 and answer.headers["allow"] == allowed and not answer.passed


@pytest.mark.parametrize(
    "raw", [b"/session/..%2fx", b"/infer/a%00", b"/infer/a%5Cb", b"/info%2F", b"/inf\\o", b"/inf\xc3\xb6"]
)
def test_a_path_that_needs_escapes_is_none_of_ours(raw):
    # the server has undone the escapes in "path"; what it shows there may look harmless
    answer = ask("GET", "/info/", raw_path=raw)
    assert answer.status == 404 and not answer.passed


TRAVERSALS = ["../x", "..", "/etc/passwd", "a/b", "a\\b", "..%2Fx", "%2e%2e/x", "a%00", ".hidden", "a..b", "%C3%A4",
              "x" * 201, "%0a", "a%0d%0ab", "-x", "%20x", ""]  # fmt: skip


@pytest.mark.parametrize("value", TRAVERSALS)
@pytest.mark.parametrize(
    "method, path, name, rest",
    [
        ("PUT", "/datastore/image", "image", ""),
        ("PUT", "/datastore/", "image", ""),
        ("GET", "/datastore/image", "image", ""),
        ("DELETE", "/datastore/image", "id", ""),
        ("PUT", "/datastore/image/info", "image", ""),
        ("PUT", "/datastore/label", "image", "tag=final"),
        ("GET", "/datastore/label", "label", "tag=final"),
        ("DELETE", "/datastore/label", "id", "tag=final"),
        ("PUT", "/datastore/label/info", "label", "tag=final"),
        ("POST", "/infer/standard_plane", "image", "output=json"),
    ],
)
def test_no_id_is_a_path(method, path, name, rest, value):
    if path.startswith("/infer") and value == "":
        return  # a file or a session may come instead
    answer = ask(method, path, f"{name}={value}&{rest}")
    assert answer.status == 400 and not answer.passed
    assert answer.detail.startswith(f"{name}: ")


@pytest.mark.parametrize("tag", ["../../../x", "final/..", "", "FINAL", "draft", "final%00"])
def test_a_tag_is_one_of_two_words(tag):
    answer = ask("PUT", "/datastore/label", f"image=x&tag={tag}")
    assert answer.status == 400 and answer.detail.startswith("tag: ") and not answer.passed


@pytest.mark.parametrize(
    "method, path, query, said",
    [
        ("PUT", "/session/", "uncompress=true", "uncompress"),
        ("PUT", "/session/", "uncompress=yes", "uncompress"),
        ("PUT", "/session/", "uncompress=false&uncompress=true", "uncompress: give it once"),
        ("PUT", "/session/", "expiry=-1", "expiry"),
        ("POST", "/infer/m", "image=x&session_id=..%2F..%2Fx", "session_id"),
        ("POST", "/infer/m", "image=x&image=..%2Fx", "image"),
        ("POST", "/infer/m", "image=x&image=y", "image: give it once"),
        ("POST", "/infer/m", "image=x&output=dicom_seg", "output"),
        ("POST", "/infer/m", "image=x&params={}", '"params" is not a parameter here'),
        ("POST", "/infer/m", "imag=x", 'Did you mean "image"'),
        ("GET", "/info/", "x=1", '"x" is not a parameter here'),
        ("GET", "/datastore/image", "", "image: is needed"),
        ("PUT", "/datastore/image", "", "image: is needed"),
        ("GET", "/datastore/label", "label=x", "tag: is needed"),
        ("GET", "/datastore/image", "image=x;id=y", "image"),
        ("GET", "/info/", "a=1&" * 20, "too many"),
        ("GET", "/info/", "a" * 5000, "too long"),
        ("GET", "/info/", "%3Cscript%3E=1", "one of its names"),
        ("HEAD", "/datastore/image", "image=x&check_sum=../x", "check_sum"),
        ("GET", "/train/", "all=maybe", "all"),
        ("POST", "/batch/infer/m", "images=../x", "images"),
        ("POST", "/train/m", "run_sync=true", "run_sync: leave it out"),
        ("POST", "/train/", "run_sync=1", "run_sync: leave it out"),
        ("POST", "/scoring/m", "run_sync=True", "run_sync: leave it out"),
        ("POST", "/batch/infer/m", "run_sync=true", "run_sync: leave it out"),
    ],
)
def test_parameters_are_those_of_the_route(method, path, query, said):
    answer = ask(method, path, query)
    assert answer.status == 400 and said in answer.detail and not answer.passed


def test_the_app_reads_what_was_checked():
    answer = ask("GET", "/datastore/image", "image=%61+b%2Dc")
    assert answer.seen[0]["query_string"] == b"image=a+b-c"


@pytest.mark.parametrize(
    "path, content, said",
    [
        ("/train/m", {"bundle_path": "/tmp/evil"}, "known: "),
        ("/train/m", {"image": "/etc/passwd"}, "known: "),
        ("/train/m", {"_target_": "os.system"}, "known: "),
        ("/train/m", {"max_epoch": 3}, 'Did you mean "max_epochs"'),
        ("/train/m", {"max_epochs": 0}, "max_epochs"),
        ("/train/m", {"max_epochs": True}, "max_epochs"),
        ("/train/m", {"max_epochs": "3"}, "max_epochs"),
        ("/train/m", {"learning_rate": 0}, "learning_rate"),
        ("/train/m", {"device": "$__import__('os')"}, "device"),
        ("/train/m", {"device": ["cpu", "$x"]}, "device"),
        ("/train/m", {"device": {"a": 1}}, "device"),
        ("/train/m", {"client_id": "a__b"}, "client_id"),
        ("/train/m", {"client_id": "%x"}, "client_id"),
        ("/train/m", {"client_id": "@x"}, "client_id"),
        ("/train/m", {"client_id": "x" * 201}, "client_id"),
        ("/train/m", {"client_id": "a\nb"}, "client_id"),
        ("/train/m", {"mode": "everything"}, "mode"),
        ("/train/m", {"gpus": "0;rm"}, "gpus"),
        ("/train/", {"standard_plane": {"bundle_path": "x"}}, "known: "),
        ("/activelearning/mixed", {"exclude": ["../x"]}, "exclude"),
        ("/activelearning/mixed", {"strategy": "x"}, "known: "),
        ("/scoring/clips", {"force": "yes"}, "force"),
        ("/batch/infer/m", {"images": ["/etc/passwd"]}, "images"),
        ("/batch/infer/m", {"image": "/etc/passwd"}, "known: "),
        ("/batch/infer/m", {"label_tag": "final"}, "label_tag"),
    ],
)
def test_bodies_hold_what_the_route_takes(path, content, said):
    answer = ask("POST", path, headers=(JSON,), body=json.dumps(content).encode())
    assert answer.status == 400 and said in answer.detail and not answer.passed


@pytest.mark.parametrize(
    "body, status",
    [
        (b"[]", 400), (b"null", 400), (b'"x"', 400), (b"{", 400), (b'{"seed": NaN}', 400),
        (b'{"seed": 1, "seed": 2}', 400),
        (b'{"seed": ' + b"9" * 5000 + b"}", 400), (b'{"seed": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
        (b"\xff\xfe{}", 400), (b'{"client_id": "' + b"x" * (64 << 10) + b'"}', 413),
    ],
)  # fmt: skip
def test_bodies_are_json_objects(body, status):
    answer = ask("POST", "/train/m", headers=(JSON,), body=body)
    assert answer.status == status and not answer.passed


def test_a_body_of_json_arrives_as_it_came():
    config = {"max_epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "mode": "probe", "start": "model", "seed": 0,
              "device": "cpu", "client_id": None}  # fmt: skip
    body = json.dumps(config).encode()
    answer = ask("POST", "/train/m", headers=(JSON,), body=[body[:10], b"", body[10:]])
    assert answer.passed and answer.taken == body
    lists = {"mode": ["probe", "finetune"], "device": ["cuda:0", "cpu"], "start": ["model"]}
    assert ask("POST", "/train/m", headers=(JSON,), body=json.dumps(lists).encode()).passed
    batch = {"device": "cuda", "multi_gpu": True, "gpus": "all", "logging": "WARNING", "save_label": True,
             "label_tag": "original", "max_workers": 1, "max_batch_size": 0, "images": ["a", "b"]}  # fmt: skip
    assert ask("POST", "/batch/infer/m", headers=(JSON,), body=json.dumps(batch).encode()).passed


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b""])
def test_a_body_of_another_kind_is_refused(kind):
    answer = ask("POST", "/train/m", headers=((b"content-type", kind),), body=b"{}")
    assert answer.status == 415 and not answer.passed


SMALL = GuardSettings(max_request_mb=1, max_upload_mb=2, failure_delay=0.0)
MIB = 1 << 20


@pytest.mark.parametrize(
    "method, path, query, limit",
    [
        ("POST", "/infer/m", "image=", 1 * MIB),
        ("PUT", "/datastore/image", "image=x", 2 * MIB),
        ("PUT", "/session/", "", 2 * MIB),
        ("PUT", "/datastore/label", "image=x", MIB),
        ("PUT", "/datastore/label/info", "label=x&tag=final", MIB),
        ("PUT", "/datastore/image/info", "image=x", MIB),
        ("POST", "/scoring/clips", "", 64 << 10),
        ("GET", "/info/", "", 64 << 10),
    ],
)
def test_bodies_are_counted_while_they_stream(method, path, query, limit):
    chunk = b"x" * (16 << 10)
    fits = [chunk] * (limit // len(chunk))
    if path != "/scoring/clips":
        answer = ask(method, path, query, body=fits, settings=SMALL)
        assert answer.status == 200 and len(answer.taken) == limit
    # without a Content-Length
    answer = ask(method, path, query, headers=(JSON,), body=[*fits, b"y", chunk], settings=SMALL)
    assert answer.status == 413 and len(answer.taken) <= limit
    assert answer.headers["connection"] == "close"
    # with one, nothing is read at all
    declared = ((b"content-length", str(limit + 1).encode()),)
    answer = ask(method, path, query, headers=declared, body=b"", settings=SMALL)
    assert answer.status == 413 and not answer.passed


def test_what_an_app_makes_of_a_body_that_was_cut_is_not_sent():
    async def parses(scope, receive, send):
        try:
            while True:
                await receive()
        except Exception:
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"cannot parse"})

    async def fails(scope, receive, send):
        try:
            while True:
                await receive()
        except Exception as error:
            raise RuntimeError("cannot parse") from error

    for app in (parses, fails):
        answer = ask("PUT", "/datastore/label", "image=x", body=[b"x" * MIB, b"x"], app=app)
        assert answer.status == 413 and "1 MB" in answer.detail


@pytest.mark.parametrize("length", [b"-1", b"x", b"1e9", b"0x10", b"9" * 30])
def test_a_length_that_is_none_is_refused(length):
    answer = ask("PUT", "/datastore/label", "image=x", headers=((b"content-length", length),))
    assert answer.status == 400 and not answer.passed


def test_two_lengths_are_refused():
    headers = ((b"content-length", b"1"), (b"content-length", b"999999999"))
    assert ask("PUT", "/datastore/label", "image=x", headers=headers).status == 400


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


def test_every_answer_has_the_headers_that_keep_it_private():
    for answer in (ask("GET", "/info/"), ask("GET", "/reload"), ask("GET", "/info/", host=b"evil.example")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_log_names_the_route_and_no_value(caplog):
    with caplog.at_level(logging.INFO):
        ask("GET", "/datastore/image", "image=..%2FMrs_Miller")
        ask("POST", "/train/m", headers=(JSON,), body=b'{"device": "$Mrs_Miller"}')
        ask("GET", "/Mrs_Miller\r\nforged")
    assert len(caplog.records) == 3
    assert "Mrs_Miller" not in caplog.text and "forged" not in caplog.text
    assert "GET /datastore/image refused (400)" in caplog.text


def test_an_error_of_the_app_is_logged_and_told_without_its_text(caplog):
    async def fails(scope, receive, send):
        raise RuntimeError("secret path")

    answer = ask("GET", "/info/", app=fails)
    assert answer.status == 500 and b"secret" not in answer.body and "secret path" in caplog.text


def test_a_client_that_leaves_gets_no_answer():
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    async def never(scope, receive, send):
        raise AssertionError("the app must not be asked")

    headers = [(b"host", b"localhost"), JSON]
    scope = {"type": "http", "method": "POST", "path": "/train/m", "query_string": b"", "headers": headers}
    asyncio.run(Guard(never, GuardSettings())(scope, receive, send))
    assert answers == []


def test_web_sockets_are_closed_and_the_life_of_the_app_is_passed_on():
    sent, seen = [], []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def app(scope, receive, send):
        seen.append(scope["type"])

    guard = Guard(app, GuardSettings())
    asyncio.run(guard({"type": "websocket", "path": "/info/"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}] and not seen
    asyncio.run(guard({"type": "lifespan"}, receive, send))
    assert seen == ["lifespan"]


def test_every_route_is_found_by_its_own_path_alone():
    for route in ROUTES:
        path = route.path.replace("{name}", "m").replace("{session}", SESSION)
        assert find_route(path) is route
