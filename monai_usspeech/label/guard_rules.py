# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which requests the server takes: routes, their parameters, what their bodies may hold and how large they may be.

The routes are those of MONAI Label 0.8.5 that a client needs. Left out are those that open the machine: replacing or
downloading weights, server logs, the DICOMweb proxy, whole-slide inference, OHIF (it shows no ultrasound), reloading
the app, and the archive of all data, which would stay in a temporary file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from monai_usspeech.label.clip_folder import ID_RULE, is_clip_id
from monai_usspeech.label.training_request import TRAINING_MODES, TRAINING_STARTS

__all__ = ["ROUTES", "Call", "Route", "Rule", "find_route"]


class Rule(NamedTuple):
    """What a value must be: ``holds`` says whether it is, ``wanted`` says what would be, for an error."""

    holds: Callable[[Any], bool]
    wanted: str


@dataclass(frozen=True)
class Call:
    """One method of a route.

    Attributes:
        query: the query parameters it takes.
        required: those that must be there.
        body: ``"small"`` (nothing that matters), ``"json"`` (an object, read and checked by the guard), ``"label"``,
            ``"request"`` or ``"upload"`` (forms, which stream through up to a size).
        keys: what a JSON body may hold.
    """

    query: Mapping[str, Rule] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    body: str = "small"
    keys: Mapping[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """A path, in which ``{name}`` stands for a model, method or strategy and ``{session}`` for a session's id."""

    path: str
    calls: Mapping[str, Call]


_NAME, _SESSION = r"[A-Za-z0-9_-]{1,64}", r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TEXT_LENGTH = 200


def find_route(path: str) -> Route | None:
    """The route of a path; with or without a slash at its end, since MONAI Label redirects from one to the other."""
    return next((route for route in ROUTES if _pattern(route.path).fullmatch(path)), None)


@cache
def _pattern(path: str) -> re.Pattern[str]:
    exact = re.escape(path.rstrip("/"))
    for part, pattern in (("{name}", _NAME), ("{session}", _SESSION)):
        exact = exact.replace(re.escape(part), pattern)
    return re.compile(exact + "/?" if exact else "/")


def _text(pattern: str, wanted: str) -> Rule:
    compiled = re.compile(pattern)
    return Rule(lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None, wanted)


def _is_text(value: Any) -> bool:
    """Short and printable, without what MONAI's configurations read as a reference or an expression."""
    plain = isinstance(value, str) and value.isprintable() and len(value) <= _TEXT_LENGTH
    return plain and not (value.startswith(("@", "%")) or "$" in value or "__" in value)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int, high: int) -> Rule:
    return Rule(lambda value: _is_whole(value, low, high), f"give a whole number from {low} to {high}")


def _number(low: float, high: float) -> Rule:
    def holds(value: Any) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and math.isfinite(value) and low < value <= high

    return Rule(holds, f"give a number above {low:g} and at most {high:g}")


def _words(*words: str) -> Rule:
    return Rule(lambda value: isinstance(value, str) and value in words, f"give one of {', '.join(words)}")


def _choices(words: tuple[str, ...]) -> Rule:
    """One of the words, or several: a client that was given a list of them may send it back."""

    def holds(value: Any) -> bool:
        return value in words if isinstance(value, str) else isinstance(value, list) and all(v in words for v in value)

    return Rule(holds, f"give one of {', '.join(words)}")


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_clip_id, value))


_FLAG = _text(r"(?i:true|false|1|0)", "give true or false")
_CLIP = Rule(is_clip_id, f"give the id of a clip: {ID_RULE}")
_CLIP_OR_NONE = Rule(lambda value: value == "" or is_clip_id(value), _CLIP.wanted)
_TAG = _words("final", "original")
_WHICH = _words("all", "labeled", "unlabeled")
_BESIDE = _text(r"(?i:false|0)", "leave it out: the server would answer nobody until it was done")
_CHECKSUM = _text(r"(?:(?:SHA256|SHA512|MD5):)?[0-9a-fA-F]{32,128}", "give a checksum such as SHA256:0123...")

_STATUS = Call({"all": _FLAG, "check_if_running": _FLAG})
_NOTHING = Call()

_YES_NO = Rule(lambda value: isinstance(value, bool), "give true or false")
_WORD = Rule(_is_text, 'give a short text without "$" and "__"')
_DEVICE = Rule(lambda value: _is_text(value) or (isinstance(value, list) and all(map(_is_text, value))), _WORD.wanted)
_CLIENT = Rule(lambda value: value is None or _is_text(value), _WORD.wanted)
_IDS = Rule(_is_ids, f"give a list of ids of clips: {ID_RULE}")
_ID_LIST = Rule(lambda value: _is_ids(value) or is_clip_id(value), _IDS.wanted)
_GPUS = Rule(
    lambda value: isinstance(value, str) and re.fullmatch(r"all|[0-9]{1,3}(?:,[0-9]{1,3}){0,63}", value) is not None,
    'give "all" or numbers such as "0,1"',
)
_IMAGES = Rule(
    lambda value: value in ("all", "labeled", "unlabeled") if isinstance(value, str) else _is_ids(value),
    "give all, labeled, unlabeled, or a list of ids",
)

_TRAIN = {
    "device": _DEVICE, "max_epochs": _whole(1, 1000), "batch_size": _whole(2, 1024), "learning_rate": _number(0, 1),
    "mode": _choices(TRAINING_MODES), "start": _choices(TRAINING_STARTS), "seed": _whole(0, 2**32 - 1), "gpus": _GPUS,
    "client_id": _CLIENT,
}  # fmt: skip
_SCORE = {"device": _DEVICE, "force": _YES_NO, "gpus": _GPUS, "client_id": _CLIENT}
_NEXT = {"exclude": _ID_LIST, "client_id": _CLIENT}
_BATCH = {
    "device": _DEVICE, "multi_gpu": _YES_NO, "gpus": _GPUS, "max_workers": _whole(0, 64), "images": _IMAGES,
    "max_batch_size": _whole(0, 1_000_000), "save_label": _YES_NO, "label_tag": _words("original"),
    "logging": _words("DEBUG", "INFO", "WARNING", "ERROR"), "client_id": _CLIENT,
}  # fmt: skip

_NEW_IMAGE = Call({"image": _CLIP}, ("image",), "upload")

ROUTES: tuple[Route, ...] = (
    Route("/", {"GET": _NOTHING}),
    Route("/openapi.json", {"GET": _NOTHING}),
    Route("/favicon.ico", {"GET": _NOTHING}),
    Route("/info/", {"GET": _NOTHING}),
    Route("/model/info/{name}", {"GET": _NOTHING}),
    # PUT here is what MONAI Label's own client calls to send a clip
    Route("/datastore/", {"GET": Call({"output": _words("train", "stats", "all")}), "PUT": _NEW_IMAGE}),
    Route(
        "/datastore/image",
        {
            "PUT": _NEW_IMAGE,
            "GET": Call({"image": _CLIP}, ("image",)),
            "HEAD": Call({"image": _CLIP, "check_sum": _CHECKSUM}, ("image",)),
            "DELETE": Call({"id": _CLIP}, ("id",)),
        },
    ),
    Route(
        "/datastore/image/info",
        {"GET": Call({"image": _CLIP}, ("image",)), "PUT": Call({"image": _CLIP}, ("image",), "label")},
    ),
    Route(
        "/datastore/label",
        {
            "PUT": Call({"image": _CLIP, "tag": _TAG}, ("image",), "label"),
            "GET": Call({"label": _CLIP, "tag": _TAG}, ("label", "tag")),
            "HEAD": Call({"image": _CLIP, "tag": _TAG}, ("image", "tag")),
            "DELETE": Call({"id": _CLIP, "tag": _TAG}, ("id", "tag")),
        },
    ),
    Route(
        "/datastore/label/info",
        {
            "GET": Call({"label": _CLIP, "tag": _TAG}, ("label", "tag")),
            "PUT": Call({"label": _CLIP, "tag": _TAG}, ("label", "tag"), "label"),
        },
    ),
    Route(
        "/infer/{name}",
        {
            "POST": Call(
                {
                    "image": _CLIP_OR_NONE,
                    "session_id": _text(_SESSION, "give the id that PUT /session/ answered with"),
                    "output": _words("json", "image", "all"),
                },
                body="request",
            )
        },
    ),
    Route(
        "/train/",
        {"GET": _STATUS, "DELETE": _NOTHING, "POST": Call({"run_sync": _BESIDE}, body="json", keys=_TRAIN)},
    ),
    Route("/train/{name}", {"POST": Call({"run_sync": _BESIDE, "enqueue": _FLAG}, body="json", keys=_TRAIN)}),
    Route("/activelearning/{name}", {"POST": Call(body="json", keys=_NEXT)}),
    Route("/scoring/", {"GET": _STATUS, "DELETE": _NOTHING}),
    Route("/scoring/{name}", {"POST": Call({"run_sync": _BESIDE}, body="json", keys=_SCORE)}),
    Route("/batch/infer", {"GET": _STATUS, "DELETE": _NOTHING}),
    Route(
        "/batch/infer/{name}",
        {"POST": Call({"images": _WHICH, "run_sync": _BESIDE}, body="json", keys=_BATCH)},
    ),
    Route(
        "/session/",
        {
            "PUT": Call(
                {
                    "uncompress": _text(r"(?i:false|0)", "leave it out: archives are not unpacked"),
                    "expiry": _text(r"[0-9]{1,6}", "give a number of seconds"),
                },
                body="upload",
            )
        },
    ),
    Route(
        "/session/{session}",
        {"GET": Call({"update_ts": _FLAG, "image": _FLAG}), "DELETE": _NOTHING},
    ),
)
"""Everything else is answered with 404, and another method of one of these with 405."""
