# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames drawn from a video, and sample pairs mixed of three of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import stats

from monai_usspeech.transforms.sample_pairs import (
    RandSamplePair,
    RandSamplePairD,
    RandSamplePaird,
    RandSamplePairDict,
    RandVideoFrames,
    RandVideoFramesD,
    RandVideoFramesd,
    RandVideoFramesDict,
    draw_mixing_coefficient,
    draw_video_frames,
    mix_sample_pair,
)


def _video(frames: int = 10) -> torch.Tensor:
    """Frame ``t`` is filled with ``t``."""
    return torch.arange(frames, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 5).contiguous()


def test_every_ordered_pair_of_frames_is_equally_likely() -> None:
    rng = np.random.RandomState(0)
    seen = Counter(tuple(draw_video_frames(rng, 4).tolist()) for _ in range(6000))
    assert len(seen) == 12 and all(first != second for first, second in seen)
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 50])
def test_distinct_frames_as_far_as_there_are_any(n_frames: int, count: int) -> None:
    rng = np.random.RandomState(1)
    for _ in range(20):
        drawn = draw_video_frames(rng, n_frames, count)
        assert drawn.shape == (count,) and drawn.dtype == np.int64
        assert 0 <= drawn.min() and drawn.max() < n_frames
        assert len(set(drawn.tolist())) == min(n_frames, count)
        assert count == 1 or n_frames == 1 or drawn[0] != drawn[-1]


def test_two_frames_for_a_sample_pair_are_the_pair_itself() -> None:
    frames = _video(2).float()[draw_video_frames(np.random.RandomState(0), 2, 3)]
    pair = mix_sample_pair(frames, draw_mixing_coefficient(np.random.RandomState(0), 2))
    assert sorted(pair[:, 0, 0, 0].tolist()) == [0, 1]


@pytest.mark.parametrize("arguments", [(0, 2), (3, 0)])
def test_no_frames_is_an_error(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        draw_video_frames(np.random.RandomState(0), *arguments)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_the_coefficient_follows_beta(alpha: float) -> None:
    rng = np.random.RandomState(0)
    drawn = [draw_mixing_coefficient(rng, 3, alpha) for _ in range(4000)]
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert {draw_mixing_coefficient(rng, n, alpha) for n in (1, 2)} == {1.0}


def test_as_many_draws_for_a_short_video() -> None:
    after = []
    for n_frames in (1, 2, 3, 90):
        rng = np.random.RandomState(3)
        draw_mixing_coefficient(rng, n_frames)
        after.append(rng.rand())
    assert len(set(after)) == 1
    for alpha in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="alpha must be a positive number"):
            draw_mixing_coefficient(np.random.RandomState(0), 3, alpha)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixing_equals_the_loops(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 4, 3, 1, 5, 6, generator=generator, dtype=dtype)
    coefficient = torch.rand(2, 4, generator=generator)
    pair = mix_sample_pair(frames, coefficient)
    assert pair.shape == (2, 4, 2, 1, 5, 6) and pair.dtype == dtype
    for i in range(2):
        for j in range(4):
            c = float(coefficient[i, j])
            first, anchor, third = frames[i, j]
            torch.testing.assert_close(pair[i, j, 0], c * first + (1 - c) * anchor)
            torch.testing.assert_close(pair[i, j, 1], c * third + (1 - c) * anchor)


def test_the_ends_are_exact() -> None:
    frames = torch.rand(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) / 3
    pair = mix_sample_pair(frames, np.array([1.0, 0.0]))
    assert torch.equal(pair[0], frames[0, [0, 2]])
    assert torch.equal(pair[1], frames[1, [1, 1]])


@pytest.mark.parametrize(
    ("frames", "coefficient", "words"),
    [
        (torch.zeros(4, 2, 1, 8, 8), torch.zeros(4), "floating point frames"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.uint8), 0.5, "torch.uint8"),
        (torch.zeros(3, 8, 8), 0.5, "floating point frames"),
        (torch.zeros(4, 3, 1, 8, 8), 0.5, r"need \(4,\)"),
        (torch.zeros(4, 3, 1, 8, 8), torch.zeros(3), r"need \(4,\)"),
    ],
)
def test_what_does_not_fit_is_named(frames: torch.Tensor, coefficient: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mix_sample_pair(frames, coefficient)


def test_frames_of_a_video_are_taken_whatever_the_type() -> None:
    transform = RandVideoFrames(3).set_random_state(4)
    drawn = transform(_video())
    expected = draw_video_frames(np.random.RandomState(4), 10, 3)
    assert drawn.dtype == torch.uint8 and drawn.shape == (3, 1, 4, 5)
    assert drawn[:, 0, 0, 0].tolist() == expected.tolist() == transform.numbers.tolist()
    as_array = transform(_video().numpy(), randomize=False)
    assert isinstance(as_array, np.ndarray)
    np.testing.assert_array_equal(as_array, drawn.numpy())
    with pytest.raises(ValueError, match="was drawn, but there are 1 frames"):
        transform(_video(1), randomize=False)
    with pytest.raises(ValueError, match=r"expected frames \[T, C, H, W\]"):
        transform(_video()[0])


def test_a_sample_pair_is_mixed_of_drawn_frames() -> None:
    transform = RandSamplePair().set_random_state(4)
    pair = transform(_video())
    rng = np.random.RandomState(4)
    first, anchor, third = draw_video_frames(rng, 10, 3) / 255
    c = draw_mixing_coefficient(rng, 10)
    assert pair.shape == (2, 1, 4, 5) and pair.dtype == torch.float32 and transform.coefficient == c
    expected = [c * first + (1 - c) * anchor, c * third + (1 - c) * anchor]
    np.testing.assert_allclose(pair[:, 0, 0, 0], expected, rtol=1e-5)
    assert torch.equal(transform(_video(), randomize=False), pair)
    assert not torch.equal(transform(_video()), pair)


def test_one_frame_is_its_own_partner() -> None:
    video = _video(3)[2:]
    for drawn in (
        RandVideoFrames()(video).float(),
        RandSamplePair()(video.float()),
        RandSamplePair()(MetaTensor(video.float())),
    ):
        assert drawn.shape == (2, 1, 4, 5) and (drawn == 2).all()


@pytest.mark.parametrize(
    ("names", "settings"),
    [
        ((RandVideoFramesd, RandVideoFramesD, RandVideoFramesDict), {"count": 4}),
        ((RandSamplePaird, RandSamplePairD, RandSamplePairDict), {"alpha": 1.0}),
    ],
)
def test_the_dictionary_forms_draw_once_for_all_keys(names: tuple[Any, ...], settings: dict[str, Any]) -> None:
    transform, *aliases = names
    assert all(alias is transform for alias in aliases)
    chain = Compose([transform(["video", "copy", "absent"], allow_missing_keys=True, **settings)]).set_random_state(0)
    given = {"video": _video(), "copy": _video(), "label": 1}
    out = chain(given)
    assert torch.equal(out["video"], out["copy"]) and out["label"] == 1 and len(given["video"]) == 10
    again = Compose([transform("video", **settings)]).set_random_state(0)({"video": _video()})
    assert torch.equal(out["video"], again["video"])
    with pytest.raises(ValueError, match="videos of equal length"):
        transform(["video", "copy"])({"video": _video(3), "copy": _video(4)})
    with pytest.raises(KeyError):
        transform("absent")(given)


def test_wrong_settings_are_errors_at_once() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        RandVideoFramesd("video", count=0)
    with pytest.raises(ValueError, match="alpha"):
        RandSamplePaird("video", alpha=0.0)
