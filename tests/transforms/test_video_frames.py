# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames drawn from a video, and sample pairs mixed of three of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_usspeech.transforms.sample_pairs import draw_mixing_coefficient, draw_video_frames
from monai_usspeech.transforms.video_frames import (
    RandSamplePair,
    RandSamplePairD,
    RandSamplePaird,
    RandSamplePairDict,
    RandVideoFrames,
    RandVideoFramesD,
    RandVideoFramesd,
    RandVideoFramesDict,
)


def _video(frames: int = 10) -> torch.Tensor:
    """Frame ``t`` is filled with ``t``."""
    return torch.arange(frames, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 5).contiguous()


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
