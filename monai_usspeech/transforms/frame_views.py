# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Several augmented views of one frame as a transform; the drawing and applying is in ``view_augmentation``."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from monai_usspeech.transforms.view_augmentation import (
    VIEW_RECORD,
    apply_view_augmentation,
    draw_view_augmentation,
    identity_view_augmentation,
)

__all__ = ["RandFrameViews", "RandFrameViewsD", "RandFrameViewsDict", "RandFrameViewsd", "draw_frame_views"]


def draw_frame_views(
    rng: np.random.RandomState,
    views: int,
    settings: Mapping[str, Any] | None,
    second: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """
    Draw the record of a frame's views, of which the last may be drawn in another way.

    Args:
        rng: random source.
        views: number of views ``V``.
        settings: arguments of :func:`draw_view_augmentation`; None: the views are the frame as it is.
        second: arguments for the last view (FixMatch's strong one); None: as the others.

    Returns:
        The arrays of :func:`draw_view_augmentation`, ``[V, ...]`` each.

    Raises:
        ValueError: When a range is empty, reaches zero or is out of bounds.
    """
    record = identity_view_augmentation(views) if settings is None else draw_view_augmentation(rng, views, **settings)
    if second is not None:
        last = draw_view_augmentation(rng, 1, **second)
        record = {name: np.concatenate([record[name][:-1], last[name]]) for name in VIEW_RECORD}
    return record


class RandFrameViews(Randomizable, Transform):
    """
    Augment one frame several times, each time anew; see :func:`draw_view_augmentation`.

    Args:
        views: number of views ``V``.
        size: rows and columns of the views; None: those of the frame.
        standardise: mean and standard deviation for :func:`~monai_usspeech.transforms.standardise_frames`; None: values
            stay in [0, 1].
        second: settings of the last view, for methods that compare a weak and a strong one; None: as the others.
        **settings: arguments of :func:`draw_view_augmentation`; without any, the augmentation of HiCo.

    Raises:
        ValueError: When a setting is unknown, a range is empty or out of bounds, or there is no view.

    Example:
        >>> frame = torch.randint(0, 256, (1, 480, 640), dtype=torch.uint8)
        >>> RandFrameViews(views=2, size=224).set_random_state(0)(frame).shape
        torch.Size([2, 1, 224, 224])
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        views: int = 2,
        size: int | tuple[int, int] | None = 224,
        standardise: tuple[float, float] | None = None,
        second: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.views = views
        self.size = size
        self.standardise = standardise
        self.settings = _checked(settings)
        self.second = None if second is None else _checked(second)
        if views < 1 or (second is not None and views < 2):
            raise ValueError(f"need at least one view, and two for settings of a second one, got {views}")
        self.record = identity_view_augmentation(views)
        """The record of the last frame."""

    def randomize(self, data: Any = None) -> None:
        """Draw the record of a frame's views."""
        self.record = draw_frame_views(self.R, self.views, self.settings, self.second)

    def __call__(self, frame: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """
        Augment a frame.

        Args:
            frame: ``[C, H, W]``, uint8 or floating point in [0, 1].
            randomize: draw a new record; False uses the last one again.

        Returns:
            float32 ``[V, C, h, w]``.

        Raises:
            ValueError: When the shape or type does not fit.
        """
        if frame.ndim != 3:
            raise ValueError(f"expected a frame [C, H, W], got the shape {tuple(frame.shape)}")
        if randomize:
            self.randomize()
        pixels: Tensor = convert_to_tensor(frame, track_meta=False)
        return apply_view_augmentation(
            pixels.expand(self.views, *pixels.shape), self.record, self.size, self.standardise
        )


class RandFrameViewsd(Randomizable, MapTransform):
    """
    Dictionary version of :class:`RandFrameViews`: the same views of all keys, as for one frame in two forms.

    Args:
        keys: keys of frames ``[C, H, W]``.
        allow_missing_keys: do not raise when a key is missing.
        **settings: arguments of :class:`RandFrameViews`.

    Raises:
        ValueError: When a setting is unknown, a range is empty or out of bounds, or there is no view.
    """

    backend = RandFrameViews.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, **settings: Any) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.augmentation = RandFrameViews(**settings)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandFrameViewsd:
        """Seed this transform and the array transform it holds."""
        super().set_random_state(seed, state)
        self.augmentation.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw the record of the views."""
        self.augmentation.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the views ``[V, C, h, w]`` of each frame."""
        d = dict(data)
        keys = list(self.key_iterator(d))
        if keys:
            self.randomize()
        for key in keys:
            d[key] = self.augmentation(d[key], randomize=False)
        return d


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, once it is sure that a view can be drawn with them."""
    known = [name for name in inspect.signature(draw_view_augmentation).parameters if name not in ("rng", "views")]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"the augmentation of views has no setting {unknown[0]!r}; it has {', '.join(known)}")
    draw_view_augmentation(np.random.RandomState(0), 1, **settings)
    return dict(settings)


RandFrameViewsD = RandFrameViewsDict = RandFrameViewsd
