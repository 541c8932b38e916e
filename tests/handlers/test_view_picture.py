# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from matplotlib.figure import Figure
from PIL import Image

from monai_usspeech.engines.prepare_views import PrepareViewBatch
from monai_usspeech.handlers.view_picture import ViewPictureHandler, draw_views_picture
from tests.engines.test_prepare_views import batch

DATASET = SimpleNamespace(classes=("healthy", "covid"), item_name=lambda item: f"video v{item:02d}")
PREPARE = PrepareViewBatch(24, frame_mean=0.4, frame_std=0.2)


def rows(figure: Figure) -> list[tuple[str, list[str], list[np.ndarray]]]:
    """Title of each row, its axes' titles and its pictures."""
    return [
        (
            part.get_suptitle(),
            [axes.get_title() for axes in part.axes],
            [np.asarray(axes.images[0].get_array(), np.float64) for axes in part.axes],
        )
        for part in figure.subfigs
    ]


def test_a_row_shows_what_was_read_and_what_the_network_gets():
    data = batch(frames=2)
    views, _ = PREPARE(data)
    drawn = rows(draw_views_picture(data, DATASET, PREPARE, n_examples=3))
    assert [title for title, _, _ in drawn] == [
        "video v00: class 2", "video v01: no label", "video v02: healthy"
    ]  # fmt: skip
    for item, (_, titles, pictures) in enumerate(drawn):
        assert titles == ["frame 1", "frame 2", "view 1", "view 2"]
        for frame in range(2):
            np.testing.assert_array_equal(pictures[frame], data["image"][item, frame, 0])
            np.testing.assert_allclose(pictures[2 + frame], views[frame, item, 0] * 0.2 + 0.4, atol=1e-6)


def test_mixed_views_say_what_is_in_them():
    data = {**batch(frames=3, mix=True), "mix": torch.tensor([0.25, 1.0, 0.5, 0.0])}
    drawn = rows(draw_views_picture(data, DATASET, PREPARE))
    assert drawn[0][1][:3] == ["frame 1", "frame 2", "frame 3"]
    assert drawn[0][1][3:] == ["view 1: 0.25 of 1, 0.75 of 2", "view 2: 0.25 of 3, 0.75 of 2"]
    # a coefficient of 0 leaves the anchor alone, in both views
    np.testing.assert_allclose(drawn[3][2][3], drawn[3][2][4], atol=1e-6)
    assert np.abs(drawn[1][2][3] - drawn[1][2][4]).max() > 0.05


def test_a_frame_read_for_both_views_is_drawn_once():
    data = batch(frames=2)
    data["image"] = data["image"][:, :1].expand(-1, 2, -1, -1, -1).contiguous()
    assert rows(draw_views_picture(data, DATASET, PREPARE))[0][1] == ["frame", "view 1", "view 2"]


@pytest.mark.parametrize("channels", [1, 3])
def test_one_view_and_one_item(channels):
    data = {name: value[:1] for name, value in batch(frames=1).items()}
    data["image"] = data["image"].expand(-1, -1, channels, -1, -1)
    ((_, titles, pictures),) = rows(draw_views_picture(data, DATASET, PREPARE))
    assert titles == ["frame", "view 1"]
    assert pictures[1].shape == ((24, 24, 3) if channels == 3 else (24, 24))


def test_the_handler_draws_once_for_each_run_folder(tmp_path):
    path = tmp_path / "run" / "views.png"

    def train(data) -> None:
        trainer = Engine(lambda engine, batch: None)
        ViewPictureHandler(str(path), DATASET, PREPARE).attach(trainer)
        trainer.run([data, batch(frames=3)], max_epochs=2)

    data = batch(frames=2)
    before = {name: value.clone() for name, value in data.items()}
    train(data)
    assert all(torch.equal(value, before[name]) for name, value in data.items())  # the step still gets its batch
    first = path.read_bytes()
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 500
    train(batch(frames=1))
    assert path.read_bytes() == first and [p.name for p in path.parent.iterdir()] == ["views.png"]
