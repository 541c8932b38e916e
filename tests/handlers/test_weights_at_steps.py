# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Events

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.weights import check_unseen
from monai_usspeech.handlers.run_state import RunStateHandler
from monai_usspeech.handlers.weights_at_steps import WeightsAtStepsHandler
from tests.engines.tiny import tiny_training


class StopError(Exception):
    """Stands for a killed process."""


def run(folder, steps, accumulation=1, stop_at=None, first=True, seed=0, every_iterations=1):
    """Train 3 epochs of 6 batches; the network's first weights after each change of them, in order."""

    def handlers(parts, sampler):
        state = RunStateHandler(str(folder / "run_state.pt"), parts, sampler, every_iterations=every_iterations)
        keep = WeightsAtStepsHandler(parts["network"], folder, steps, {"subjects": ["p001"]})
        return [state, keep] if first else [keep, state]

    trainer, parts, _ = tiny_training(handlers, epochs=3, accumulation=accumulation, seed=seed)
    weight = parts["network"][0].weight
    seen = [weight.detach().clone()]

    @trainer.on(Events.ITERATION_COMPLETED)
    def look(engine):
        if not torch.equal(weight, seen[-1]):
            seen.append(weight.detach().clone())
        if engine.state.iteration == stop_at:
            raise StopError

    try:
        trainer.run()
    except StopError:
        pass
    return seen[1:]


def kept(folder):
    files = {int(path.stem.removeprefix("model_step")): path for path in folder.glob("model_step*.pt")}
    return {step: torch.load(path, weights_only=True)["0.weight"] for step, path in sorted(files.items())}


@pytest.mark.parametrize(("accumulation", "n_steps", "steps"), [(1, 18, [1, 7, 18]), (4, 6, [2, 3, 6]), (6, 3, [3])])
def test_the_weights_are_those_after_the_steps_of_the_optimiser(tmp_path, accumulation, n_steps, steps):
    after = run(tmp_path, steps, accumulation)
    assert len(after) == n_steps  # 6 batches an epoch: those left over by the accumulation are a step too
    found = kept(tmp_path)
    assert list(found) == steps
    for step, weight in found.items():
        assert torch.equal(weight, after[step - 1])
        facts = json.loads((tmp_path / f"model_step{step}.json").read_text())
        assert facts == {"subjects": ["p001"], "step": step}
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("every_iterations", [1, None])
@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("first", [True, False])
def test_a_killed_run_keeps_what_one_that_was_not_would(tmp_path, accumulation, first, every_iterations):
    steps = [1, 3, 4, 6]
    run(tmp_path / "whole", steps, accumulation)
    whole = kept(tmp_path / "whole")
    assert list(whole) == steps
    folder = tmp_path / "killed"
    for stop_at in (5, 9, 14):
        run(folder, steps, accumulation, stop_at, first, every_iterations=every_iterations)
    before = (folder / "model_step1.pt").stat().st_mtime_ns
    run(folder, steps, accumulation, None, first, seed=99)
    assert (folder / "model_step1.pt").stat().st_mtime_ns == before  # passed long ago: left alone
    for step, weight in kept(folder).items():
        assert torch.equal(weight, whole[step]), step
    assert list(kept(folder)) == steps
    run(folder, steps, accumulation)  # finished, and started again: nothing is asked for that is not there


def test_the_weights_know_whom_they_have_seen(tmp_path):
    run(tmp_path, [2])
    check_unseen(tmp_path / "model_step2.pt", ["p002"])
    with pytest.raises(InputError, match="model_step2.pt was trained on 1 of the test subjects"):
        check_unseen(tmp_path / "model_step2.pt", ["p001"])


@pytest.mark.parametrize(("accumulation", "last"), [(1, 18), (4, 6)])
def test_a_step_after_the_end_is_refused_before_the_first(tmp_path, accumulation, last):
    run(tmp_path / "whole", [last], accumulation)
    with pytest.raises(
        InputError, match=f"keep_steps: the run ends after {last} optimiser steps, before step {last + 1}"
    ):
        run(tmp_path / "beyond", [1, last + 1], accumulation)
    assert not kept(tmp_path / "beyond")


def test_a_step_that_a_resumed_run_is_past_is_refused(tmp_path):
    run(tmp_path, [2], stop_at=9)  # its state is that of step 8
    with pytest.raises(InputError, match="at step 8 and did not keep step 3"):
        run(tmp_path, [2, 3])
    run(tmp_path, [2, 12])
    assert list(kept(tmp_path)) == [2, 12]


@pytest.mark.parametrize("steps", [400, [0], [1.5], ["2"], [True], "12"])
def test_what_is_no_list_of_steps_is_one_sentence(tmp_path, steps):
    with pytest.raises(InputError, match="give a list of whole numbers from 1 on"):
        WeightsAtStepsHandler(torch.nn.Linear(1, 1), tmp_path, steps)
