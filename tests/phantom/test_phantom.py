# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.phantom_speckle import speckle_matches
from monai_usspeech.data.files import InputError
from monai_usspeech.phantom.phantom import Phantom, PhantomScan

SMALL = {"size": 128, "frame_rate": 5.0, "seconds": 16.0, "grid": (72, 144)}


@pytest.fixture(scope="module")
def scan() -> PhantomScan:
    return Phantom(seed=0, **SMALL).scan(1)


def test_shapes_types_and_clock(scan: PhantomScan):
    assert scan.frames.shape == (80, 128, 128) and scan.frames.dtype == np.uint8
    np.testing.assert_allclose(scan.times, np.arange(80) / 5.0)
    assert scan.speech.shape == (16 * 24000,) and scan.speech.dtype == np.int16
    assert scan.id == "s001" and scan.subject == "p001"
    assert scan.planes and all(0 <= plane.start < plane.end <= 16.0 for plane in scan.planes)
    assert all(0 <= word.start < word.end <= 16.0 for word in scan.words)


def test_a_scan_depends_on_seed_and_index_only(scan: PhantomScan):
    phantom = Phantom(seed=0, **SMALL)
    other = phantom.scan(0)  # made first, must not matter
    again = phantom.scan(1)
    np.testing.assert_array_equal(again.frames, scan.frames)
    np.testing.assert_array_equal(again.speech, scan.speech)
    np.testing.assert_array_equal(again.gaze.x, scan.gaze.x)
    assert again.planes == scan.planes and again.words == scan.words
    assert (other.frames != scan.frames).mean() > 0.2 and other.words != scan.words
    reseeded = Phantom(seed=1, **SMALL).course(1)
    assert reseeded.planes != scan.planes and (reseeded.speech() != scan.speech).mean() > 0.9


def test_labels_and_sound_do_not_depend_on_the_resolution(scan: PhantomScan):
    finer = Phantom(seed=0, size=256, frame_rate=30.0, seconds=16.0).course(1)
    assert finer.planes == scan.planes and finer.narration.words == scan.words
    np.testing.assert_array_equal(finer.speech(), scan.speech)
    np.testing.assert_allclose((finer.gaze().x + 0.5) / 2, scan.gaze.x + 0.5)


def test_tissue_lies_in_the_fan_and_writing_outside(scan: PhantomScan):
    frames, mask = scan.frames.astype(float), scan.fan_mask
    assert frames[:, mask].mean() > 40 and (frames[:, mask] > 15).mean() > 0.6
    assert (frames[:, ~mask] > 0).mean() < 0.1
    moving = frames.std(0) > 4
    assert moving[mask].mean() > 0.9 and moving[~mask].mean() < 0.03
    clock = np.nonzero(moving & ~mask)[0]
    assert len(clock) and clock.max() < 20  # what moves outside is the clock and the freeze mark, at the top


def test_gaze_is_on_the_canvas_and_has_gaps():
    gaze = Phantom(seed=0, **{**SMALL, "seconds": 60.0}).course(1).gaze()
    x, y = gaze.x, gaze.y
    seen = ~np.isnan(x)
    assert 0.85 < seen.mean() < 1.0
    assert ((x[seen] > 0) & (x[seen] < 127) & (y[seen] > 0) & (y[seen] < 127)).mean() > 0.98


@pytest.mark.parametrize("snr", [8.0, 15.0])
def test_energy_is_higher_while_words_are_spoken(snr: float):
    course = Phantom(seed=0, snr=(snr, snr), seconds=30.0).course(1)
    power = (course.speech().astype(float).reshape(-1, 240) ** 2).mean(1)
    spoken = np.zeros(len(power), dtype=bool)
    quiet = np.ones(len(power), dtype=bool)
    for word in course.narration.words:
        spoken[int(word.start * 100) : int(word.end * 100)] = True
        quiet[max(0, int(word.start * 100) - 5) : int(word.end * 100) + 25] = False
    # closures and gaps within words are silent, so a word's mean lies some dB below its loud half
    assert snr - 4 < 10 * np.log10(power[spoken].mean() / np.median(power[quiet])) < snr + 3
    assert np.median(power[spoken]) > 2 * np.median(power[quiet])


def test_speckle_moves_with_the_tissue_and_does_not_boil():
    (near,), unrelated = speckle_matches(scans=4, lags=[0.1])
    assert near > 0.8
    assert near > unrelated + 0.3


def test_scans_of_a_subject_share_the_fetus_and_nothing_else():
    phantom = Phantom(seed=0, scans_per_subject=2, **SMALL)
    first, second, other = (phantom.course(index) for index in (0, 1, 2))
    assert first.subject == second.subject != other.subject
    assert first._scale == second._scale != other._scale
    assert first.timeline != second.timeline


def test_every_plane_comes_first_once_in_13_scans():
    phantom = Phantom(seed=5, **SMALL)
    first = [next(s.plane for s in phantom.course(i).timeline.sweeps if s.plane != "background") for i in range(13)]
    assert len(set(first)) == 13


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 129}, "even"), ({"size": 64}, "at least 96"), ({"seed": -1}, "seed"), ({"seconds": 0}, "than 0"),
        ({"dwell": (8, 4)}, "smaller first"), ({"freeze_share": 2}, "0..1"), ({"grid": (8, 8)}, "at least 16"),
        ({"narration": {"gapp": 1}}, 'Did you mean "gap"'), ({"narration": {"plane_share": 2}}, "0..1"),
        ({"narration": {"plane_share": 0.9, "organ_share": 0.9}}, "must not exceed 1"), ({"grid": 8}, "two numbers"),
        ({"narration": {"gap": -1}}, "negative"), ({"narration": 5}, "by name"), ({"dwell": 3}, "two numbers"),
        ({"snr": "abc"}, "two numbers"), ({"size": "abc"}, "a number"), ({"size": 128.5}, "whole number"),
        ({"seconds": float("nan")}, "a number"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(settings: dict, message: str):
    with pytest.raises(InputError, match=message):
        Phantom(**settings)
    with pytest.raises(InputError, match="index"):
        Phantom().course(-1)
