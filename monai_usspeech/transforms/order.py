# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Frame order as a task without labels: four frames of a clip are shuffled, a network tells the order.

The 24 permutations make 12 classes, each of a permutation ``p`` and a reversal of it. There are two reversals:

- ``"shown"``: ``p[::-1]``, the same frames shown backwards (Lee et al., ICCV 2017; Jiao et al., MICCAI 2020: "forward
  and backward" are one class).
- ``"time"``: ``3 - p``, first and last frame exchanged in time, and the middle two.

A probe sweeps both ways. Motion that is as likely with time running backwards shows in order ``p`` what it shows in
order ``3 - p``: nobody can tell these two apart. They are one class of ``"time"``. Of ``"shown"`` they are one class
only where ``3 - p`` happens to be ``p[::-1]``, which holds for 8 permutations. For the other 16 the classes of ``p``
and ``3 - p`` differ and what is seen decides between them at even odds, so that under such motion the accuracy with
``"shown"`` cannot exceed 8/24 + 16/24 / 2 = 2/3, nor the loss fall below 2/3 log 2 = 0.46. With ``"time"`` a steady
sweep decides every class. Above 2/3, a network trained on ``"shown"`` knows which way time runs.

The class number is the rank, among the twelve in dictionary order, of the member of the pair that comes first in
dictionary order: the one with ``p[0] < p[-1]`` for ``"shown"``, with ``p[0] < 2`` for ``"time"``. Either way each class
has two of the 24 members, so guessing reaches 1/12, a loss of log 12 = 2.485.
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
    "TIME_ORDERS",
    "FrameShuffle",
    "FrameShuffleD",
    "FrameShuffleDict",
    "FrameShuffled",
    "draw_order",
    "draw_order_times",
    "order_decidable",
    "order_label",
    "order_members",
    "shuffle_frames",
]

N_FRAMES = 4

Order = tuple[int, int, int, int]


def _reverse(order: Order, reversal: str) -> Order:
    a, b, c, d = order
    return (d, c, b, a) if reversal == "shown" else (3 - a, 3 - b, 3 - c, 3 - d)


def _representatives(reversal: str) -> tuple[Order, ...]:
    orders: list[Order] = [(a, b, c, d) for a, b, c, d in permutations(range(N_FRAMES))]  # in dictionary order
    return tuple(order for order in orders if order < _reverse(order, reversal))


ORDERS = _representatives("shown")
"""The 12 representative permutations of ``reversal="shown"`` in dictionary order; the index is the class."""

TIME_ORDERS = _representatives("time")
"""The 12 representative permutations of ``reversal="time"`` in dictionary order; the index is the class."""

_TABLES: dict[str, tuple[Order, ...]] = {"shown": ORDERS, "time": TIME_ORDERS}

_LABELS: dict[str, dict[tuple[int, ...], int]] = {
    reversal: {member: label for label, first in enumerate(table) for member in (first, _reverse(first, reversal))}
    for reversal, table in _TABLES.items()
}


def _check_reversal(reversal: str) -> None:
    if reversal not in _TABLES:
        raise ValueError(f'reversal must be "shown" or "time", got {reversal!r}')


def order_label(permutation: Sequence[int] | NdarrayOrTensor, reversal: str = "shown") -> int:
    """
    Class of an order, the same for a permutation and its reversal.

    Args:
        permutation: ``permutation[i]`` is the true position (0 to 3) of the frame that is shown at position ``i``.
        reversal: what makes one class with ``p``: ``"shown"``, ``p[::-1]``, the same frames shown backwards (the
            published label); ``"time"``, ``3 - p``, which is what motion that runs both ways cannot be told from.

    Returns:
        Class in 0..11, the index into :data:`ORDERS` or :data:`TIME_ORDERS`.

    Raises:
        ValueError: When it is not a permutation of 0, 1, 2, 3, or the reversal is unknown.
    """
    _check_reversal(reversal)
    label = _LABELS[reversal].get(tuple(int(p) for p in permutation))
    if label is None:
        raise ValueError(f"expected a permutation of 0, 1, 2, 3, got {tuple(permutation)}")
    return label


def order_members(label: int, reversal: str = "shown") -> tuple[Order, Order]:
    """
    The two permutations of a class.

    Args:
        label: class in 0..11.
        reversal: ``"shown"`` or ``"time"``; see :func:`order_label`.

    Returns:
        The representative, then its reversal.

    Raises:
        ValueError: When there is no such class or reversal.
    """
    _check_reversal(reversal)
    if not 0 <= label < len(_TABLES[reversal]):
        raise ValueError(f"expected a class in 0..11, got {label}")
    first = _TABLES[reversal][label]
    return first, _reverse(first, reversal)


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

    Args:
        reversal: which reversal makes one class with a permutation, ``"shown"`` or ``"time"``; see
            :func:`order_label`.

    Raises:
        ValueError: For an unknown reversal.

    Example:
        >>> shuffled, label = FrameShuffle().set_random_state(0)(torch.rand(4, 1, 64, 64))
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(self, reversal: str = "shown") -> None:
        _check_reversal(reversal)
        self.reversal = reversal
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
        return shuffle_frames(frames, self.permutation), order_label(self.permutation, self.reversal)


class FrameShuffled(Randomizable, MapTransform):
    """
    Dictionary version of :class:`FrameShuffle`: one permutation for all keys, and the class under ``label_key``.

    Args:
        keys: keys of frames ``[4, ...]``; entries that go with them, such as their times ``[4]``, may be named too.
        label_key: where the class (int, 0..11) is written.
        valid_key: where to write whether the order of the first key's frames can be seen (:func:`order_decidable`);
            None: nowhere.
        threshold: of :func:`order_decidable`.
        reversal: of :class:`FrameShuffle`.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = FrameShuffle.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "order_label",
        valid_key: str | None = None,
        threshold: float = 0.01,
        reversal: str = "shown",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.label_key = label_key
        self.valid_key = valid_key
        self.threshold = threshold
        self.shuffle = FrameShuffle(reversal)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> FrameShuffled:
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
