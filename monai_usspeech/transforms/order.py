# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Frame order as a task without labels: four frames of a clip are shuffled, a network tells the order.

Forward and backward cannot be told apart (a probe sweeps both ways), so the 24 permutations make 12 classes of a
permutation and its reversal (Lee et al., ICCV 2017; Jiao et al., MICCAI 2020). The class number is the rank of the
member with ``p[0] < p[-1]`` among the twelve in dictionary order. Guessing reaches 1/12, a loss of log 12 = 2.485.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

__all__ = [
    "ORDERS",
    "FrameShuffle",
    "FrameShuffleD",
    "FrameShuffleDict",
    "FrameShuffled",
    "draw_order",
    "draw_order_times",
    "order_decidable",
    "order_label",
    "shuffle_frames",
]

N_FRAMES = 4

ORDERS: tuple[tuple[int, int, int, int], ...] = tuple(
    (p[0], p[1], p[2], p[3]) for p in permutations(range(N_FRAMES)) if p[0] < p[-1]
)
"""The 12 representative permutations in dictionary order; the index is the class."""

_LABELS: dict[tuple[int, ...], int] = {
    order: label for label, forward in enumerate(ORDERS) for order in (forward, forward[::-1])
}


def order_label(permutation: Sequence[int] | NdarrayOrTensor) -> int:
    """
    Class of an order, the same for a permutation and its reversal.

    Args:
        permutation: ``permutation[i]`` is the true position (0 to 3) of the frame that is shown at position ``i``.

    Returns:
        Class in 0..11, the index into :data:`ORDERS`.

    Raises:
        ValueError: When it is not a permutation of 0, 1, 2, 3.
    """
    label = _LABELS.get(tuple(int(p) for p in permutation))
    if label is None:
        raise ValueError(f"expected a permutation of 0, 1, 2, 3, got {tuple(permutation)}")
    return label


def draw_order(rng: np.random.RandomState) -> np.ndarray:
    """Draw one of the 24 permutations with equal chance, so that each of the 12 classes has 1/12; int64 ``[4]``."""
    return rng.permutation(N_FRAMES)


def draw_order_times(
    rng: np.random.RandomState,
    clip_start: float,
    clip_seconds: float = 2.0,
    gap: tuple[float, float] = (10 / 30, 19 / 30),
) -> np.ndarray:
    """
    Draw the times of four evenly spaced frames of a clip.

    The gap is uniform in ``gap``, then the first time is uniform over what keeps all four inside
    ``[clip_start, clip_start + clip_seconds)``. The default is 10 to 19 frames at 30 frames per second.

    Args:
        rng: random source.
        clip_start: start of the clip, seconds.
        clip_seconds: length of the clip, seconds.
        gap: shortest and longest time between neighbours, seconds; the longest is cut to what the clip can hold.

    Returns:
        float64 ``[4]``, strictly increasing, seconds.

    Raises:
        ValueError: When four frames with the shortest gap do not fit into the clip.
    """
    shortest, longest = gap[0], min(gap[1], clip_seconds / (N_FRAMES - 1))
    if not 0 < shortest <= gap[1] or shortest * (N_FRAMES - 1) >= clip_seconds:
        raise ValueError(f"gap {gap} s must be positive and increasing, and three of its shortest fit {clip_seconds} s")
    step = rng.uniform(shortest, longest)
    first = clip_start + rng.uniform(0.0, clip_seconds - (N_FRAMES - 1) * step)
    times = first + step * np.arange(N_FRAMES)
    # rounding must not put the last frame at the start of the next clip
    return np.asarray(np.minimum(times, np.nextafter(clip_start + clip_seconds, -np.inf)), dtype=np.float64)


def order_decidable(frames: NdarrayOrTensor, threshold: float = 0.01, value_range: float | None = None) -> bool:
    """
    Tell whether the order of frames can be seen at all: a frozen picture has none.

    Args:
        frames: ``[4, ...]`` in their true order (before the shuffle).
        threshold: every neighbouring pair must differ by at least this share of the range, as a mean over its pixels.
        value_range: range of the values; None: 255 for integers, 1 for floating point.

    Returns:
        True when every neighbouring pair differs by ``threshold`` or more.

    Raises:
        ValueError: When there are fewer than two frames.
    """
    values: Tensor = convert_to_tensor(frames, track_meta=False)
    if values.ndim < 2 or values.shape[0] < 2:
        raise ValueError(f"expected frames [4, ...], got the shape {tuple(values.shape)}")
    whole = not values.dtype.is_floating_point
    value_range = (255.0 if whole else 1.0) if value_range is None else value_range
    values = values.to(torch.int32) if whole else values  # uint8 differences would wrap around
    change = (values[1:] - values[:-1]).abs().flatten(1).double().mean(1)
    return bool((change >= threshold * value_range).all())


def shuffle_frames(frames: NdarrayOrTensor, permutation: Sequence[int] | NdarrayOrTensor) -> NdarrayOrTensor:
    """
    Put frames into a given order.

    Args:
        frames: ``[4, ...]`` array or tensor.
        permutation: position ``i`` of the result shows ``frames[permutation[i]]``.

    Returns:
        A new array or tensor of the same kind, shape and type.

    Raises:
        ValueError: When ``frames`` does not have four entries on its first axis.
    """
    if frames.ndim < 1 or frames.shape[0] != N_FRAMES:
        raise ValueError(f"expected four frames [4, ...], got the shape {tuple(frames.shape)}")
    return frames[[int(p) for p in permutation]]


class FrameShuffle(Randomizable, Transform):
    """
    Shuffle four frames and tell the class of their order, drawn uniformly over the 24 permutations.

    Example:
        >>> shuffled, label = FrameShuffle().set_random_state(0)(torch.rand(4, 1, 64, 64))
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(self) -> None:
        self.permutation = np.arange(N_FRAMES)
        """The last permutation drawn; position ``i`` shows frame ``permutation[i]``."""

    def randomize(self, data: Any = None) -> None:
        """Draw the permutation."""
        self.permutation = draw_order(self.R)

    def __call__(self, frames: NdarrayOrTensor, randomize: bool = True) -> tuple[NdarrayOrTensor, int]:
        """
        Shuffle.

        Args:
            frames: ``[4, C, H, W]`` (any axes after the first) in their true order.
            randomize: draw a new permutation; False uses the last one again.

        Returns:
            The shuffled frames and the class in 0..11.

        Raises:
            ValueError: When there are not four frames.
        """
        if randomize:
            self.randomize()
        return shuffle_frames(frames, self.permutation), order_label(self.permutation)


class FrameShuffled(Randomizable, MapTransform):
    """
    Dictionary version of :class:`FrameShuffle`: one permutation for all keys, and the class under ``label_key``.

    Args:
        keys: keys of frames ``[4, ...]``; entries that go with them, such as their times ``[4]``, may be named too.
        label_key: where the class (int, 0..11) is written.
        valid_key: where to write whether the order of the first key's frames can be seen (:func:`order_decidable`);
            None: nowhere.
        threshold: of :func:`order_decidable`.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = FrameShuffle.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "order_label",
        valid_key: str | None = None,
        threshold: float = 0.01,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.label_key = label_key
        self.valid_key = valid_key
        self.threshold = threshold
        self.shuffle = FrameShuffle()

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> FrameShuffled:
        """Seed this transform and the array transform it holds."""
        super().set_random_state(seed, state)
        self.shuffle.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw the permutation."""
        self.shuffle.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with shuffled frames and the class."""
        d = dict(data)
        keys = list(self.key_iterator(d))
        if not keys:
            return d
        self.randomize()
        if self.valid_key is not None:
            d[self.valid_key] = order_decidable(d[keys[0]], self.threshold)
        for key in keys:
            d[key], d[self.label_key] = self.shuffle(d[key], randomize=False)
        return d


FrameShuffleD = FrameShuffleDict = FrameShuffled
