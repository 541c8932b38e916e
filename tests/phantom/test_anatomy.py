# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.phantom.anatomy import ORGANS, PLANE_BUILDERS, plane_anatomy
from monai_usspeech.phantom.background import background_anatomy, surroundings
from monai_usspeech.phantom.lexicon import CHATTER_WORDS, ORGAN_WORDS, PHONES, PLANE_WORDS
from monai_usspeech.phantom.primitives import Placement, bar, disc
from monai_usspeech.phantom.timeline import OUT_OF_SIGHT


def test_there_is_one_anatomy_one_word_and_one_organ_for_every_plane():
    planes = set(PLANES) - {"background"}
    assert set(PLANE_BUILDERS) == set(PLANE_WORDS) == set(ORGANS) == planes
    assert set(ORGANS.values()) == set(ORGAN_WORDS)


def test_all_words_can_be_spelt_and_none_is_spelt_twice():
    spellings = [spelling for _, spelling in (*PLANE_WORDS.values(), *ORGAN_WORDS.values(), *CHATTER_WORDS)]
    assert len(set(spellings)) == len(spellings)
    assert {phone for spelling in spellings for phone in spelling.split()} <= set(PHONES)


@pytest.mark.parametrize("plane", sorted(PLANE_BUILDERS))
def test_nothing_of_a_plane_is_left_when_it_is_out_of_sight(plane: str):
    anatomy = plane_anatomy(plane, np.random.default_rng(0))
    assert 7 <= len(anatomy.shapes) <= 60 and 1 <= len(anatomy.targets) <= 3
    for shape in (
        *anatomy.shapes,
        *background_anatomy(np.random.default_rng(1)).shapes,
        *surroundings(np.random.default_rng(2)),
    ):
        assert abs(shape.z) + shape.extent <= OUT_OF_SIGHT + 1e-9


def test_a_fetus_differs_from_the_next_but_not_from_itself():
    first, same, other = (plane_anatomy("4CH", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == same and first != other


def test_placement_turns_scales_and_mirrors():
    place = Placement(x=0.2, y=1.0, rotation=np.pi / 2, scale=0.5)
    assert place.point(1.0, 0.0) == pytest.approx((0.2, 1.5))
    assert place.point(0.0, 1.0) == pytest.approx((-0.3, 1.0))
    mirrored = Placement(x=0.2, y=1.0, rotation=np.pi / 2, scale=0.5, mirror=True)
    assert mirrored.point(1.0, 0.0) == pytest.approx((0.2, 0.5))


@pytest.mark.parametrize("mirror", [False, True])
def test_a_placed_bar_ends_where_its_ends_are_placed(mirror: bool):
    place = Placement(x=0.1, y=1.1, rotation=0.7, scale=0.6, mirror=mirror)
    ends = (-0.4, 0.1), (0.5, 0.35)
    placed = place.primitive(bar(*ends[0], *ends[1], 0.05))
    along = placed.a * np.array([np.cos(placed.angle), np.sin(placed.angle)])
    found = {tuple(np.round(np.array([placed.x, placed.y]) + sign * along, 9)) for sign in (-1, 1)}
    assert found == {tuple(np.round(place.point(*end), 9)) for end in ends}


def test_attenuation_through_a_placed_shape_does_not_depend_on_the_scale():
    shape = disc(0, 0, 0.4, attenuation=3.0)
    losses = {round(p.a * p.attenuation, 9) for p in (Placement(scale=s).primitive(shape) for s in (0.3, 0.5, 0.8))}
    assert losses == {1.2}
