# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from monai_usspeech.label.guard_access import GuardSettings
from tests.label.guarded import JSON, ask


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
