# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What stands beside weights about the network in them, and the check that the server can use it.

Only plain values are taken; nothing of a configuration is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from monai.bundle import ConfigParser

from monai_usspeech.data.files import InputError, nearest_name, read_json
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.engines.weights import MODES, provenance_path
from monai_usspeech.networks import BACKBONES

__all__ = [
    "MODEL_TASKS",
    "bundle_values",
    "configuration_values",
    "model_fields",
    "pretrained_fields",
    "run_values",
]

MODEL_TASKS = {"standard_plane": "FrameClassifier", "gaze_saliency": "SaliencyNet"}
"""What the server has models for, and the network of each."""

_BUNDLE_FILES = ("inference.json", "inference.yaml", "inference.yml")
_REFERENCES = 8  # a configuration's value may be a reference to a reference


def facts_file(weights: Path) -> Path | None:
    """The JSON beside weights, or beside the file that they are a link to; None where there is none."""
    places = (provenance_path(weights), provenance_path(weights.resolve()))
    return next((place for place in places if place.is_file()), None)


def run_values(weights: Path) -> dict[str, Any] | None:
    """``settings`` of ``model.json``, and the method; None when there are none."""
    place = facts_file(weights)
    facts = None if place is None else read_json(place)
    if not isinstance(facts, dict) or not isinstance(facts.get("settings"), dict):
        return None
    return {"method": facts.get("method"), **facts["settings"]}


def configuration_values(weights: Path) -> dict[str, Any] | None:
    """The same from ``config.json``, which a run writes beside its weights; None when it is not there."""
    places = (one.with_name("config.json") for one in (weights, weights.resolve()))
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        return None
    config = read_json(place)
    if not isinstance(config, dict):
        raise InputError(f"{place}: is not the configuration of a run; copy config.json of the run there.")
    values = {
        name: _plain(config, name) for name in ("method", "size", "frame_mean", "frame_std", "statistics", "channels")
    }
    values["hop_length"] = _plain(config, "spectrogram#hop_length")
    return {**values, **_network_values(config)}


def bundle_values(weights: Path) -> dict[str, Any] | None:
    """What ``configs/inference`` of the bundle that holds ``models/model.pt`` says; None for no such place."""
    folder = weights.parent.parent / "configs"
    place = next((folder / name for name in _BUNDLE_FILES if (folder / name).is_file()), None)
    if weights.parent.name != "models" or place is None:
        return None
    try:
        config = ConfigParser.load_config_file(str(place))
    except Exception as error:  # JSON and YAML each raise their own kinds
        raise InputError(f"{place}: cannot be read ({str(error)[:120]}).") from error
    values = {name: _plain(config, name) for name in ("size", "frame_mean", "frame_std", "standardise", "frame_scale")}
    network = _network_values(config)
    target = str(network.get("network") or "").rpartition(".")[2]
    task = next((task for task, name in MODEL_TASKS.items() if name == target), None)
    if task is None:
        raise InputError(
            f'{place}: "network_def" is {target or "not there"}; the server has {" and ".join(MODEL_TASKS.values())}.'
        )
    return {**values, **network, "task": task}


def _network_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of its network."""
    names = {"network": "_target_", "channels": "in_channels"}
    names.update({name: name for name in ("backbone", "output_stride", "backbone_options", "map_size", "num_classes")})
    found = {name: _plain(config, f"network_def#{key}") for name, key in names.items()}
    frozen, last = (_plain(config, f"network_def#{key}") for key in ("freeze", "train_last_block"))
    found["mode"] = "probe" if frozen is True and last is not True else None
    return {name: value for name, value in found.items() if value is not None}


def _plain(config: Mapping[str, Any], name: str) -> Any:
    """A value of a configuration that is written there, or there where it refers to; None for what is computed."""
    value: Any = None
    for _ in range(_REFERENCES):
        value = config
        for key in name.replace("::", "#").split("#"):
            value = value.get(key) if isinstance(value, Mapping) else None
        if not (isinstance(value, str) and value.startswith("@")):
            break
        name = value[1:]
    return None if isinstance(value, str) and value.startswith(("$", "@", "%")) else value


def model_fields(weights: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a :class:`~monai_usspeech.label.model_files.ModelSpec`, but for the file.

    Args:
        weights: the file, for errors.
        values: what is said about it.

    Raises:
        InputError: when the server cannot use such a network, naming the value.
    """
    return _Values(weights, values).model()


def pretrained_fields(weights: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a :class:`~monai_usspeech.label.model_files.PretrainedSpec`; see :func:`model_fields`."""
    return _Values(weights, values).pretrained()


class _Values:
    """Checks and names the values that describe a network."""

    def __init__(self, weights: Path, values: Mapping[str, Any]) -> None:
        self.weights = weights
        self.values = {name: value for name, value in values.items() if value is not None}

    def model(self) -> dict[str, Any]:
        """The fields of a :class:`ModelSpec`."""
        found = self._common()
        task = self.values.get("task", "gaze_saliency" if "map_size" in self.values else "standard_plane")
        if task not in MODEL_TASKS:
            self._refuse("task", f"is {task!r}; the server has models for {' and '.join(MODEL_TASKS)}")
        if self.values.get("standardise", "fixed") != "fixed":
            self._refuse("standardise", 'is not "fixed", and the server knows no other; train with the default')
        found["frame_std"] /= self._number("frame_scale", 1.0)  # the same pictures
        mode = self.values.get("mode", "finetune")
        if mode not in MODES:
            self._refuse("mode", f"is {mode!r}; give one of {', '.join(MODES)}")
        sides = self.values.get("map_size")
        if task == "gaze_saliency":
            if not (isinstance(sides, list) and len(sides) == 2 and all(_is_count(side) for side in sides)):
                self._refuse("map_size", f"is {sides!r}; give the rows and columns of the maps")
            return {**found, "task": task, "mode": mode, "map_size": (sides[0], sides[1])}
        self._check_planes()
        return {**found, "task": task, "mode": mode, "classes": PLANES}

    def pretrained(self) -> dict[str, Any]:
        """The fields of a :class:`PretrainedSpec`."""
        method, hop = self.values.get("method"), self.values.get("hop_length")
        statistics = self.values.get("statistics", "scan")
        if statistics not in ("scan", "band"):
            self._refuse("statistics", f'is {statistics!r}; give "scan" or "band"')
        if hop is not None and not _is_count(hop):
            self._refuse("hop_length", f"is {hop!r}; give samples")
        known = {"method": None if method is None else str(method), "statistics": statistics, "hop_length": hop}
        return {**self._common(), **known}

    def _common(self) -> dict[str, Any]:
        backbone, channels = self.values.get("backbone"), self.values.get("channels", 1)
        if backbone not in BACKBONES:
            self._refuse("backbone", f"is {backbone!r}, which is none of ours.{nearest_name(str(backbone), BACKBONES)}")
        if channels != 1:
            self._refuse("in_channels", f"is {channels!r}, and the server reads grey pictures; train with 1")
        size, options = self.values.get("size"), self.values.get("backbone_options", {})
        if isinstance(size, list) and len(set(size)) == 1:
            size = size[0]
        if not _is_count(size):
            self._refuse("size", f"is {size!r}; the server reads square pictures, of a size that is one number")
        stride = self.values.get("output_stride", 32 if backbone == "resnet18" else 16)  # the published networks'
        if not _is_count(stride):
            self._refuse("output_stride", f"is {stride!r}; give 8, 16 or 32")
        if not isinstance(options, Mapping) or not all(map(_is_numeric, options.values())):
            self._refuse("backbone_options", f"is {options!r}; give numbers by name")
        return {
            "backbone": backbone,
            "output_stride": stride,
            "size": size,
            "frame_mean": self._number("frame_mean", 0.5, positive=False),
            "frame_std": self._number("frame_std", 0.25),
            "backbone_options": dict(options),
        }

    def _check_planes(self) -> None:
        classes, count = self.values.get("classes", list(PLANES)), self.values.get("num_classes", len(PLANES))
        if list(classes) != list(PLANES) or count != len(PLANES):
            self._refuse("classes", f"are not the {len(PLANES)} standard planes, which the server's labels have")
        network = str(self.values.get("network", "FrameClassifier")).rpartition(".")[2]
        if network != "FrameClassifier":
            self._refuse("network", f"is {network}, and the server has FrameClassifier alone for planes")

    def _number(self, name: str, default: float, positive: bool = True) -> float:
        value = self.values.get(name, default)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (positive and value <= 0):
            self._refuse(name, f"is {value!r}; give a {'positive ' if positive else ''}number")
        return float(value)

    def _refuse(self, name: str, problem: str) -> NoReturn:
        raise InputError(f'{self.weights}: what describes it says that "{name}" {problem}.')


def _is_numeric(value: Any) -> bool:
    """A number, or a list of them: a text could mean something to a configuration."""
    return isinstance(value, (int, float)) or (isinstance(value, list) and all(map(_is_numeric, value)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
