# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine
from PIL import Image

from monai_usspeech.handlers.history import HistoryHandler, iteration_values


def run(folder, outputs, epochs=2, **options):
    """Run an engine whose iterations have the given outputs."""
    handler = HistoryHandler(str(folder), **options)
    engine = Engine(lambda engine, batch: batch)
    handler.attach(engine)
    engine.run(outputs, max_epochs=epochs)
    return handler, engine


def outputs():
    return [
        {"loss": 1.0, "terms": {"loss_cls": 0.5}, "figures": {"accuracy_cls": 1.0}},
        {"loss": 2.0, "terms": {"loss_cls": 1.5}, "figures": {}},
        {"loss": 6.0, "terms": {}, "figures": {"accuracy_cls": 0.0}, "gradient": {"gradient_norm": 3.0}},
    ]


def test_a_number_that_an_iteration_lacks_is_left_out_of_the_mean(tmp_path):
    handler, engine = run(tmp_path, outputs(), every=1)
    row = handler.rows("epoch")[0]
    assert row == {
        "kind": "epoch",
        "epoch": 1,
        "iteration": 3,
        "loss": 3.0,
        "loss_cls": 1.0,
        "accuracy_cls": 0.5,
        "gradient_norm": 3.0,
    }
    assert engine.state.metrics["loss"] == 3.0
    assert [row["iteration"] for row in handler.rows("iteration")] == [1, 2, 3, 4, 5, 6]


def test_every_nth_iteration_is_written(tmp_path):
    handler, _ = run(tmp_path, outputs(), every=2)
    assert [row["iteration"] for row in handler.rows("iteration")] == [2, 4, 6]


def test_lines_after_the_resumed_state_and_half_lines_are_dropped(tmp_path):
    handler, _ = run(tmp_path, outputs(), every=1, draw=False)
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"kind": "iteration", "epo')
    fresh = HistoryHandler(str(tmp_path), draw=False)
    fresh.load_state_dict({"sums": {}, "counts": {}, "iteration": 4})
    engine = Engine(lambda engine, batch: batch)
    fresh.attach(engine)
    fresh._start(engine)
    assert [row["iteration"] for row in fresh.rows("iteration")] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines())


def test_the_curves_are_a_picture(tmp_path):
    run(tmp_path, outputs())
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 300
        assert picture.convert("L").getextrema() == pytest.approx((0, 255), abs=60)


def test_the_curves_take_a_twentieth_of_the_time_at_most_and_end_complete(tmp_path, monkeypatch):
    clock, drawings = [0.0], []

    def draw(rows, path):
        clock[0] += 2.0
        drawings.append(len(rows))

    def step(engine, batch):
        clock[0] += 1.0
        return {"loss": 1.0}

    monkeypatch.setattr("monai_usspeech.handlers.history.draw_curves", draw)
    monkeypatch.setattr("monai_usspeech.handlers.history.time.monotonic", lambda: clock[0])
    engine = Engine(step)
    HistoryHandler(str(tmp_path)).attach(engine)
    engine.run([0], max_epochs=100)
    # the first, then whenever 38 epochs of a second have passed, and the last
    assert drawings == [1, 39, 77, 100]


def test_a_number_that_an_epoch_lacks_is_not_that_of_the_epoch_before(tmp_path):
    epochs = {1: {"loss": 1.0, "terms": {"loss_cls": 0.5}}, 2: {"loss": 2.0, "terms": {}}}
    handler = HistoryHandler(str(tmp_path), draw=False)
    engine = Engine(lambda engine, batch: epochs[engine.state.epoch])
    handler.attach(engine)
    engine.run([0], max_epochs=2)
    assert ["loss_cls" in row for row in handler.rows("epoch")] == [True, False]
    assert "loss_cls" not in engine.state.metrics


def test_the_share_of_clips_with_high_affinity_is_a_number_of_the_batch(tmp_path):
    output = {"loss": 1.0, "label": {"affinity": torch.tensor([1.0, 0.0, 0.0, 1.0])}}
    assert iteration_values(output)["high_affinity"] == 0.5


def test_the_log_says_what_is_trained_on(tmp_path, caplog):
    class Data:
        def summary(self):
            return {"clips": 12, "share_high_affinity": 0.25}

    with caplog.at_level("INFO"):
        run(tmp_path, outputs(), dataset=Data())
    assert "clips 12, share_high_affinity 0.25" in caplog.text
