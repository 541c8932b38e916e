# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Where a classifier looks: Grad-CAM on example frames of an evaluation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.visualize import GradCAM
from torch import Tensor, nn

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.figures import bare_axes, new_figure, save_figure

__all__ = ["GradCAMHandler", "class_activation", "even_choice", "grad_cam_figure"]


@dataclass(frozen=True)
class _Example:
    image: Tensor
    label: int
    predicted: int
    confidence: float


def class_activation(network: nn.Module, images: Tensor, layer: str, classes: Sequence[int]) -> np.ndarray:
    """Grad-CAM (Selvaraju et al., ICCV 2017) by :class:`monai.visualize.GradCAM`, one image at a time.

    Args:
        network: from ``[1, C, H, W]`` to logits ``[1, classes]``. A copy is used, so that neither hooks nor gradients
            stay behind; its parameters need not require gradients.
        images: ``[E, C, H, W]``, prepared as for the network.
        layer: dotted name of the layer whose maps are weighted.
        classes: the class to be explained, for each image.

    Returns:
        float32 ``[E, H, W]`` in [0, 1]: 1 where the evidence is strongest. All 0 where nothing speaks for the class.

    Raises:
        ValueError: when the network has no such layer.
    """
    if layer not in dict(network.named_modules()):
        raise ValueError(f'{type(network).__name__} has no layer "{layer}" for Grad-CAM.')
    network = copy.deepcopy(network).eval().requires_grad_(True)
    device = next(network.parameters()).device
    # MONAI's own normaliser turns the map over, largest to 0; here large stays large.
    explain = GradCAM(nn_module=network, target_layers=layer, postprocessing=lambda scores: scores)
    maps = np.zeros((len(images), *images.shape[-2:]), np.float32)
    with torch.enable_grad():
        for row, (image, index) in enumerate(zip(images, classes)):
            scores = explain(x=image[None].to(device).float().requires_grad_(), class_idx=int(index))[0, 0]
            maps[row] = np.asarray(torch.as_tensor(scores).detach().float().cpu())
    peak = maps.max(axis=(1, 2), keepdims=True)
    scaled: np.ndarray = np.divide(maps, peak, out=np.zeros_like(maps), where=peak > 0)
    return scaled


def even_choice(counts: Sequence[int], number: int) -> list[int]:
    """How many items to take from each group, as evenly as the groups allow.

    With fewer places than groups, the groups that get one are spread evenly over the list.

    Args:
        counts: items in each group.
        number: items wanted.

    Returns:
        For each group, how many; the sum is ``min(number, sum(counts))``.
    """
    taken = [0] * len(counts)
    while (left := min(number, sum(counts)) - sum(taken)) > 0:
        free = [group for group, count in enumerate(counts) if taken[group] < count]
        for place in np.unique(np.linspace(0, len(free) - 1, min(left, len(free))).round().astype(int)):
            taken[free[place]] += 1
    return taken


def grad_cam_figure(images: np.ndarray, maps: np.ndarray, titles: Sequence[tuple[str, str, bool]]) -> Figure:
    """Draw frames, and under each what spoke for its predicted class.

    Args:
        images: grey ``[E, H, W]``, any range; each is shown from its least to its greatest value.
        maps: ``[E, H, W]`` in [0, 1].
        titles: true class, predicted class with confidence, and whether they agree.
    """
    number = len(images)
    figure = new_figure(1.75 * number + 0.3, 1.75 * 2 * images.shape[1] / images.shape[2] + 0.5)
    grid = figure.subplots(2, number, squeeze=False)
    for column, (image, heat, (true, predicted, right)) in enumerate(zip(images, maps, titles)):
        for axes in grid[:, column]:
            axes.imshow(image, cmap="gray")
            bare_axes(axes, "#2e8b57" if right else "#c0392b", 1.6)
        grid[1, column].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.7 * np.clip(1.25 * heat, 0, 1))
        grid[0, column].set_title(f"true: {true}", fontsize=8)
        grid[1, column].set_title(f"predicted: {predicted}", fontsize=8, color="#2e8b57" if right else "#c0392b")
    grid[0, 0].set_ylabel("frame", fontsize=8.5)
    grid[1, 0].set_ylabel("Grad-CAM", fontsize=8.5)
    return figure


class GradCAMHandler:
    """Draw Grad-CAM of the predicted class for example frames, once an evaluation is complete.

    The examples are spread over the true classes that occur, and within a class drawn evenly from all its frames by
    reservoir sampling: right and wrong predictions appear as often as they happen, nothing is picked by hand. They
    depend on ``seed`` and the order of the frames alone, not on the batch size. At most ``n_examples`` frames per class
    are kept in memory.

    Args:
        network: the classifier; see ``layer``.
        path: the PNG to write; its folder is made when missing.
        n_examples: frames to draw.
        classes: names of the classes.
        layer: the layer to explain; None for the network's ``cam_layer``.
        seed: of the choice.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str,
        n_examples: int = 6,
        classes: Sequence[str] = PLANES,
        layer: str | None = None,
        seed: int = 0,
    ) -> None:
        if n_examples < 1:
            raise ValueError(f"n_examples must be at least 1, got {n_examples}.")
        self.network, self.path, self.n_examples = network, Path(path), n_examples
        self.classes, self.seed = tuple(classes), seed
        self.layer = str(getattr(network, "cam_layer", "")) if layer is None else layer
        self._start()

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator whose output has ``"image"``, ``"pred"`` (logits) and ``"label"``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _start(self, engine: Engine | None = None) -> None:
        self._kept: dict[int, list[_Example]] = {}
        self._seen: dict[int, int] = {}
        self._random: dict[int, np.random.RandomState] = {}

    def _collect(self, engine: Engine) -> None:
        output: Any = iteration_output(engine)
        chances = torch.softmax(output["pred"].detach().float(), dim=1).cpu()
        labels = output["label"].detach().cpu().tolist()
        for row, label in enumerate(labels):
            place = self._place(label)
            if place is None:
                continue
            confidence, predicted = chances[row].max(dim=0)
            image = output["image"][row].detach().float().cpu().clone()  # a view would keep the whole batch alive
            example = _Example(image, label, int(predicted), float(confidence))
            self._kept[label][place : place + 1] = [example]

    def _place(self, label: int) -> int | None:
        """Where in its class's reservoir the next frame goes; None: nowhere (Vitter's algorithm R)."""
        kept = self._kept.setdefault(label, [])
        rng = self._random.setdefault(label, np.random.RandomState((self.seed, label)))
        number = self._seen[label] = self._seen.get(label, 0) + 1
        place = number - 1 if number <= self.n_examples else int(rng.randint(number))
        return place if place <= len(kept) and place < self.n_examples else None

    def _draw(self, engine: Engine) -> None:
        labels = sorted(self._kept)
        shares = even_choice([len(self._kept[label]) for label in labels], self.n_examples)
        examples = [
            self._kept[label][place]
            # the first places of a reservoir hold the first frames too often
            for label, share in zip(labels, shares)
            for place in self._random[label].permutation(len(self._kept[label]))[:share]
        ]
        self._start()
        if not examples:
            return
        images = torch.stack([example.image for example in examples])
        maps = class_activation(self.network, images, self.layer, [example.predicted for example in examples])
        titles = [
            (self.classes[e.label], f"{self.classes[e.predicted]} {e.confidence:.2f}", e.label == e.predicted)
            for e in examples
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(grad_cam_figure(images.mean(dim=1).numpy(), maps, titles), self.path)
