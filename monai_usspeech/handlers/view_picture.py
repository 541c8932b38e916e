# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The first training batch as a picture: the frames as they were read, and the views that the network gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from monai_usspeech.engines.prepare_views import PrepareViewBatch
from monai_usspeech.handlers.figures import bare_axes, new_figure
from monai_usspeech.handlers.first_batch_picture import FirstBatchPicture

__all__ = ["ViewPictureHandler", "draw_views_picture"]

_TILE, _TITLE, _HEAD = 1.9, 0.42, 0.35  # inches: a tile, what stands above it in its row, the heading
_READ, _VIEW = "#999999", "#2166AC"


class ViewPictureHandler(FirstBatchPicture):
    """Draw the first batch of a run as a PNG, once for each run folder.

    Args:
        path: the file; left as it is when it exists, so a resumed run keeps its first picture.
        dataset: where the batches come from: gives ``item_name(item)`` and ``classes``.
        prepare_batch: what the trainer makes the views with.
        n_examples: how many items of the batch to draw.
    """

    def __init__(
        self, path: str | os.PathLike, dataset: Any, prepare_batch: PrepareViewBatch, n_examples: int = 6
    ) -> None:
        super().__init__(path)
        self.dataset, self.prepare_batch, self.n_examples = dataset, prepare_batch, n_examples

    def figure(self, batch: Mapping[str, Tensor]) -> Figure:
        """The picture of a collated batch of the dataset."""
        return draw_views_picture(batch, self.dataset, self.prepare_batch, self.n_examples)


def draw_views_picture(
    batch: Mapping[str, Tensor], dataset: Any, prepare_batch: PrepareViewBatch, n_examples: int = 6
) -> Figure:
    """Draw items of a batch as rows: grey frames as they were read, then in blue the views made of them.

    The views are those of the training, with standardisation taken back. A frame that was read for every view is drawn
    once. Of mixed views the title says how much of which frame is in them.

    Args:
        batch: a collated batch of ``dataset``, on the CPU.
        dataset: gives ``item_name(item)``, and ``classes``, the names of the labels (numbers where it has none).
        prepare_batch: what the trainer makes the views with.
        n_examples: draw this many items, from the start of the batch.

    Returns:
        The figure.
    """
    part = {name: value[:n_examples] for name, value in batch.items() if torch.is_tensor(value)}
    views, _ = prepare_batch(part)
    shown = (views * prepare_batch.frame_std + prepare_batch.frame_mean).clamp(0, 1).transpose(0, 1)
    frames = part["image"]
    if all(torch.equal(frames[:, :1], frames[:, place : place + 1]) for place in range(frames.shape[1])):
        frames = frames[:, :1]
    rows, columns = len(frames), frames.shape[1] + shown.shape[1]
    height, width = (max(both) for both in zip(frames.shape[-2:], shown.shape[-2:]))
    tile = _TILE * height / width
    figure = new_figure(max(_TILE * columns, 5.0), (tile + _TITLE) * rows + _HEAD)
    figure.suptitle("First training batch: frames as read (grey), and what the network gets (blue)", fontsize=9)
    places = np.atleast_1d(np.asarray(figure.subfigures(rows, 1)))
    for row, place in enumerate(places):
        place.suptitle(_title(part, row, dataset), fontsize=8, x=0.01, ha="left", weight="bold")
        mix = float(part["mix"][row]) if "mix" in part else None
        _draw_row(place, frames[row], shown[row], mix)
    return figure


def _title(batch: Mapping[str, Tensor], row: int, dataset: Any) -> str:
    """What the item is, and its label."""
    name = str(dataset.item_name(int(batch["item"][row]))) if "item" in batch else f"item {row}"
    label = int(batch["label"][row]) if "label" in batch else -1
    if label < 0:
        return f"{name}: no label"
    return f"{name}: {dataset.classes[label] if label < len(dataset.classes) else f'class {label}'}"


def _draw_row(place: SubFigure, frames: Tensor, views: Tensor, mix: float | None) -> None:
    """The frames and the views of one item, side by side."""
    titles = [f"frame {number + 1}" if len(frames) > 1 else "frame" for number in range(len(frames))]
    for number in range(len(views)):
        # sample pairs: the second frame is the anchor, of which both views hold the same share
        mixture = "" if mix is None else f": {mix:.2f} of {1 + 2 * number}, {1 - mix:.2f} of 2"
        titles.append(f"view {number + 1}{mixture}")
    grid = place.subplots(1, len(titles), squeeze=False)[0]
    for axes, title, picture in zip(grid, titles, [*frames, *views]):
        pixels = np.moveaxis(picture.numpy(), 0, -1)
        pixels = pixels if pixels.shape[-1] == 3 else pixels[..., 0]
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255 if picture.dtype == torch.uint8 else 1)
        colour = _VIEW if title.startswith("view") else _READ
        axes.set_title(title, fontsize=7.5, color=colour)
        bare_axes(axes, colour, 1.4)
