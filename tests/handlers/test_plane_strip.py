# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_usspeech.handlers.plane_strip import plane_strip_figure

CLASSES = ("a", "b", "c")


def strip(n_frames: int, **options):
    rng = np.random.RandomState(0)
    frames = np.arange(n_frames, dtype=np.uint8)[:, None, None] * np.ones((1, 6, 6), np.uint8)
    return plane_strip_figure(
        frames, 0.1 * np.arange(n_frames), rng.dirichlet(np.ones(3), n_frames), CLASSES, **options
    )


def test_the_frames_shown_are_the_middles_of_equal_stretches():
    figure = strip(20, n_shown=4)
    shown = [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes if axes.images]
    assert shown == [2, 7, 12, 17]
    assert [axes.get_xlabel() for axes in figure.axes if axes.images] == ["0.2 s", "0.7 s", "1.2 s", "1.7 s"]


def test_the_title_over_a_frame_is_its_most_probable_plane():
    probabilities = np.array([[0.2, 0.7, 0.1], [0.9, 0.05, 0.05]])
    figure = plane_strip_figure(np.zeros((2, 4, 4), np.uint8), np.array([0.0, 1.0]), probabilities, CLASSES)
    assert [axes.get_title() for axes in figure.axes if axes.images] == ["b 70%", "a 90%"]


def test_the_map_has_a_row_for_each_class_and_a_column_for_each_frame():
    figure = strip(5)
    (mesh,) = (axes.collections[0] for axes in figure.axes if axes.get_xlabel() == "seconds")
    assert mesh.get_array().shape == (3, 5)


def test_a_still_picture_has_bars():
    figure = strip(1)
    (bars,) = (axes for axes in figure.axes if axes.get_xlabel() == "probability")
    assert sum(bar.get_width() for bar in bars.patches) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (3, 3)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="expected T frames"):
        plane_strip_figure(np.zeros((min(4, shape[0] and 4), 6, 6), np.uint8), np.zeros(4), np.zeros(shape), CLASSES)
