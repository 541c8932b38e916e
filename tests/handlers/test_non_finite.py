# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch

from monai_usspeech.handlers import non_finite
from monai_usspeech.handlers.non_finite import NonFiniteLossHandler
from tests.engines.tiny import Numbers, tiny_training


def test_training_stops_before_the_step_and_keeps_the_batch(tmp_path):
    handler = NonFiniteLossHandler(str(tmp_path), Numbers())
    trainer, parts, _ = tiny_training(lambda *_: [handler], epochs=1)
    parts["network"][3].bias.data.fill_(float("nan"))
    before = parts["network"][0].weight.detach().clone()
    with pytest.raises(RuntimeError, match=r"The loss is nan at iteration 1 .*scan s\d clip \d.*non_finite.json"):
        trainer.run()
    assert torch.equal(parts["network"][0].weight, before)
    report = json.loads((tmp_path / "non_finite.json").read_text())
    assert len(report["items"]) == 4
    assert report["terms"]["loss_error"] == "nan"
    # The file is enough to run the step again, and it gives the same loss.
    saved = torch.load(tmp_path / "non_finite.pt", weights_only=True)
    again, parts, _ = tiny_training(epochs=1)
    parts["network"].load_state_dict(saved["network"])
    assert torch.isnan(parts["loss"](parts["network"](saved["batch"]["image"]), saved["batch"]["label"]))


def test_a_finite_loss_leaves_no_trace(tmp_path):
    trainer, _, _ = tiny_training(lambda *_: [NonFiniteLossHandler(str(tmp_path))], epochs=1)
    trainer.run()
    assert list(tmp_path.iterdir()) == []


def test_each_process_keeps_its_own_part_of_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(non_finite, "process_rank", lambda: 1)
    monkeypatch.setattr(non_finite, "process_count", lambda: 2)
    trainer, parts, _ = tiny_training(lambda *_: [NonFiniteLossHandler(str(tmp_path), Numbers())], epochs=1)
    parts["network"][3].bias.data.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="non_finite_rank1.json"):
        trainer.run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["non_finite_rank1.json", "non_finite_rank1.pt"]
