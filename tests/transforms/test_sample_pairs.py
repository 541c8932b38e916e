# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Draws of frames and coefficients, and the mixing of sample pairs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from monai_usspeech.transforms.sample_pairs import draw_mixing_coefficient, draw_video_frames, mix_sample_pair


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
    frames = torch.arange(2.0).reshape(2, 1, 1, 1)[draw_video_frames(np.random.RandomState(0), 2, 3)]
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
