# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_usspeech.phantom.anatomy import ORGANS
from monai_usspeech.phantom.motion import MOTION_RATE, contraction, draw_motion, ornstein_uhlenbeck
from monai_usspeech.phantom.streams import random_stream
from monai_usspeech.phantom.timeline import OUT_OF_SIGHT, PLANE_DEPTH, Timeline, plan_timeline, plane_intervals


def test_streams_depend_on_every_key_and_on_nothing_else():
    keys = [(0, "a"), (0, "b"), (1, "a"), (0, "a", 1), (0, 1, "a")]
    first = [random_stream(seed, *rest).random() for seed, *rest in keys]
    assert len(set(first)) == len(keys)
    assert first == [random_stream(seed, *rest).random() for seed, *rest in keys]


def test_ornstein_uhlenbeck_has_the_stated_deviation_and_correlation_time():
    path = ornstein_uhlenbeck(np.random.default_rng(0), 400_000, 0.1, 0.8)
    assert path.std() == pytest.approx(0.1, rel=0.05)
    lag = round(0.8 * MOTION_RATE)
    assert np.corrcoef(path[:-lag], path[lag:])[0, 1] == pytest.approx(np.exp(-1), abs=0.06)


def test_the_heart_contracts_once_a_cycle_in_its_first_part():
    cycle = np.linspace(0, 1, 1001)
    assert contraction(cycle).max() == pytest.approx(1.0, abs=1e-4)
    assert contraction(cycle)[401:].max() == 0
    np.testing.assert_allclose(contraction(cycle), contraction(cycle + 3), atol=1e-9)


@pytest.fixture(scope="module", params=range(6))
def timeline(request: pytest.FixtureRequest) -> Timeline:
    return plan_timeline(np.random.default_rng(request.param), 120.0, "femur")


def test_sweeps_follow_one_another_and_start_and_end_out_of_sight(timeline: Timeline):
    for before, after in zip(timeline.sweeps, timeline.sweeps[1:]):
        assert before.end == after.start
    for sweep in timeline.sweeps:
        ends = sweep.offset(np.array([sweep.start, sweep.end]))
        np.testing.assert_allclose(np.abs(ends), OUT_OF_SIGHT, atol=1e-9)
        middle = sweep.offset(np.array([(sweep.start + sweep.approach + sweep.end - sweep.leave) / 2]))
        assert abs(middle[0]) < 0.05


def test_planes_are_all_visited_before_one_comes_again(timeline: Timeline):
    planes = [sweep.plane for sweep in timeline.sweeps if sweep.plane != "background"]
    assert planes[0] == "femur" and len(set(planes[:13])) == min(len(planes), 13)


def test_tissue_stands_still_while_frozen_and_keeps_pace_otherwise(timeline: Timeline):
    wall = np.arange(0, 120, 0.01)
    tissue = timeline.tissue_time(wall)
    frozen = np.zeros(len(wall) - 1, dtype=bool)
    for start, seconds in timeline.freezes:
        frozen |= (wall[:-1] >= start - 0.011) & (wall[:-1] < start + seconds + 0.001)
    steps = np.diff(tissue)
    np.testing.assert_allclose(steps[~frozen], 0.01, atol=1e-9)
    assert (np.diff(tissue) >= -1e-9).all()
    assert wall[-1] - tissue[-1] == pytest.approx(sum(min(s, max(0, wall[-1] - t)) for t, s in timeline.freezes))


def test_intervals_are_the_times_at_which_a_planes_offset_is_small(timeline: Timeline):
    grid = np.arange(int(timeline.sweeps[-1].end * MOTION_RATE) + 2) / MOTION_RATE
    motion = draw_motion(np.random.default_rng(1), timeline.offset(grid))
    intervals = plane_intervals(timeline, motion.offset, MOTION_RATE, 120.0)
    assert intervals
    for interval in intervals:
        inside = np.arange(interval.start, interval.end, 0.05)
        tissue = timeline.tissue_time(inside)
        numbers = timeline.sweep_numbers(tissue)
        assert {timeline.sweeps[number].plane for number in numbers} == {str(interval.plane)} <= set(ORGANS)
        assert (np.abs(motion.at(tissue).offset) < PLANE_DEPTH + 0.02).mean() > 0.9
    assert all(a.end <= b.start for a, b in zip(intervals, intervals[1:]))
    dwell = np.mean([interval.end - interval.start for interval in intervals[:-1]])
    assert 3.0 < dwell < 9.5
