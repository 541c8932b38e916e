# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What datasets with random samples share: draws that depend on (seed, epoch, item) alone, and checked settings."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.transforms.augmentation import draw_augmentation, identity_augmentation

__all__ = ["DrawnItems", "as_input_error", "checked_augmentation", "frame_augmentation", "item_random_state"]

_TRIED_FRAMES = 4


class DrawnItems(Dataset, ABC):
    """A dataset that is indexed with a number (epoch 0) or with ``(epoch, number)``, as the batch samplers do.

    Numbers below 0 count from the end.

    Raises:
        IndexError: on reading, when there is no such item.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def _sample(self, epoch: int, number: int) -> dict[str, Tensor]:
        """The sample of item ``number``, from 0, in an epoch."""

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor]:
        epoch, number = item if isinstance(item, tuple) else (0, item)
        return self._sample(epoch, self._number(number))

    def __getitems__(self, items: Sequence[int | tuple[int, int]]) -> list[dict[str, Tensor]]:
        """Fetch a batch; :class:`torch.utils.data.DataLoader` calls this once for each batch."""
        return [self[item] for item in items]

    def _number(self, number: int) -> int:
        """The same item counted from 0."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"Item {number} does not exist: there are {len(self)}.")
        return int(number) % len(self)


def item_random_state(seed: int, epoch: int, item: int) -> np.random.RandomState:
    """The random source of one item of one epoch: the same in any process, at any time, in any order of reading."""
    return np.random.RandomState(np.random.Philox(np.random.SeedSequence((seed, epoch, item))))


def frame_augmentation(augment: Mapping[str, Any] | None, seed: int, epoch: int, item: int) -> dict[str, np.ndarray]:
    """The augmentation of an item that is one frame, as entries of its sample.

    Args:
        augment: arguments of :func:`~monai_usspeech.transforms.augmentation.draw_augmentation`; None: the one that
            changes nothing.
        seed: of the dataset.
        epoch: from 0.
        item: number of the item.

    Returns:
        ``image_affine``, ``image_gain``, ``image_gamma``: float32 ``[2, 3]``, ``[]``, ``[]``; with ``augment`` whatever
        else is drawn.
    """
    if augment is None:
        drawn = identity_augmentation(1)
    else:
        drawn = draw_augmentation(item_random_state(seed, epoch, item), 1, **augment)
    return {f"image_{name}": value[0] for name, value in drawn.items()}


@contextmanager
def as_input_error(owner: str) -> Iterator[None]:
    """A number out of its range comes from the user's configuration: let it be told in one line.

    Args:
        owner: whose setting it is, for the message.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise InputError(f"{owner}: {error}") from error


def checked_augmentation(
    augment: Mapping[str, Any], owner: str, draw: Callable[..., Any] = draw_augmentation
) -> dict[str, Any]:
    """The same arguments, once it is sure that they can be drawn with.

    Args:
        augment: arguments of ``draw``.
        owner: whose setting it is, for the message.
        draw: what draws with them, after a random source and the number of frames.

    Raises:
        InputError: on an unknown name, with the nearest one, or a range that is not one.
    """
    known = list(inspect.signature(draw).parameters)[2:]
    for name in augment:
        if name not in known:
            raise InputError(f'{owner}: augment has no option "{name}".{nearest_name(name, known)}')
    with as_input_error(owner):
        draw(np.random.RandomState(0), _TRIED_FRAMES, **augment)  # a range that is not one shows now
    return dict(augment)
