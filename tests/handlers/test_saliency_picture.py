# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_usspeech.handlers.saliency_picture import saliency_figure


def example(n: int = 2, size: int = 8):
    images = np.full((n, 20, 30), 90, np.uint8)
    fixations = np.zeros((n, size, size), bool)
    fixations[:, 2, 5] = True
    return images, fixations, fixations / 1.0


def maps_of(axes) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in axes.images[1:]]


def test_columns_are_methods_and_rows_examples():
    images, fixations, target = example(3)
    figure = saliency_figure(images, fixations, target, [("x", target), ("y", target)], ["i", "j", "k"])
    grid = np.array(figure.axes[:12]).reshape(3, 4)
    assert [axes.get_title() for axes in grid[0]] == ["frame and gaze", "ground truth", "x", "y"]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["i", "j", "k"]
    assert [len(axes.images) for axes in grid[0]] == [1, 2, 2, 2]


def test_gaze_points_lie_at_the_middle_of_their_cell_in_every_column():
    images, fixations, target = example(1)
    figure = saliency_figure(images, fixations, target, [("x", target)], ["i"])
    for axes in figure.axes[:3]:
        assert axes.lines[-1].get_xydata().tolist() == [[5.5 / 8, 2.5 / 8]]


def test_maps_are_shown_relative_to_uniform_whatever_their_sum():
    images, fixations, target = example(1)
    peaked = np.full((1, 8, 8), 1.0)
    peaked[0, 1, 1] = 4.0
    figure = saliency_figure(images, fixations, target, [("one", peaked), ("seven", 7 * peaked)], ["i"])
    one, seven = (maps_of(axes)[0] for axes in figure.axes[2:4])
    assert one[1, 1] == pytest.approx(4.0 * 64 / 67)
    assert np.allclose(one, seven)


def test_a_map_that_says_nothing_is_transparent():
    images, fixations, target = example(1)
    flat, empty = np.full((1, 8, 8), 0.3), np.zeros((1, 8, 8))
    figure = saliency_figure(images, fixations, target, [("flat", flat), ("empty", empty)], ["i"])
    for axes in figure.axes[2:4]:
        assert np.allclose(np.asarray(axes.images[1].get_alpha()), 0.0, atol=1e-12)
    figure.canvas.draw()


@pytest.mark.parametrize("wrong", ["titles", "shape", "none"])
def test_examples_that_do_not_fit_are_refused(wrong):
    images, fixations, target = example(0 if wrong == "none" else 2)
    titles = ["i"] * (len(images) + (wrong == "titles"))
    prediction = target[:, :4] if wrong == "shape" else target
    with pytest.raises(ValueError, match="no example" if wrong == "none" else "one shape"):
        saliency_figure(images, fixations, target, [("x", prediction)], titles)
