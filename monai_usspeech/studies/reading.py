# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Read a study's configuration: what means nothing, or is of the wrong kind, is refused with the nearest name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.studies.hypotheses import read_hypotheses
from monai_usspeech.studies.settings import PRETRAIN_STAGE, StudyMethod, StudySettings, StudyTask

__all__ = ["read_study"]

_SET_BY_THE_STUDY = (
    "config_file dataset_dir output_dir method initialisation exclude_subjects fold n_folds split_seed seed".split()
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
Entry = TypeVar("Entry", StudyMethod, StudyTask)


def read_study(values: Mapping[str, Any], folders: Sequence[str | Path] = ()) -> StudySettings:
    """Check the values of a study's configuration.

    Args:
        values: those of :class:`StudySettings`, with ``all_methods`` and ``all_tasks`` (the definitions by name) and
            with ``methods`` and ``tasks`` as lists of names, None for all.
        folders: where files are looked for after the current directory.

    Raises:
        InputError: for a key that a study, a method or a task does not have, a name that nothing defines, and a value
            of the wrong kind.
    """
    known = {item.name for item in fields(StudySettings)} - {"folders"} | {"all_methods", "all_tasks"}
    _refuse_unknown("study", values, known)
    methods = _with_pretraining_of_others(_entries(StudyMethod, "all_methods", values))
    tasks = _entries(StudyTask, "all_tasks", values)
    for method in methods.values():
        _refuse_unknown(f"all_methods: {method.name}: task_options", method.task_options, tasks)
    for task in tasks.values():
        for name in task.methods or ():
            _known_name(f"all_tasks: {task.name}: methods", name, methods)
    usual = [name for name, method in methods.items() if not method.optional]
    chosen: dict[str, Any] = {
        "methods": {name: methods[name] for name in _chosen("methods", values.get("methods"), methods, usual)},
        "tasks": {name: tasks[name] for name in _chosen("tasks", values.get("tasks"), tasks, list(tasks))},
    }
    if values.get("reference") is not None:
        _known_name("reference", values["reference"], methods)
    chosen["hypotheses"] = read_hypotheses(values.get("hypotheses"), methods, tasks)
    given = {name: value for name, value in values.items() if name not in ("all_methods", "all_tasks")}
    for name in ("pretrain", "pretrain_preset", "downstream_preset"):
        given[name] = _words(name, given.get(name) or ())
    for name in ("pretrain_options", "downstream_options"):
        given[name] = _options(name, given.get(name) or {})
    for name, least in (("n_folds", 2), ("split_seed", 0), ("workers", 1)):
        given[name] = _whole(name, given.get(name, getattr(StudySettings, name)), least)
    return _finish(given | chosen, folders)


def _finish(given: dict[str, Any], folders: Sequence[str | Path]) -> StudySettings:
    for name in ("name", "dataset_dir", "output_dir"):
        if not isinstance(given.get(name), (str, Path)) or not str(given[name]):
            raise InputError(f"{name}: is {given.get(name)!r}; give a word.")
        given[name] = str(given[name])
    given["pretrain_dir"] = _data("pretrain_dir", given.get("pretrain_dir"))
    n_folds = given["n_folds"]
    given["folds"] = _numbers("folds", given.get("folds", range(n_folds)))
    given["seeds"] = _numbers("seeds", given.get("seeds", StudySettings.seeds))
    if max(given["folds"]) >= n_folds:
        raise InputError(f"folds: {max(given['folds'])} is not below n_folds ({n_folds}); folds count from 0.")
    given["cells"] = _part(given.get("cells") or "1/1")
    if given.get("devices") is not None:
        given["devices"] = tuple(given["devices"])
    return StudySettings(**given, folders=tuple(Path(folder) for folder in folders))


def _refuse_unknown(where: str, entry: Any, known: Any) -> None:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: is {entry!r}; give names with their values.")
    for key in entry:
        _known_name(where, key, known, "no key")


def _known_name(where: str, name: Any, known: Any, what: str = "nothing defines") -> None:
    if name not in known:
        raise InputError(f'{where}: {what} "{name}".{nearest_name(str(name), map(str, known))}')


def _entries(kind: type[Entry], group: str, values: Mapping[str, Any]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    definitions = values.get(group)
    if not isinstance(definitions, Mapping) or not definitions:
        raise InputError(f"{group}: is {definitions!r}; define at least one, by name.")
    for name, entry in definitions.items():
        where = f"{group}: {name}"
        if not _NAME.fullmatch(str(name)) or name == PRETRAIN_STAGE:
            raise InputError(f"{where}: cannot name a folder here; use letters, digits, '_' and '-', not \"pretrain\".")
        known = {item.name for item in fields(kind)} - {"name"}
        _refuse_unknown(where, entry, known)
        given = dict(entry)
        for key in ("pretrain", "configs", "methods", "downstream"):
            if given.get(key) is not None:
                given[key] = _words(f"{where}: {key}", given[key])
        for key in ("options", "pretrain_values"):
            if key in known:
                given[key] = _options(f"{where}: {key}", given.get(key) or {})
        if "pretrain_dir" in known:
            given["pretrain_dir"] = _data(f"{where}: pretrain_dir", given.get("pretrain_dir"))
        if given.get("position") is not None:
            given["position"] = _number(f"{where}: position", given["position"])
        if given.get("task_options"):
            given["task_options"] = {
                task: _options(f"{where}: task_options: {task}", of) for task, of in given["task_options"].items()
            }
        if kind is StudyTask and not given.get("configs"):
            raise InputError(f"{where}: has no configs; name the configuration files of its cells.")
        entries[str(name)] = kind(**{"title": str(name), **given, "name": str(name)})
    return entries


def _with_pretraining_of_others(methods: dict[str, StudyMethod]) -> dict[str, StudyMethod]:
    """The methods, each that uses the pretraining of another one with that one's files and values."""
    resolved = {}
    for name, method in methods.items():
        where = f"all_methods: {name}: pretrain_of"
        if method.pretrain_of is not None:
            _known_name(where, method.pretrain_of, methods)
            owner = methods[method.pretrain_of]
            own = (method.pretrain, method.pretrain_dir, method.pretrain_values or None, method.initialisation)
            if any(value is not None for value in own):
                raise InputError(f"{where}: what it starts from is {owner.name}'s; take pretrain, pretrain_dir,"
                                 " pretrain_values and initialisation out.")  # fmt: skip
            if owner.pretrain is None or owner.pretrain_of is not None:
                raise InputError(f"{where}: {owner.name} has no pretraining of its own; name a method that has.")
            method = replace(method, pretrain=owner.pretrain, pretrain_dir=owner.pretrain_dir,
                             pretrain_values=owner.pretrain_values, initialisation=owner.initialisation)  # fmt: skip
        if method.weights is not None:
            _check_weights(f"all_methods: {name}: weights", method)
        for key in ("pretrain_dir", "pretrain_values"):
            if getattr(method, key) and method.pretrain is None:
                raise InputError(f"all_methods: {name}: {key}: the method has no pretraining; give pretrain too, []"
                                 " for the study's own configuration.")  # fmt: skip
        resolved[name] = method
    return resolved


def _check_weights(where: str, method: StudyMethod) -> None:
    """Refuse a start that is no file in the folder of a pretraining."""
    name = method.weights
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"{where}: is {name!r}; give the name of a file in the pretraining's folder, such as"
                         " model_step400.pt.")  # fmt: skip
    if method.pretrain is None:
        raise InputError(f"{where}: the method has no pretraining; give pretrain_of too, and for a file of one's own"
                         " initialisation instead of weights.")  # fmt: skip


def _chosen(field_name: str, names: Any, known: Mapping[str, Any], usual: list[str]) -> list[str]:
    if names is None:
        return usual
    for name in _words(field_name, names):
        _known_name(field_name, name, known)
    if not names:
        raise InputError(f"{field_name}: is empty; name at least one of {', '.join(known)}.")
    return [name for name in known if name in names]


def _data(where: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value):
        raise InputError(f"{where}: is {value!r}; give a scan store or a datalist, or null.")
    return str(value)


def _words(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(word, str) for word in value):
        raise InputError(f"{where}: is {value!r}; give a list of words, such as ['a'].")
    return tuple(value)


def _whole(where: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{where}: is {value!r}; give a whole number from {least} on.")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{where}: is {value!r}; give a number.")
    return value


def _numbers(where: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, int) or isinstance(value, str) or not isinstance(value, Sequence) or not len(value):
        raise InputError(f"{where}: is {value!r}; give a list of whole numbers, such as [0, 1].")
    numbers = tuple(_whole(where, number, 0) for number in value)
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{where}: {list(numbers)} names one twice.")
    return numbers


def _options(where: str, options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping):
        raise InputError(f"{where}: is {options!r}; give names with their values.")
    for name, value in options.items():
        if name in _SET_BY_THE_STUDY:
            raise InputError(f'{where}: "{name}" is set by the study itself; take it out.')
        if not _is_plain(value):
            raise InputError(f"{where}: {name}: give a number, a word or a list; components belong in a file.")
    return dict(options)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _part(text: Any) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", str(text))
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f'cells: is "{text}"; give i/n with i from 1 to n, such as 2/4 for the second of four parts.')
    return int(match[1]), int(match[2])
