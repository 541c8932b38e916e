# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.handlers.embedding_picture import embed_in_plane, embedding_figure


def groups(n: int = 20, dim: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    labels = np.repeat([0, 1, 2], n)
    return 8 * rng.randn(3, dim)[labels] + rng.randn(3 * n, dim), labels


def test_neighbours_stay_neighbours_and_the_seed_decides():
    vectors, labels = groups()
    points = embed_in_plane(vectors, seed=3)
    for index, point in enumerate(points):
        distance = np.linalg.norm(points - point, axis=1)
        distance[index] = np.inf
        assert labels[distance.argmin()] == labels[index]
    assert np.array_equal(points, embed_in_plane(vectors, seed=3))


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 7])
def test_few_vectors_have_a_place_too(number):
    points = embed_in_plane(np.random.RandomState(0).randn(number, 3))
    assert points.shape == (number, 2) and np.isfinite(points).all()


def test_a_single_dimension_can_be_drawn():
    points = embed_in_plane(np.random.RandomState(0).randn(3, 1))
    assert points.shape == (3, 2) and not points[:, 1].any()


def test_collapsed_embeddings_are_named():
    constant = np.full((30, 8), 0.3, np.float32)
    assert not embed_in_plane(constant).any()
    figure = embedding_figure([("x", constant)], np.zeros(30, int), PLANES)
    assert [text.get_text() for text in figure.axes[0].texts] == ["all embeddings are the same"]


def test_the_legend_has_the_classes_that_occur_with_their_numbers():
    vectors, labels = groups(5)
    labels = np.where(labels == 1, -1, np.where(labels == 2, 13, 4))
    figure = embedding_figure([("video", vectors), ("speech", vectors[:, :3])], labels, PLANES)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["BrainTv (5)", "background (5)", "no label (5)"]
    assert [axes.get_title() for axes in figure.axes] == ["video", "speech"]


def test_a_class_looks_the_same_whatever_else_is_there_and_no_two_look_alike():
    looks = {}
    for index in range(14):
        labels = np.array([index, index, 13])
        figure = embedding_figure([("x", np.eye(3))], labels, PLANES)
        handle = figure.legends[0].legend_handles[0]
        looks[index] = (to_hex(handle.get_color()), handle.get_marker())
    assert len(set(looks.values())) == 14
    together = embedding_figure([("x", np.random.RandomState(0).randn(14, 4))], np.arange(14), PLANES)
    handles = together.legends[0].legend_handles
    assert {i: (to_hex(h.get_color()), h.get_marker()) for i, h in enumerate(handles)} == looks


def test_many_items_are_thinned_out_evenly():
    vectors, labels = groups(200, dim=4)
    figure = embedding_figure([("x", vectors)], labels, PLANES, max_points=30)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["3VT (10)", "4CH (10)", "abdomen (10)"]


@pytest.mark.parametrize("panels", [[], [("x", np.eye(3)), ("y", np.eye(4))]])
def test_panels_must_fit_the_labels(panels):
    with pytest.raises(ValueError, match="3 items"):
        embedding_figure(panels, np.zeros(3, int), PLANES)
