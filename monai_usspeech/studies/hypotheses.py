# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Hypotheses of a study: what is expected of two methods, written down before anything runs."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.studies.reported_metrics import REPORTED

__all__ = ["StudyHypothesis", "changed_hypotheses", "read_hypotheses"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_NEEDED = ("statement", "task", "metric", "better", "worse")


@dataclass(frozen=True)
class StudyHypothesis:
    """One method is better than another on one metric of one task.

    Args:
        name: its short name, such as ``"H1"``.
        statement: what is claimed, in words.
        task: the task's key.
        metric: the metric's key in ``results.json``. Where smaller is better, better means smaller.
        better: the method that is claimed to be better.
        worse: the method it is compared with.
        margin: by how much it has to be better at least, in the metric's own unit (0.03 of an F1 are three percentage
            points); not negative.
    """

    name: str
    statement: str
    task: str
    metric: str
    better: str
    worse: str
    margin: float = 0.0


def read_hypotheses(entries: Any, methods: Mapping[str, Any], tasks: Mapping[str, Any]) -> dict[str, StudyHypothesis]:
    """Check the hypotheses of a study's configuration.

    Args:
        entries: name to the values of :class:`StudyHypothesis`; None for none.
        methods: every method that the study defines, whether or not it takes part in this call.
        tasks: the same of tasks, with their ``methods`` (the only ones they are for, None for all).

    Returns:
        The hypotheses in the order in which they are written.

    Raises:
        InputError: for an unknown or a missing key, a name that nothing defines, a method that the task is not for, and
            a value of the wrong kind.
    """
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        raise InputError(f"hypotheses: is {entries!r}; give names with their values.")
    read = {}
    for name, entry in entries.items():
        where = f"hypotheses: {name}"
        if not _NAME.fullmatch(str(name)):
            raise InputError(f"{where}: give it a short name without spaces, such as H1.")
        read[str(name)] = _read(where, str(name), entry, methods, tasks)
    return read


def _read(where: str, name: str, entry: Any, methods: Mapping[str, Any], tasks: Mapping[str, Any]) -> StudyHypothesis:
    known = [item.name for item in dataclasses.fields(StudyHypothesis) if item.name != "name"]
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: is {entry!r}; give {', '.join(known)}.")
    for key in entry:
        _check_known(where, key, known, "no key")
    for key in _NEEDED:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise InputError(f"{where}: {key}: is {entry.get(key)!r}; give a word.")
    hypothesis = StudyHypothesis(name, **{**entry, "margin": _margin(where, entry.get("margin", 0.0))})
    _check_known(f"{where}: task", hypothesis.task, tasks)
    allowed = tasks[hypothesis.task].methods
    for key in ("better", "worse"):
        method = getattr(hypothesis, key)
        _check_known(f"{where}: {key}", method, methods)
        if allowed is not None and method not in allowed:
            raise InputError(f"{where}: {key}: the task {hypothesis.task} is not for {method}.")
    if hypothesis.better == hypothesis.worse:
        raise InputError(f"{where}: better and worse are both {hypothesis.better}; name two methods.")
    kind = next((kind for kind in REPORTED if hypothesis.task.startswith(kind)), None)
    if kind is not None:  # of another task only its runs will tell what they measure
        _check_known(f"{where}: metric", hypothesis.metric, [metric.key for metric in REPORTED[kind]])
    return hypothesis


def _check_known(where: str, name: Any, known: Any, what: str = "nothing defines") -> None:
    if name not in known:
        raise InputError(f'{where}: {what} "{name}".{nearest_name(str(name), map(str, known))}')


def _margin(where: str, value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise InputError(f"{where}: margin: is {value!r}; give a number from 0 on.")
    return float(value)


def changed_hypotheses(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """How hypotheses differ from those that were written down, in words; empty when they are the same.

    Args:
        old: name to the values of :class:`StudyHypothesis`, as in ``study.json``.
        new: the same, now.
    """
    changes = [f"{name} was taken out" for name in old if name not in new]
    changes += [f"{name} is new" for name in new if name not in old]
    for name in (name for name in old if name in new and old[name] != new[name]):
        keys = [key for key in {**old[name], **new[name]} if old[name].get(key) != new[name].get(key)]
        changes.append(f"{name} has another {' and '.join(keys)}")
    return changes
