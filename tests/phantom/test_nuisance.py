# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from monai_usspeech.phantom import Phantom, SectorGeometry
from monai_usspeech.phantom.anatomy import PLANE_BUILDERS, plane_anatomy
from monai_usspeech.phantom.nuisance import MOST_NUISANCE, stretched
from monai_usspeech.phantom.renderer import Look

SMALL = {"seed": 3, "size": 96, "frame_rate": 2.0, "seconds": 12.0, "grid": (32, 64)}


def test_a_value_keeps_its_side_of_the_centre_and_its_bits_at_one():
    assert stretched(0.1 + 0.2, 0.7, 1.0) == 0.1 + 0.2
    assert stretched(5.0, 2.0, 0.0) == 2.0
    assert stretched(5.0, 2.0, 0.5) == 3.5 and stretched(1.0, 2.0, 2.0) == 0.0


def test_the_spread_of_fans_and_scanners_grows_in_proportion():
    def draws(nuisance: float) -> np.ndarray:
        fans = [SectorGeometry.random(np.random.default_rng(s), nuisance).half_angle for s in range(50)]
        looks = [dataclasses.asdict(Look.random(np.random.default_rng(s), nuisance)) for s in range(50)]
        names = ("gain", "dynamic_range", "slope", "noise", "lateral", "axial", "tissue")
        return np.column_stack([fans, *([look[name] for look in looks] for name in names)])

    one = draws(1.0)
    assert (draws(0.0).std(0) < 1e-12).all()
    for nuisance in (0.5, 2.0):
        np.testing.assert_allclose(draws(nuisance).std(0), nuisance * one.std(0), rtol=1e-9)
    assert math.degrees(np.ptp(one[:, 0])) > 4  # several fans, not one


@pytest.mark.parametrize("seed", range(8))
def test_the_widest_spread_still_gives_fans_that_fit_and_positive_widths(seed: int):
    fan = SectorGeometry.random(np.random.default_rng(seed), MOST_NUISANCE)
    outline = fan.outline(256)
    assert outline.min() > 0 and outline.max() < 256
    look = Look.random(np.random.default_rng(seed), MOST_NUISANCE)
    assert min(look.lateral, look.axial, look.tissue, look.dynamic_range - 30) > 0


def test_without_nuisance_every_fetus_is_the_mean_one_in_one_pose():
    for plane in ("4CH", "lips"):
        assert plane_anatomy(plane, np.random.default_rng(5), 0.0) == PLANE_BUILDERS[plane]()
    courses = [Phantom(nuisance=0.0, **SMALL).course(index) for index in range(6)]
    assert {(course._mirror, course._lie, course._scale) for course in courses} == {(False, 0.0, 0.61)}
    assert len({course.geometry for course in courses}) == 1


def test_below_one_fewer_scans_lie_the_other_way_round():
    def turned(nuisance: float) -> float:
        courses = (Phantom(nuisance=nuisance, **SMALL).course(index) for index in range(60))
        return float(np.mean([(course._mirror, course._lie > 0) for course in courses]))

    assert turned(1.0) == pytest.approx(0.5, abs=0.15)
    assert turned(0.5) == pytest.approx(0.25, abs=0.12)
    assert turned(2.0) == turned(1.0)


def test_course_planes_words_and_sound_do_not_depend_on_it_but_the_picture_does():
    some, more = (Phantom(nuisance=nuisance, **SMALL).course(1) for nuisance in (1.0, 1.5))
    assert some.timeline == more.timeline and some.planes == more.planes
    assert some.narration.words == more.narration.words
    np.testing.assert_array_equal(some.speech(), more.speech())
    np.testing.assert_array_equal(some.motion.offset, more.motion.offset)
    first, second = (np.concatenate(list(course.frames())).astype(float) for course in (some, more))
    assert np.abs(first - second).mean() > 5
