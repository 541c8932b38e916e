# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from monai_usspeech.transforms.pairs import (
    PairSettings,
    SampleVideoSpeechPairs,
    SampleVideoSpeechPairsd,
    draw_pairs,
    frame_on_display,
    has_partner,
)
from monai_usspeech.transforms.voice_activity import clip_activity, window_activity


def random_flags(rng: np.random.RandomState, n_clips: int) -> np.ndarray:
    """Bursts of voice and pauses, each 0.1 to 2 s."""
    runs = rng.randint(10, 200, size=4 * n_clips)
    return np.repeat(np.arange(len(runs)) % 2 == 0, runs)[: 200 * n_clips]


def share(flags: np.ndarray, start: float, seconds: float = 0.6) -> float:
    """Share of [start, start + seconds) that is active: the integral over the flags, bin by bin."""
    total = 0.0
    for j in range(int(start * 100) - 1, int((start + seconds) * 100) + 2):
        overlap = min((j + 1) * 0.01, start + seconds) - max(j * 0.01, start)
        total += max(overlap, 0.0) * (0 <= j < len(flags) and bool(flags[j]))
    return total / seconds


def draw_many(n: int, **kwargs):
    rng = np.random.RandomState(0)
    return [draw_pairs(rng, **kwargs) for _ in range(n)]


def test_windows_and_frames_lie_inside_their_intervals():
    for record in draw_many(300, clip=5, n_clips=20, n_pairs=3):
        assert record.valid.all() and record.frame_times.shape == (3,)
        assert ((record.frame_times >= 10) & (record.frame_times < 12)).all()
        assert ((record.positive_starts >= 10) & (record.positive_starts <= 11.4)).all()
        begin = 10 + 2.0 * record.shifts
        assert ((record.negative_starts >= begin) & (record.negative_starts <= begin + 1.4)).all()
        assert ((np.abs(record.shifts) >= 1) & (np.abs(record.shifts) <= 4)).all()


def test_all_shifts_are_equally_likely():
    shifts = np.concatenate([r.shifts for r in draw_many(4000, clip=10, n_clips=20)])
    values, counts = np.unique(shifts, return_counts=True)
    assert values.tolist() == [-4, -3, -2, -1, 1, 2, 3, 4]
    assert np.abs(counts / len(shifts) - 1 / 8).max() < 0.02  # 5 standard errors


@pytest.mark.parametrize("clip", [0, 1, 18, 19])
def test_at_the_edges_of_a_scan_nothing_is_clamped(clip):
    shifts = np.concatenate([r.shifts for r in draw_many(500, clip=clip, n_clips=20)])
    expected = {q for q in (-4, -3, -2, -1, 1, 2, 3, 4) if 0 <= clip + q < 20}
    assert set(shifts.tolist()) == expected


def test_the_start_is_uniform_so_that_no_place_in_the_clip_tells_the_pair():
    records = draw_many(3000, clip=5, n_clips=20)
    for starts in (
        np.concatenate([r.positive_starts - 10 for r in records]),
        np.concatenate([r.negative_starts - 10 - 2 * r.shifts for r in records]),
    ):
        # Kolmogorov-Smirnov distance from U[0, 1.4]; 1.63 / sqrt(n) is its 1 % point.
        cdf = np.sort(starts) / 1.4
        distance = np.abs(cdf - np.arange(len(cdf)) / len(cdf)).max()
        assert distance < 1.63 / np.sqrt(len(cdf))


def test_a_lonely_clip_gives_no_valid_pair():
    for n_clips, usable in ((1, np.ones(1, bool)), (9, np.arange(9) == 4)):
        for record in draw_many(20, clip=n_clips // 2, n_clips=n_clips, usable=usable):
            assert not record.valid.any() and (record.shifts == 0).all()
            assert np.isnan(record.negative_starts).all() and not np.isnan(record.positive_starts).any()


def test_an_unusable_clip_gives_no_window_at_all():
    (record,) = draw_many(1, clip=3, n_clips=9, usable=np.arange(9) != 3)
    assert not record.valid.any() and np.isnan(record.positive_starts).all() and np.isnan(record.negative_starts).all()


def test_forward_shifts_only_when_asked():
    shifts = np.concatenate([r.shifts for r in draw_many(300, clip=5, n_clips=20, shift_sign="forward")])
    assert set(shifts.tolist()) == {1, 2, 3, 4}


@pytest.mark.parametrize(("unit", "seconds"), [("second", 1.0), ("frame", 1 / 30)])
def test_other_units_of_shift(unit, seconds):
    for record in draw_many(200, clip=0, n_clips=2, shift_unit=unit):
        begin = record.shifts * seconds
        assert ((record.shifts >= 1) & (begin + 2 <= 4 + 1e-9)).all()  # the scan has no second before 0 nor after 4
        assert ((record.negative_starts >= begin - 1e-9) & (record.negative_starts <= begin + 1.4)).all()


def test_gating_holds_both_windows_to_the_same_threshold():
    flags = random_flags(np.random.RandomState(1), 30)
    usable, activity = clip_activity(flags) >= 0.5, window_activity(flags)
    rng, valid = np.random.RandomState(0), 0
    for clip in np.flatnonzero(usable):
        for _ in range(10):
            record = draw_pairs(rng, int(clip), 30, gate=True, usable=usable, activity=activity)
            for k in np.flatnonzero(record.valid):
                valid += 1
                assert usable[clip + record.shifts[k]]
                for start, reported in (
                    (record.positive_starts[k], record.positive_activity[k]),
                    (record.negative_starts[k], record.negative_activity[k]),
                ):
                    assert share(flags, start) >= 0.5 - 1e-9
                    assert reported == pytest.approx(share(flags, start), abs=1e-9)
    assert valid > 100


def test_positive_and_negative_windows_are_drawn_by_the_same_rule():
    # All clips alike: voice in the first 0.9 s. Then the windows must have one distribution inside their clips.
    flags = np.tile(np.arange(200) < 90, 20)
    activity = window_activity(flags)
    records = draw_many(2000, clip=9, n_clips=20, gate=True, usable=np.ones(20, bool), activity=activity)
    positive = np.sort(np.concatenate([r.positive_starts for r in records]) - 18)
    negative = np.sort(np.concatenate([r.negative_starts - 2 * r.shifts for r in records]) - 18)
    assert positive.max() <= 0.6 + 1e-9  # a later start has less than 0.3 s of voice
    gap = max(abs(np.searchsorted(negative, x) - i) for i, x in enumerate(positive)) / len(positive)
    assert gap < 1.63 * np.sqrt(2 / len(positive))  # two-sample Kolmogorov-Smirnov, 1 % point


def test_a_slice_of_the_activity_gives_the_same_draw():
    flags = random_flags(np.random.RandomState(2), 30)
    usable = np.ones(30, bool)
    whole = draw_pairs(np.random.RandomState(3), 12, 30, gate=True, usable=usable, activity=window_activity(flags))
    part = draw_pairs(
        np.random.RandomState(3), 12, 30, gate=True, usable=usable,
        activity=window_activity(flags[8 * 200 : 17 * 200]), activity_start=1600,
    )  # fmt: skip
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(value, getattr(part, name))


def test_has_partner_agrees_with_what_can_be_drawn():
    rng = np.random.RandomState(0)
    for unit in ("interval", "second"):
        settings = PairSettings(shift_unit=unit)
        usable = rng.rand(25) < 0.25
        found = has_partner(usable, settings)
        for clip in range(25):
            record = draw_pairs(rng, clip, 25, usable=usable, shift_unit=unit)
            assert found[clip] == record.valid.all()


def test_frame_on_display_honours_variable_frame_rate():
    times = np.array([0.0, 0.1, 0.5, 0.55, 2.0])
    assert frame_on_display(times, np.array([0.0, 0.09, 0.1, 0.49, 0.5, 1.99, 7.0])).tolist() == [0, 0, 1, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 9},
        {"usable": np.ones(3, bool)},
        {"gate": True},
        {"window_seconds": 2.0},
        {"window_seconds": 0.605},
        {"shift_range": 1},
        {"shift_unit": "clip"},
        {"shift_sign": "back"},
        {"n_pairs": 0},
        {"threshold": 2.0},
    ],
)
def test_wrong_arguments_are_errors(wrong):
    with pytest.raises(ValueError):
        draw_pairs(np.random.RandomState(0), **{"clip": 0, "n_clips": 9, **wrong})


def scan_in_memory(seconds: int = 12, fps: float = 10.0):
    """A scan that tells its own time: each frame holds its number, each sample its number modulo 30,000."""
    n_frames = int(seconds * fps)
    video = torch.arange(n_frames, dtype=torch.uint8).reshape(1, -1, 1, 1).expand(1, n_frames, 4, 6)
    speech = torch.arange(seconds * 24000, dtype=torch.int64) % 30000
    return video, speech.to(torch.int16)


def test_the_transform_returns_what_its_record_says():
    video, speech = scan_in_memory()
    out = SampleVideoSpeechPairs(n_pairs=3).set_random_state(0)(video, speech, fps=10.0, clip=2)
    record = out["record"]
    assert out["frames"].shape == (3, 1, 4, 6) and out["speech_pos"].shape == out["speech_neg"].shape == (3, 14400)
    assert out["neg_valid"].all() and out["pair_valid"].all()
    for k in range(3):
        assert int(out["frames"][k, 0, 0, 0]) == int(record.frame_times[k] * 10 + 1e-6)
        for name, start in (("speech_pos", record.positive_starts[k]), ("speech_neg", record.negative_starts[k])):
            assert int(out[name][k, 0]) == round(start * 24000) % 30000
            assert int(out[name][k, -1]) == (round(start * 24000) + 14399) % 30000


def test_the_transform_replays_its_record_and_its_seed():
    video, speech = scan_in_memory()
    sample = SampleVideoSpeechPairs().set_random_state(4)
    first = sample(video, speech, fps=10.0)
    again = sample(video, speech, fps=10.0, randomize=False)
    other = SampleVideoSpeechPairs().set_random_state(4)(video.numpy(), speech.numpy(), frame_times=np.arange(120) / 10)
    for result in (again, other):
        for name in ("frames", "speech_pos", "speech_neg", "shift"):
            assert torch.equal(torch.as_tensor(result[name]), first[name])


def test_the_transform_gates_by_voice_flags():
    video, speech = scan_in_memory()
    flags = np.repeat([True, True, False, False, True, False], 200)
    sample = SampleVideoSpeechPairs().set_random_state(0)
    for _ in range(30):
        out = sample(video, speech, fps=10.0, voice=flags)
        clips = np.floor(np.stack([out["speech_pos_start"], out["speech_neg_start"]]) / 2).astype(int)
        assert out["pair_valid"].all() and set(clips.ravel()) <= {0, 1, 4}
    low = sample(video, speech, fps=10.0, voice=flags, clip=2)
    assert not low["pair_valid"].any() and not low["neg_valid"].any() and (low["speech_pos"] == 0).all()


def test_the_transform_uses_only_clips_that_the_speech_covers():
    video, speech = scan_in_memory()
    sample = SampleVideoSpeechPairs().set_random_state(0)
    for _ in range(30):
        out = sample(video, speech[: 7 * 24000], fps=10.0)
        assert out["pair_valid"].all() and (out["speech_neg_start"] < 5.4 + 1e-9).all()


def test_the_dictionary_twin_in_a_pipeline():
    video, speech = scan_in_memory()
    data = {"cine": video, "audio": speech, "voice": np.ones(1200, bool), "other": 1}
    pipeline = Compose(
        [SampleVideoSpeechPairsd("cine", "audio", fps=10.0, voice_key="voice", prefix="p_", n_pairs=2)]
    ).set_random_state(7)
    out = pipeline(data)
    assert out["other"] == 1 and out["p_frames"].shape == (2, 1, 4, 6) and set(data) <= set(out)
    pipeline.set_random_state(7)
    assert torch.equal(pipeline(data)["p_speech_neg"], out["p_speech_neg"])
    assert SampleVideoSpeechPairsd("absent", allow_missing_keys=True, fps=10.0)({"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fps": None}, "frame_times or fps"),
        ({"frame_times": np.arange(120) / 10}, "one of the two"),
        ({"frame_times": np.arange(3), "fps": None}, r"\[120\]"),
        ({"fps": 100.0}, "less than one clip"),
    ],
)
def test_the_transform_names_what_is_wrong(wrong, message):
    video, speech = scan_in_memory()
    with pytest.raises(ValueError, match=message):
        SampleVideoSpeechPairs()(video, speech, **{"fps": 10.0, **wrong})


def test_a_gate_without_flags_and_wrong_shapes_are_errors():
    video, speech = scan_in_memory()
    with pytest.raises(ValueError, match="needs voice"):
        SampleVideoSpeechPairs(gate=True)(video, speech, fps=10.0)
    with pytest.raises(ValueError, match=r"\[C, T, H, W\]"):
        SampleVideoSpeechPairs()(video[0], speech, fps=10.0)
    with pytest.raises(ValueError, match="needs a record"):
        SampleVideoSpeechPairs()(video, speech, fps=10.0, randomize=False)
    with pytest.raises(ValueError, match="one video key"):
        SampleVideoSpeechPairsd(["a", "b"])
