# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents

from monai_usspeech.handlers.gradient_clip import GradientClipHandler
from monai_usspeech.handlers.history import HistoryHandler
from tests.engines.tiny import tiny_training


def norms_after(handler, **options):
    trainer, parts, _ = tiny_training(lambda parts, sampler: [handler], epochs=1, **options)
    norms, reports = [], []

    def look(engine):
        gradients = [p.grad for p in parts["network"].parameters()]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, look)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: reports.append(engine.state.output.get("gradient"))
    )
    trainer.run()
    return norms, reports


def test_the_norm_is_cut_and_the_norm_before_is_reported():
    free, _ = norms_after(GradientClipHandler(max_norm=1e9))
    cut, reports = norms_after(GradientClipHandler(max_norm=0.5))
    assert max(cut) <= 0.5 * (1 + 1e-5)
    assert reports[0]["gradient_norm"] == pytest.approx(free[0], rel=1e-6)
    assert [report["clipped"] for report in reports] == [float(report["gradient_norm"] > 0.5) for report in reports]
    assert sum(report["clipped"] for report in reports) > 0


def test_a_generous_bound_changes_nothing():
    _, reports = norms_after(GradientClipHandler(max_norm=1e9))
    assert [report["clipped"] for report in reports] == [0.0] * 6


def test_without_a_bound_the_norm_is_only_watched():
    free, reports = norms_after(GradientClipHandler(max_norm=1e9))
    watched, only = norms_after(GradientClipHandler(max_norm=None))
    assert watched == free
    assert [set(report) for report in only] == [{"gradient_norm"}] * len(reports)


def test_values_are_cut_element_by_element():
    trainer, parts, _ = tiny_training(lambda *_: [GradientClipHandler(max_value=0.01)], epochs=1)
    largest = []
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED,
        lambda engine: largest.append(max(float(p.grad.abs().max()) for p in parts["network"].parameters())),
    )
    trainer.run()
    assert max(largest) <= 0.01 + 1e-9


def test_with_accumulation_only_the_sum_is_clipped():
    _, reports = norms_after(GradientClipHandler(max_norm=0.5), accumulation=3)
    assert [report is not None for report in reports] == [False, False, True, False, False, True]


def test_a_gradient_that_is_not_finite_stops_training():
    trainer, parts, _ = tiny_training(lambda *_: [GradientClipHandler()], epochs=1)
    before = parts["network"][0].weight.detach().clone()
    parts["network"][3].bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(RuntimeError, match="not finite .* at iteration 1"):
        trainer.run()
    assert torch.equal(parts["network"][0].weight, before)


@pytest.mark.parametrize("bounds", [{"max_norm": 0.0}, {"max_value": -1.0}])
def test_a_bound_must_be_positive(bounds):
    with pytest.raises(ValueError, match="positive"):
        GradientClipHandler(**bounds)


def mixed_precision(handlers, scale: float, epochs: int = 1):
    """A training with a gradient scaler that works on the CPU."""
    trainer, parts, _ = tiny_training(lambda *_: handlers, epochs=epochs)
    trainer.amp = True
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine, "scaler", scaler))
    return trainer, parts


@pytest.mark.filterwarnings("ignore")
def test_a_step_that_the_scaler_skips_has_no_norm(tmp_path):
    handler = HistoryHandler(str(tmp_path), every=1, draw=False)
    trainer, _ = mixed_precision([GradientClipHandler(), handler], scale=2.0**127)
    trainer.run()
    rows, mean = handler.rows("iteration"), handler.rows("epoch")[0]
    assert rows[0]["skipped"] == 1 and "gradient_norm" not in rows[0] and "clipped" not in rows[0]
    assert rows[-1]["skipped"] == 0 and rows[-1]["gradient_norm"] > 0
    assert 0 < mean["skipped"] < 1
    assert torch.isfinite(torch.tensor(mean["gradient_norm"]))


@pytest.mark.filterwarnings("ignore")
def test_a_scaler_that_only_skips_stops_training():
    trainer, parts = mixed_precision([GradientClipHandler()], scale=2.0**16, epochs=20)
    parts["network"][3].bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(RuntimeError, match="not finite .* at iteration 50, for the 50th step in a row"):
        trainer.run()


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a CUDA device the scaler is not disabled")
@pytest.mark.filterwarnings("ignore")
def test_a_disabled_scaler_guards_nothing():
    trainer, parts, _ = tiny_training(lambda *_: [GradientClipHandler()], epochs=1)
    trainer.amp = True  # without a CUDA device the trainer's own scaler is disabled
    parts["network"][3].bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(RuntimeError, match="not finite .* at iteration 1:"):
        trainer.run()
