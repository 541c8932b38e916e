# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights to start from: ImageNet checkpoints and our own pretraining checkpoints, without a silently lost tensor.

Loaders that keep whatever matches by name and shape leave a one-channel stem random when the file has three channels,
and nobody notices. Here every tensor of the network must be found in the file with its shape, every tensor of the file
must be used or be a known left-over (a classifier, another stream), and the report says which was which.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

__all__ = ["InitialisationReport", "load_initialisation", "read_checkpoint"]

_logger = logging.getLogger(__name__)

_SOURCES = ("auto", "imagenet", "own")
_WEIGHT_KEYS = ("network", "model", "state_dict")
_WRAPPERS = ("module.", "_orig_mod.")
_CLASSIFIERS = ("fc.", "last_linear.", "classifier.", "head.")
_STEM = "conv1.weight"
# The Cadene layout (pretrainedmodels, MONAI's SENet) differs from timm's in these parts of the names.
_CADENE = (("layer0.", ""), ("se_module.", "se."), ("last_linear.", "fc."))


@dataclass(frozen=True)
class InitialisationReport:
    """What :func:`load_initialisation` did; names are those of the module that was loaded.

    Attributes:
        loaded: tensors taken from the file.
        missing: tensors that kept their values; only batch-norm step counters, which old files lack.
        unexpected: tensors of the file left aside: its classifier, and other parts of an own checkpoint.
        adapted: what was changed on the way in, in words.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...]

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} tensors loaded, {len(self.missing)} kept, {len(self.unexpected)} left aside"
        return "; ".join([counts, *self.adapted])


def read_checkpoint(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the named weights of a checkpoint file, without running code from it.

    Accepted are ``.safetensors`` files, plain state dictionaries, and dictionaries that hold one under ``"network"``,
    ``"model"`` or ``"state_dict"``. ``module.`` and ``_orig_mod.`` in front of the names are removed.

    Raises:
        ValueError: when the file is missing, truncated, or holds no named tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{file}: no such checkpoint file.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle, zip and safetensors each raise their own kinds for a damaged file
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise ValueError(f"{file}: not a checkpoint of plain tensors, or a damaged one ({reason}).") from error
    for key in _WEIGHT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise ValueError(f"{file}: holds a {type(content).__name__}, expected named tensors.")
    weights = {_unwrapped(str(name)): value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f"{file}: holds no named tensors; its keys are {', '.join(map(str, list(content)[:6]))}.")
    return weights


def load_initialisation(
    module: nn.Module, path: str | os.PathLike, source: str = "auto", stream: str = "video", prefix: str | None = None
) -> InitialisationReport:
    """Load weights into a backbone, or into the stream(s) of a two-stream network.

    A stem of three channels is summed to one channel when the module takes grey images (the network then answers as it
    would to the grey image replicated three times), and a stem of one channel is spread over three. ImageNet networks
    expect inputs normalised with ImageNet's mean and standard deviation, averaged over the colours for grey images.

    Args:
        module: a backbone (see :mod:`monai_usspeech.networks.backbones`), or a network with ``video_stream`` and
            ``speech_stream``.
        path: a local file; see :func:`read_checkpoint`.
        source: ``"imagenet"``: one backbone in the layout of timm's ``seresnext50_32x4d``, or in Cadene's layout;
            ``"own"``: a checkpoint of a two-stream network; ``"auto"``: ``"own"`` when it holds a ``video_stream``.
        stream: ``"video"``, ``"speech"`` or ``"both"``. Names the stream of an own checkpoint to take, and the
            stream(s) of a two-stream ``module`` to load. ``"both"`` needs such a module.
        prefix: take the tensors under this prefix of the file instead, for networks saved by other code.

    Returns:
        What was loaded, kept, left aside and adapted; also written to the log.

    Raises:
        ValueError: when the file cannot be read, or when any tensor of the network is missing from it, has another
            shape, or any tensor of the file has no place in the network (classifiers excepted). Nothing is loaded then.
    """
    if source not in _SOURCES:
        raise ValueError(f"source must be one of {_SOURCES}, got {source!r}.")
    targets = _targets(module, stream)
    weights = read_checkpoint(path)
    own = source == "own" or (source == "auto" and any(name.startswith("video_stream.") for name in weights))
    plans = []
    for part, name in targets:
        start = prefix if prefix is not None else (f"{name}_stream." if own else "")
        plans.append((part, name, *_match(part, _under(weights, start, path), path), start))
    # Everything is checked before the first tensor is written, so a refused file leaves the network as it was.
    reports = []
    for part, name, state, unexpected, adapted, start in plans:
        missing = [key for key in part.state_dict() if key not in state]
        part.load_state_dict(state, strict=False)
        place = f"{name}_stream." if part is not module else ""
        others = [key for key in weights if start and not key.startswith(start)]
        report = InitialisationReport(
            tuple(place + key for key in state), tuple(place + key for key in missing), (*unexpected, *others), adapted
        )
        reports.append(report)
    return _logged(reports, Path(path))


def _targets(module: nn.Module, stream: str) -> list[tuple[nn.Module, str]]:
    """The modules to load and the stream that each is."""
    if stream not in ("video", "speech", "both"):
        raise ValueError(f'stream must be "video", "speech" or "both", got {stream!r}.')
    names = ("video", "speech") if stream == "both" else (stream,)
    if not hasattr(module, "video_stream"):
        if stream == "both":
            raise ValueError('stream="both" needs a network with a video_stream and a speech_stream.')
        return [(module, stream)]
    parts = [(getattr(module, f"{name}_stream", None), name) for name in names]
    absent = [name for part, name in parts if part is None]
    if absent:
        raise ValueError(f"the network has no {absent[0]}_stream (it was built with pairs=False).")
    return [(part, name) for part, name in parts if part is not None]


def _unwrapped(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def _under(weights: Mapping[str, Tensor], start: str, path: str | os.PathLike) -> dict[str, Tensor]:
    """The tensors whose names begin with ``start``, which is cut off."""
    found = {name[len(start) :]: value for name, value in weights.items() if name.startswith(start)}
    if not found:
        raise ValueError(f'{path}: holds no tensor under "{start}"; it begins with {", ".join(list(weights)[:4])}.')
    return found


def _match(
    module: nn.Module, found: dict[str, Tensor], path: str | os.PathLike
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """The tensors to load, those of the file's classifier, and what was adapted; refuses anything that does not fit."""
    adapted = []
    if any(name.startswith("layer0.") for name in found):
        found = {_timm_name(name): value for name, value in found.items()}
        adapted.append("names from Cadene's layout; its stem pools without padding, ours with, as timm's does")
    wanted = module.state_dict()
    if _STEM in wanted and _STEM in found and wanted[_STEM].ndim == found[_STEM].ndim == 4:
        channels, given = wanted[_STEM].shape[1], found[_STEM].shape[1]
        if {channels, given} == {1, 3}:
            stem = found[_STEM]
            found[_STEM] = adapt_input_conv(1, stem) if channels == 1 else stem.repeat(1, 3, 1, 1) / 3
            adapted.append(f"{_STEM}: {given} channels {'summed' if channels == 1 else 'spread'} to {channels}")
    extra = [name for name in found if name not in wanted]
    strange = [name for name in extra if not name.startswith(_CLASSIFIERS)]
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    shapes = [
        f"{name} {tuple(found[name].shape)} in the file, {tuple(wanted[name].shape)} in the network"
        for name in wanted
        if name in found and wanted[name].shape != found[name].shape
    ]
    problems = [
        f"{len(names)} {what} ({'; '.join(names[:3])}{'; ...' if len(names) > 3 else ''})"
        for names, what in (
            (missing, "tensors missing from the file"),
            (shapes, "tensors of another shape"),
            (strange, "tensors of the file without a place in the network"),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f"{path}: does not fit this {type(module).__name__} of {len(wanted)} tensors: {', '.join(problems)}. "
            "Nothing was loaded; the file must hold the same architecture."
        )
    return {name: found[name] for name in wanted if name in found}, tuple(extra), tuple(adapted)


def _timm_name(name: str) -> str:
    for cadene, timm in _CADENE:
        name = name.replace(cadene, timm)
    return name


def _logged(reports: list[InitialisationReport], file: Path) -> InitialisationReport:
    """Join the reports of the streams and write a line about them."""
    loaded = tuple(name for report in reports for name in report.loaded)
    missing = tuple(name for report in reports for name in report.missing)
    # A tensor left aside for one stream may be the very one that the other stream took.
    unexpected = tuple(sorted(set.intersection(*(set(report.unexpected) for report in reports))))
    adapted = tuple(dict.fromkeys(text for report in reports for text in report.adapted))
    _logger.info(
        "%s: loaded %d tensors, kept %d, left %d of the file aside%s",
        file.name,
        len(loaded),
        len(missing),
        len(unexpected),
        f"; {'; '.join(adapted)}" if adapted else "",
    )
    return InitialisationReport(loaded, missing, unexpected, adapted)
