# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from monai_usspeech.data.annotations import PlaneInterval, StandardPlane
from monai_usspeech.phantom import Phantom
from monai_usspeech.phantom.anatomy import ORGANS
from monai_usspeech.phantom.lexicon import ORGAN_WORDS, PLANE_WORDS
from monai_usspeech.phantom.narration import WordEvent
from monai_usspeech.phantom.oracle import matching_words

PLANES = (
    PlaneInterval(2.0, 6.0, StandardPlane("4CH")),
    PlaneInterval(6.0, 9.0, StandardPlane("background")),
    PlaneInterval(9.0, 12.0, StandardPlane("3VT")),
)


def found(*words: tuple[float, float, str, str]) -> list[tuple]:
    return [tuple(row) for row in matching_words(PLANES, [WordEvent(*word) for word in words])]


def test_own_word_and_organ_word_count_while_the_plane_is_there():
    assert found((3.0, 3.9, "four chambers", "plane")) == [(3.0, 3.9, "four chambers", "4CH")]
    assert found((3.0, 3.4, "heart", "organ"), (10.0, 10.4, "heart", "organ")) == [
        (3.0, 3.4, "heart", "4CH"),
        (10.0, 10.4, "heart", "3VT"),
    ]
    assert found((5.5, 6.4, "four chambers", "plane")) == [(5.5, 6.0, "four chambers", "4CH")]
    assert found((1.6, 2.5, "four chambers", "plane")) == [(2.0, 2.5, "four chambers", "4CH")]


def test_everything_else_does_not_count():
    for word in [
        (7.0, 7.9, "four chambers", "plane"),  # the plane has gone
        (0.5, 1.4, "four chambers", "plane"),  # it is still looked for
        (10.0, 10.9, "four chambers", "plane"),  # another plane is shown
        (3.0, 3.4, "brain", "organ"),
        (3.0, 3.4, "lovely", "chatter"),
        (6.0, 6.4, "heart", "organ"),
    ]:
        assert found(word) == []


def test_of_a_scan_it_is_what_a_walk_through_time_finds():
    course = Phantom(seed=5, seconds=40.0).course(1)
    rows = matching_words(course.planes, course.narration.words)
    matching = 0
    for step in range(40_000):
        time = (step + 0.5) / 1000
        plane = next((str(p.plane) for p in course.planes if p.start <= time < p.end), "background")
        word = next((w.word for w in course.narration.words if w.start <= time < w.end), None)
        names = set() if plane == "background" else {PLANE_WORDS[plane][0], ORGAN_WORDS[ORGANS[plane]][0]}
        assert any(row.start <= time < row.end for row in rows) == (word in names)
        matching += word in names
    assert 2_000 < matching < 38_000 and all(row.end > row.start for row in rows)
