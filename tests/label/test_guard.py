# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from monai_usspeech.label.guard import Guard
from monai_usspeech.label.guard_access import GuardSettings
from monai_usspeech.label.guard_rules import ROUTES, find_route
from tests.label.guarded import JSON, SESSION, ask


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
