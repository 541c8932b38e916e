# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.kept_picture import frame_stride, source_fan
from monai_usspeech.transforms.fan import detect_fan
from tests.preparation.scan_files import FPS, fan_frames


@pytest.mark.parametrize(
    ("source", "wanted", "stride"),
    [(30, 10, 3), (25, 10, 3), (81.5, 10, 8), (8, 10, 1), (10, 10, 1), (15, 10, 2), (29.97, 10, 3), (60, None, 1),
     (None, 10, 1)],
)  # fmt: skip
def test_stride_is_the_nearest_whole_one(source: float | None, wanted: float | None, stride: int) -> None:
    assert frame_stride(source, wanted) == stride
    if source and wanted and source > wanted:
        assert stride == min(range(1, 20), key=lambda k: abs(source / k - wanted))


def video_of(frames: np.ndarray, region: tuple[int, int, int, int] | None = None) -> SimpleNamespace:
    """What is asked of an opened video."""
    info = SimpleNamespace(path=Path("a.dcm"), height=frames.shape[1], width=frames.shape[2])
    return SimpleNamespace(info=info, ultrasound_regions=region, sample_frames=lambda n: list(frames[:n]))


def test_the_fan_is_looked_for_inside_the_region_that_dicom_names():
    frames = fan_frames(0, 2 * FPS)
    height, width = frames.shape[1:]
    wide = np.zeros((len(frames), height + 30, 2 * width), np.uint8)
    wide[:, 30:, width:] = frames
    wide[:, :30] = 255  # a bright bar that belongs to the machine, not to the picture
    top, left, bottom, right = detect_fan(list(frames[:16])).box
    found, notes = source_fan(video_of(wide, (30, width, height + 30, 2 * width)), "mend")
    assert found == (top + 30, left + width, bottom + 30, right + width) and notes == ()
    assert source_fan(video_of(frames), "mend")[0] == (top, left, bottom, right)


def test_without_a_fan_the_region_is_kept_and_without_both_the_mend_is_told():
    black = np.zeros((16, 60, 80), np.uint8)
    found, notes = source_fan(video_of(black, (5, 10, 41, 60)), "mend")
    assert found == (5, 10, 41, 60) and "whole region" in notes[0]
    with pytest.raises(InputError, match=r"a\.dcm: no ultrasound fan was found .*; do this\.$"):
        source_fan(video_of(black), "do this")
