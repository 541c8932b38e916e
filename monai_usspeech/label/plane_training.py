# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Train the plane classifier on the labels that are there, and put it in the place of the old one.

::

    labels -> frames -> train | validation subjects -> train_planes.json -> model/standard_plane.pt + .json

Everything that can be wrong with labels and request is found before the training begins. New weights take their place
at the very end; a training that fails or is stopped leaves the model that was there.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError, read_json
from monai_usspeech.engines.weights import load_trained, provenance_path
from monai_usspeech.label import training_handlers  # noqa: F401  # the configuration finds them among loaded modules
from monai_usspeech.label.labelled_frames import (
    LabelledFrames,
    read_labelled_clips,
    read_labelled_frames,
    validation_subjects,
)
from monai_usspeech.label.model_files import publish
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.label.training_facts import training_facts
from monai_usspeech.label.training_request import TrainingRequest
from monai_usspeech.label.training_start import TrainingStart, choose_start, load_start
from monai_usspeech.studies.lock import folder_lock

__all__ = ["CONFIGURATION", "train_planes"]

CONFIGURATION = Path(__file__).with_name("train_planes.json")
"""How the classifier is trained, as a MONAI configuration."""

_NOISY = ("monai.engines", "monai_usspeech.engines.trainer", "ignite.engine")


def train_planes(
    folder: ServerFolder, datalist: Iterable[Mapping[str, str]], request: TrainingRequest
) -> dict[str, Any]:
    """Train, publish the weights as ``model/standard_plane.pt``, and say what was done.

    The weights of the best epoch on the validation subjects are kept; without such subjects those of the last epoch.
    What the run wrote (``history.jsonl``, ``curves.png``) stays in ``logs/training`` until the next one.

    Args:
        folder: of the server: where models lie and how clips are read.
        datalist: image and label files of the clips with a final label.
        request: what is wanted.

    Returns:
        The facts that lie beside the weights; ``"training"`` holds the counts and scores.

    Raises:
        InputError: when there are too few labels, nothing to start from, or another training is at work.
    """
    began = time.monotonic()
    start = choose_start(folder, request)
    clips, problems = read_labelled_clips(datalist)
    if not clips:
        first = next(iter(problems.values()), "")
        raise InputError(f"there is no label to train on: submit labels (tag final) first. {first}".strip())
    _check_classes({plane for clip in clips for plane in clip.label.planes})
    print(f"reading {len(clips)} labelled clips", flush=True)
    reader = FanVideoReader(start.spec.size, **folder.reader)
    frames, unread = read_labelled_frames(clips, reader)
    problems.update(unread)
    for clip, why in problems.items():
        print(f"left out {clip}: {why}", flush=True)
    _check_classes(set(frames.class_counts()))
    train, validation = _divide(frames, start, request.seed)
    where = folder.logs / "training"
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder_lock(folder.logs / "training.lock", wait=0):
        _empty(where)
        network, scores = _run(start, request, train, validation, where)
        facts = training_facts(start, request, train, validation, scores)
        facts["training"].update(left_out=problems, seconds=round(time.monotonic() - began, 1))
        publish(folder.trained("standard_plane"), network, facts)
    print(f"done: {facts['training']['note']}", flush=True)
    return facts


# Who is trained on


def _check_classes(classes: set[str]) -> None:
    if len(classes) < 2:
        raise InputError(
            f"the labels name {' and '.join(classes) or 'no plane'} alone, and two classes or more are needed: label"
            " clips or frames of another plane, or of background."
        )


def _divide(frames: LabelledFrames, start: TrainingStart, seed: int) -> tuple[LabelledFrames, LabelledFrames | None]:
    """Frames to train on and frames to judge by, of different subjects; None when nobody can judge."""
    chosen = validation_subjects(frames.subjects, seed, start.trained, start.validated)
    train = frames.of_subjects(set(frames.subjects) - set(chosen))
    if not chosen or len(train.class_counts()) < 2:
        return frames, None
    return train, frames.of_subjects(chosen)


# The run


def _run(
    start: TrainingStart,
    request: TrainingRequest,
    train: LabelledFrames,
    validation: LabelledFrames | None,
    folder: Path,
) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network, and its scores."""
    spec = start.spec
    parser = ConfigParser(excludes="monailabel")  # whose classes would be candidates for short names too
    parser.read_config(str(CONFIGURATION))
    parser.update(
        {
            **request.values(),
            "train_frames": train,
            "validation_frames": validation,
            "output_dir": folder,  # a Path: in a text, characters such as # would mean something
            "size": spec.size,
            "frame_mean": spec.frame_mean,
            "frame_std": spec.frame_std,
            "network_def#backbone": spec.backbone,
            "network_def#output_stride": spec.output_stride,
            "network_def#backbone_options": dict(spec.backbone_options),
        }
    )
    scores: dict[str, Any] = {}
    with _quiet(), _unwrapped_errors():
        try:
            parser.get_parsed_content("initialize")
            load_start(parser.get_parsed_content("network_def"), start)
            if start.whole and validation is not None:
                scores["f1_before"] = _f1(parser)
                print(f"before training validation F1 {scores['f1_before']:.2f}", flush=True)
            parser.get_parsed_content("run")
        finally:
            parser.get_parsed_content("finalize")
    network: nn.Module = parser.get_parsed_content("network")
    scores["epoch"] = request.max_epochs
    if validation is not None:
        load_trained(network, folder / "model.pt")
        best = read_json(provenance_path(folder / "model.pt"))
        scores.update(epoch=best["epoch"], f1=best["score"])
    return network, scores


def _f1(parser: ConfigParser) -> float:
    parser.get_parsed_content("network")  # on the device
    evaluator = parser.get_parsed_content("validate#evaluator")
    evaluator.run()
    return float(evaluator.state.metrics["f1"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the engines' own lines, which would push those of the epochs out of sight."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _unwrapped_errors() -> Iterator[None]:
    """MONAI wraps what a component raises; let an error of the user's input out as itself."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, InputError):
                raise cause from None
            cause = cause.__cause__
        raise


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
