# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights to start from: ImageNet, SonoNet and our own pretraining checkpoints, without a silently lost tensor.

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

from timm.models import adapt_input_conv
from torch import Tensor, nn

from monai_usspeech.networks.checkpoints import read_checkpoint
from monai_usspeech.networks.sononet import SonoNetFeatures
from monai_usspeech.networks.sononet_weights import sononet_width

__all__ = ["InitialisationReport", "load_initialisation"]

_logger = logging.getLogger(__name__)

_SOURCES = ("auto", "imagenet", "own", "sononet")
_CLASSIFIERS = ("fc.", "last_linear.", "classifier.", "head.", "adaption.")
_STEMS = ("conv1.weight", "features.0.0.0.weight")
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
        untouched: tensors of the network outside the loaded stream(s): its heads, and the other stream.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...]
    untouched: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} tensors loaded, {len(self.missing)} kept, {len(self.unexpected)} left aside"
        untouched = [f"{len(self.untouched)} of the network outside its loaded stream"] if self.untouched else []
        return "; ".join([counts, *untouched, *self.adapted])


def load_initialisation(
    module: nn.Module,
    path: str | os.PathLike | Mapping[str, Tensor],
    source: str = "auto",
    stream: str = "video",
    prefix: str | None = None,
) -> InitialisationReport:
    """Load weights into a backbone, or into the stream(s) of a larger network; its heads stay as they are.

    A stem of three channels is summed to one channel when the module takes grey images (the network then answers as it
    would to the grey image replicated three times), and a stem of one channel is spread over three. ImageNet networks
    expect inputs normalised with ImageNet's mean and standard deviation, averaged over the colours for grey images;
    SonoNet expects each image standardised on its own and multiplied by 255.

    Args:
        module: a backbone (see :mod:`monai_usspeech.networks.backbones`), a network with a ``video_stream`` and perhaps
            a ``speech_stream`` (:class:`~monai_usspeech.networks.VideoSpeechNet`,
            :class:`~monai_usspeech.networks.FrameClassifier`, :class:`~monai_usspeech.networks.SaliencyNet`,
            :class:`~monai_usspeech.networks.HiCoNet`), or a :class:`~monai_usspeech.networks.SonoNet`, which takes its
            classifier from the file too.
        path: a local file (see :func:`~monai_usspeech.networks.read_checkpoint`), or named tensors.
        source: ``"imagenet"``: one backbone in the layout of timm's ``seresnext50_32x4d``, or in Cadene's layout, or in
            timm's or torchvision's layout of ``resnet18``;
            ``"sononet"``: the public weights of SonoNet; ``"own"``: a checkpoint of a network with a
            ``video_stream``; ``"auto"``: whichever the names in the file show.
        stream: ``"video"``, ``"speech"`` or ``"both"``. Names the stream of an own checkpoint to take, and the
            stream(s) of a two-stream ``module`` to load. ``"both"`` needs such a module.
        prefix: take the tensors under this prefix of the file instead, for networks saved by other code, such as
            ``"features.R18."`` for HiCo's released code.

    Returns:
        What was loaded, kept, left aside, adapted and untouched; also written to the log.

    Raises:
        ValueError: when the file cannot be read, or when any tensor of the network is missing from it, has another
            shape, or any tensor of the file has no place in the network (classifiers excepted). Nothing is loaded then.
    """
    if source not in _SOURCES:
        raise ValueError(f"source must be one of {_SOURCES}, got {source!r}.")
    targets = _targets(module, stream)
    if isinstance(path, Mapping):
        weights, origin = dict(path), "the given tensors"
    else:
        weights, origin = read_checkpoint(path), str(path)
    own = source == "own" or (source == "auto" and any(name.startswith("video_stream.") for name in weights))
    plans = []
    for part, name in targets:
        start = prefix if prefix is not None else (f"{name}_stream." if own else "")
        found = _under(weights, start, origin)
        _check_sononet(part, found, source, origin)
        plans.append((part, name, *_match(part, found, origin), start))
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
    loaded = {name for report in reports for name in (*report.loaded, *report.missing)}
    untouched = tuple(name for name in module.state_dict() if name not in loaded)
    return _logged(reports, untouched, origin)


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
        raise ValueError(f"the network has no {absent[0]}_stream (VideoSpeechNet with pairs=False has none either).")
    return [(part, name) for part, name in parts if part is not None]


def _under(weights: Mapping[str, Tensor], start: str, origin: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``start``, which is cut off."""
    found = {name[len(start) :]: value for name, value in weights.items() if name.startswith(start)}
    if not found:
        raise ValueError(f'{origin}: holds no tensor under "{start}"; it begins with {", ".join(list(weights)[:4])}.')
    return found


def _check_sononet(module: nn.Module, found: Mapping[str, Tensor], source: str, origin: str) -> None:
    """Refuse SonoNet weights for another network, or of another width, with the name of the right backbone."""
    width = sononet_width(found)
    if source == "sononet" and width is None:
        raise ValueError(f"{origin}: holds no SonoNet weights; it begins with {', '.join(list(found)[:4])}.")
    if width is None:
        return
    if source == "imagenet":
        raise ValueError(f'{origin}: holds SonoNet weights, but source is "imagenet".')
    if not isinstance(module, SonoNetFeatures) or module.width != width:
        kind = f"SonoNet-{module.width}" if isinstance(module, SonoNetFeatures) else type(module).__name__
        raise ValueError(
            f"{origin}: holds SonoNet-{width} weights, but the network is a {kind};"
            f' build it with backbone="sononet{width}".'
        )


def _match(
    module: nn.Module, found: dict[str, Tensor], origin: str
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """The tensors to load, those of the file's classifier, and what was adapted; refuses anything that does not fit."""
    adapted = []
    if any(name.startswith("layer0.") for name in found):
        found = {_timm_name(name): value for name, value in found.items()}
        adapted.append("names from Cadene's layout; its stem pools without padding, ours with, as timm's does")
    wanted = module.state_dict()
    for stem in _STEMS:
        if stem in wanted and stem in found and wanted[stem].ndim == found[stem].ndim == 4:
            channels, given = wanted[stem].shape[1], found[stem].shape[1]
            if {channels, given} == {1, 3}:
                kernel = found[stem]
                found[stem] = adapt_input_conv(1, kernel) if channels == 1 else kernel.repeat(1, 3, 1, 1) / 3
                adapted.append(f"{stem}: {given} channels {'summed' if channels == 1 else 'spread'} to {channels}")
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
            f"{origin}: does not fit this {type(module).__name__} of {len(wanted)} tensors: {', '.join(problems)}. "
            "Nothing was loaded; build the network with the backbone that the file was trained with."
        )
    return {name: found[name] for name in wanted if name in found}, tuple(extra), tuple(adapted)


def _timm_name(name: str) -> str:
    for cadene, timm in _CADENE:
        name = name.replace(cadene, timm)
    return name


def _logged(reports: list[InitialisationReport], untouched: tuple[str, ...], origin: str) -> InitialisationReport:
    """Join the reports of the streams and write a line about them."""
    loaded = tuple(name for report in reports for name in report.loaded)
    missing = tuple(name for report in reports for name in report.missing)
    # A tensor left aside for one stream may be the very one that the other stream took.
    unexpected = tuple(sorted(set.intersection(*(set(report.unexpected) for report in reports))))
    adapted = tuple(dict.fromkeys(text for report in reports for text in report.adapted))
    _logger.info(
        "%s: loaded %d tensors, kept %d, left %d of the file aside%s",
        Path(origin).name,
        len(loaded),
        len(missing),
        len(unexpected),
        f"; {'; '.join(adapted)}" if adapted else "",
    )
    return InitialisationReport(loaded, missing, unexpected, adapted, untouched)
