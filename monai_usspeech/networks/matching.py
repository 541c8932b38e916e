# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which tensor of a file goes where in a network, and the refusal of files that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from timm.models import adapt_input_conv
from torch import Tensor, nn

from monai_usspeech.networks.resnet_fpn import FeaturePyramid

__all__ = ["match_weights", "pyramid_levels_to_match"]

_CLASSIFIERS = ("fc.", "last_linear.", "classifier.", "head.", "adaption.")
_STEMS = ("conv1.weight", "features.0.0.0.weight")
# The Cadene layout (pretrainedmodels, MONAI's SENet) differs from timm's in these parts of the names.
_CADENE = (("layer0.", ""), ("se_module.", "se."), ("last_linear.", "fc."))


def match_weights(
    module: nn.Module,
    found: dict[str, Tensor],
    origin: str,
    part: str = "",
    kept: Sequence[str] = (),
    aside: Sequence[str] = (),
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Compare the tensors of a file with those of a module; nothing is written.

    Args:
        module: what is to be loaded.
        found: named tensors of the file, in the names of the module or in Cadene's.
        origin: the file, for messages.
        part: name of the module in its network when it is no backbone, for messages.
        kept: beginnings of names that may be missing from the file.
        aside: beginnings of names of the file that need no place in the module; names of classifiers never do.

    Returns:
        The tensors to load; the names left aside; what was adapted, in words.

    Raises:
        ValueError: when any tensor is missing, has another shape, or has no place.
    """
    adapted, found = [], dict(found)
    if any(name.startswith("layer0.") for name in found):
        found = {_timm_name(name): value for name, value in found.items()}
        adapted.append("names from Cadene's layout; its stem pools without padding, ours with, as timm's does")
    wanted = module.state_dict()
    adapted += _adapt_stem(wanted, found)
    extra = [name for name in found if name not in wanted]
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    adapted += [f"{part}.{start[:-1]} is not in the file and stays as it was" for start in kept]
    shapes = [
        f"{name} {tuple(found[name].shape)} in the file, {tuple(wanted[name].shape)} in the network"
        for name in wanted
        if name in found and wanted[name].shape != found[name].shape
    ]
    problems = [
        f"{len(names)} {what} ({'; '.join(names[:3])}{'; ...' if len(names) > 3 else ''})"
        for names, what in (
            ([name for name in missing if not name.startswith(tuple(kept))], "tensors missing from the file"),
            (shapes, "tensors of another shape"),
            (
                [name for name in extra if not name.startswith((*_CLASSIFIERS, *aside))],
                "tensors of the file without a place in the network",
            ),
        )
        if names
    ]
    if problems:
        kind = f"{part} ({type(module).__name__})" if part else type(module).__name__
        mend = "in the form (levels, heads, norm, channels, image size)" if part else "with the backbone"
        raise ValueError(
            f"{origin}: does not fit this {kind} of {len(wanted)} tensors: {', '.join(problems)}. "
            f"Nothing was loaded; build the network {mend} that the file was trained with."
        )
    return {name: found[name] for name in wanted if name in found}, tuple(extra), tuple(adapted)


def pyramid_levels_to_match(module: nn.Module, found: dict[str, Tensor]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Levels that only the network, or only the file, gives out; a 3 x 3 convolution matters to its own level alone.

    Args:
        module: a :class:`~monai_usspeech.networks.FeaturePyramid`, or anything else, which has no levels.
        found: named tensors of the file's pyramid.

    Returns:
        Beginnings of the names of the 3 x 3 convolutions that the file does not have, the top level's excepted, and of
        those of levels that the network does not give out.
    """
    if not isinstance(module, FeaturePyramid):
        return (), ()
    top = len(module.lateral) - 1  # its convolution comes or goes with the form of the pyramid, not with its use
    kept = [f"smooth.{n}." for n in module.out_levels if n < top]
    aside = [f"smooth.{n}." for n in range(top + 1) if n not in module.out_levels]
    return tuple(start for start in kept if not any(name.startswith(start) for name in found)), tuple(aside)


def _adapt_stem(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Sum a stem of three channels, or spread one of one channel, in ``found``; says so in words."""
    adapted = []
    for stem in _STEMS:
        if stem in wanted and stem in found and wanted[stem].ndim == found[stem].ndim == 4:
            channels, given = wanted[stem].shape[1], found[stem].shape[1]
            if {channels, given} == {1, 3}:
                kernel = found[stem]
                found[stem] = adapt_input_conv(1, kernel) if channels == 1 else kernel.repeat(1, 3, 1, 1) / 3
                adapted.append(f"{stem}: {given} channels {'summed' if channels == 1 else 'spread'} to {channels}")
    return adapted


def _timm_name(name: str) -> str:
    for cadene, timm in _CADENE:
        name = name.replace(cadene, timm)
    return name
