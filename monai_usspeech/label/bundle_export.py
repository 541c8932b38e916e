# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A trained model as a MONAI bundle of its own, for the stock ``monaibundle`` app and for whoever it is given to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_usspeech.data.files import InputError, read_json, write_json
from monai_usspeech.engines.bundle_root import find_bundle_root
from monai_usspeech.engines.weights import freezes_backbone, provenance_path
from monai_usspeech.label.model_files import ModelSpec, load_model

__all__ = ["export_bundle"]

_PLANES = "standard_plane"
_KEPT_NAMES = ("logging.conf",)


def export_bundle(
    model: str | os.PathLike, output: str | os.PathLike, template: str | os.PathLike | None = None
) -> Path:
    """Write a bundle that holds one model.

    MONAI Label's stock app takes what a bundle does from its folder's name: it must hold "classification" for planes,
    and anything else for gaze. The facts beside the weights are left behind but for the network's settings: they name
    the subjects and files of the training, and a bundle is made to be given away.

    Args:
        model: weights of a downstream run with ``model.json`` beside them, or a bundle.
        output: the new folder.
        template: the bundle whose ``configs`` are taken, ``bundle`` of this repository; None looks for it from the
            working directory.

    Returns:
        The new folder.

    Raises:
        InputError: when the model cannot be used, the folder exists already or has a name that would be misread, or
            there is no template.
    """
    network, spec = load_model(model)
    target, source = Path(output), Path(template or find_bundle_root())
    configs = source / "configs"
    if not (configs / "gaze.json").is_file():
        raise InputError(f"{configs}: has no gaze.json; give the folder `bundle` of the repository as --template.")
    planes = spec.task == _PLANES
    if planes != ("classification" in target.name):
        wanted = 'must hold "classification" in its name' if planes else 'must not hold "classification" in its name'
        raise InputError(f"{target}: a bundle for {spec.task} {wanted}, for MONAI Label goes by that.")
    if target.exists():
        raise InputError(f"{target}: exists already; give another folder, or remove it.")
    parser = ConfigParser()
    parser.read_config([str(configs / "inference.json"), *([] if planes else [str(configs / "gaze.json")])])
    _fill(parser, spec)
    staged = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        (staged / "configs").mkdir(parents=True)
        (staged / "models").mkdir()
        write_json(staged / "configs" / "inference.json", parser.config)
        write_json(staged / "configs" / "metadata.json", _metadata(read_json(configs / "metadata.json"), spec))
        for name in _KEPT_NAMES:
            shutil.copy(configs / name, staged / "configs" / name)
        shutil.copy(source / "LICENSE", staged / "LICENSE")
        shutil.copy(spec.weights, staged / "models" / "model.pt")
        write_json(provenance_path(staged / "models" / "model.pt"), {"settings": spec.settings()})
        os.rename(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def _fill(parser: ConfigParser, spec: ModelSpec) -> None:
    """The model's own values in the configuration."""
    values: dict[str, Any] = {
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "size": spec.size,
        "frame_mean": spec.frame_mean,
        "frame_std": spec.frame_std,
        "network_def#backbone": spec.backbone,
        "network_def#output_stride": spec.output_stride,
        "network_def#freeze": freezes_backbone(spec.mode, last_layers=spec.task == _PLANES),
    }
    if spec.backbone_options:
        values["network_def#backbone_options"] = dict(spec.backbone_options)
    if spec.map_size:
        values["map_size"] = list(spec.map_size)
    if spec.mode == "last_layers":
        values["network_def#train_last_block"] = True
    for name, value in values.items():
        parser.set(value, name, recursive=True)


def _metadata(metadata: dict[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """The template's facts with those of the model; what the template says of its own weights is taken out."""
    facts = {**metadata, "data_source": "Weights: of whoever exported this bundle"}
    facts.pop("changelog", None)
    facts["changelog"] = {facts["version"]: "exported"}
    data = facts["network_data_format"]
    data["inputs"]["image"]["spatial_shape"] = [spec.size, spec.size]
    facts["description"] = "Which standard plane each frame of an ultrasound clip shows."
    if spec.task != _PLANES:
        height, width = spec.map_size or (64, 64)
        data["outputs"]["pred"].update(
            type="image", format="heatmap", num_channels=1, spatial_shape=[height, width], channel_def={"0": "gaze"}
        )
        facts["name"] = facts["task"] = "Gaze saliency of ultrasound frames"
        facts["image_classes"] = "a density over the frame's pixels"
        facts["description"] = "Where a sonographer would look at each frame of an ultrasound clip."
    return facts
