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

from torch import Tensor, nn

from monai_usspeech.networks.checkpoints import read_checkpoint
from monai_usspeech.networks.matching import match_weights, pyramid_levels_to_match
from monai_usspeech.networks.pyramid_classifier import PyramidClassifier
from monai_usspeech.networks.sononet import SonoNetFeatures
from monai_usspeech.networks.sononet_weights import sononet_width

__all__ = ["InitialisationReport", "load_initialisation"]

_logger = logging.getLogger(__name__)

_SOURCES = ("auto", "imagenet", "own", "sononet")


@dataclass(frozen=True)
class InitialisationReport:
    """What :func:`load_initialisation` did; names are those of the module that was loaded.

    Attributes:
        loaded: tensors taken from the file.
        missing: tensors that kept their values: batch-norm step counters, which old files lack, and the 3 x 3
            convolutions of pyramid levels that the file's network did not give out, where all levels are read.
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

    A network with a pyramid takes the pyramid too, from an own checkpoint that has one;
    :class:`~monai_usspeech.networks.PyramidClassifier` with ``read_out="heads"`` takes the three heads as well, and
    refuses every other file. With ``read_out="code"`` it refuses an own checkpoint without a pyramid; from ImageNet
    weights it takes the backbone alone, as the released code of HiCo does.

    Args:
        module: a backbone (see :mod:`monai_usspeech.networks.backbones`), a network with a ``video_stream`` and perhaps
            a ``speech_stream`` (:class:`~monai_usspeech.networks.VideoSpeechNet`,
            :class:`~monai_usspeech.networks.FrameClassifier`, :class:`~monai_usspeech.networks.SaliencyNet`,
            :class:`~monai_usspeech.networks.HiCoNet`, :class:`~monai_usspeech.networks.ContrastiveNet`,
            :class:`~monai_usspeech.networks.PyramidClassifier`), or a :class:`~monai_usspeech.networks.SonoNet`, which
            takes its classifier from the file too.
        path: a local file (see :func:`~monai_usspeech.networks.read_checkpoint`), or named tensors.
        source: ``"imagenet"``: one backbone in the layout of timm's ``seresnext50_32x4d``, or in Cadene's layout, or in
            timm's or torchvision's layout of ``resnet18``;
            ``"sononet"``: the public weights of SonoNet; ``"own"``: a checkpoint of a network with a
            ``video_stream``; ``"auto"``: whichever the names in the file show.
        stream: ``"video"``, ``"speech"`` or ``"both"``. Names the stream of an own checkpoint to take, and the
            stream(s) of a two-stream ``module`` to load. ``"both"`` needs such a module.
        prefix: take the tensors under this prefix of the file instead, and nothing else, for networks saved by other
            code, such as ``"features.R18."`` for HiCo's released code, or ``"video_stream."`` to leave a pyramid aside.

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
        place = f"{name}_stream." if part is not module else ""
        plans.append(_Plan(part, place, start, *match_weights(part, found, origin)))
    plans += _pyramid_plans(module, weights, own and prefix is None, origin)
    # Everything is checked before the first tensor is written, so a refused file leaves the network as it was.
    reports = [plan.carry_out(weights) for plan in plans]
    loaded = {name for report in reports for name in (*report.loaded, *report.missing)}
    untouched = tuple(name for name in module.state_dict() if name not in loaded)
    return _logged(reports, untouched, origin)


@dataclass(frozen=True)
class _Plan:
    """What is to be loaded into a part of a network, whose names begin with ``place`` there, ``start`` in the file."""

    part: nn.Module
    place: str
    start: str
    state: dict[str, Tensor]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...]

    def carry_out(self, weights: Mapping[str, Tensor]) -> InitialisationReport:
        """Load the part; tensors of the file outside it are left aside."""
        missing = [key for key in self.part.state_dict() if key not in self.state]
        self.part.load_state_dict(self.state, strict=False)
        named = self.place if self.place == self.start else ""
        others = [key for key in weights if self.start and not key.startswith(self.start)]
        return InitialisationReport(
            tuple(self.place + key for key in self.state),
            tuple(self.place + key for key in missing),
            (*(named + key for key in self.unexpected), *others),
            self.adapted,
        )


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


def _pyramid_plans(module: nn.Module, weights: Mapping[str, Tensor], own: bool, origin: str) -> list[_Plan]:
    """What to take from an own file beside the stream: its pyramid, and the heads that a classifier reads."""
    parts: list[str] = getattr(module, "initialised_parts", [])
    present = [part for part in parts if any(name.startswith(f"{part}.") for name in weights)]
    projects = isinstance(module, PyramidClassifier) and len(module.projections) > 0
    if not own or "pyramid" not in present:
        if isinstance(module, PyramidClassifier) and (own or not projects):
            raise ValueError(
                f"{origin}: holds no pyramid for the PyramidClassifier, which trains only the top of its own; give a"
                " checkpoint of a HiCoNet, or evaluate this one with FrameClassifier."
            )
        return []
    absent = [part for part in parts if part not in present]
    if absent:
        raise ValueError(f"{origin}: has a pyramid but no {absent[0]}; give a checkpoint of a HiCoNet.")
    plans = []
    for name in present:
        part, found = module.get_submodule(name), _under(weights, f"{name}.", origin)
        kept, aside = pyramid_levels_to_match(part, found)
        # Whoever reads given levels needs all of them; random projections read a level as it was drawn.
        match = match_weights(part, found, origin, name, kept if projects else (), aside)
        plans.append(_Plan(part, f"{name}.", f"{name}.", *match))
    return plans


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
