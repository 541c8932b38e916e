# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A clock beside the fan would solve the frame-order task without anatomy: it must not reach a training sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.preparation import prepare_scans
from monai_usspeech.transforms.order import order_label
from tests.data.media_factory import make_video
from tests.preparation.scan_files import FPS, SIZE, fan_frames, fan_mask

SECONDS, SCANS, EPOCHS = 16, 4, 6
ROWS, COLUMNS = slice(4, 12), slice(152, 192)  # where the clock is: beside the fan, top right
LOSSLESS = {"qp": "0", "g": "20", "sc_threshold": "0"}  # and key frames, on which the fan is found, at the same places


def frames_with_clock(seed: int, clock: bool) -> np.ndarray:
    """A scan with a lamp beside the fan that grows brighter over the 2 s of each clip, or with that place black."""
    frames = fan_frames(seed, SECONDS * FPS).copy()
    frames[:, ROWS, COLUMNS] = 0
    for t in range(len(frames) if clock else 0):
        frames[t, ROWS, COLUMNS] = 255 * (t % (2 * FPS)) // (2 * FPS)
    assert not fan_mask()[ROWS, COLUMNS].any()
    return frames


def make_dataset(folder: Path, clock: bool, box: tuple[int, int, int, int] | None) -> ClipDataset:
    """Order samples of scans prepared from video files, with the crop detected or given."""
    folder.mkdir()
    scans = []
    for seed in range(SCANS):
        frames = frames_with_clock(seed, clock)
        video = make_video(folder / f"s{seed}.mp4", fps=FPS, size=SIZE, frames=frames, options=LOSSLESS)
        scans.append(Scan(f"s{seed}", f"p{seed}", video, fan=box))
    store = folder / "store"
    settings = {"size": 48, "frame_rate": FPS, "codec": "raw", "workers": 0, "progress": False, "contact_sheet": False}
    report = prepare_scans(ScanDatalist("clock", tuple(scans)), store, **settings)
    assert len(report.kept) == SCANS
    return ClipDataset(store, pairs=False, order=True)


def samples(dataset: ClipDataset) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``[n, 4, H, W]`` in the order shown, and labels ``[n]``."""
    items = [dataset[(epoch, item)] for epoch in range(EPOCHS) for item in range(len(dataset))]
    return np.stack([s["order_frames"][:, 0].numpy() for s in items]), np.array([int(s["order_label"]) for s in items])


def clock_reader_accuracy(frames: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of the best reader that sorts the four frames by the brightness of one place of the picture.

    The place is chosen on one half of the samples and judged on the other, so that trying many places gains nothing.
    """
    cells = frames.reshape(*frames.shape[:2], 12, 4, 12, 4).mean((3, 5)).reshape(*frames.shape[:2], -1)
    rank = cells.argsort(1).argsort(1)  # [n, 4, places]: when each shown frame was recorded, by this place
    said = np.array([[order_label(rank[i, :, place]) for place in range(rank.shape[2])] for i in range(len(rank))])
    right = said == labels[:, None]
    half = len(labels) // 2
    return float(right[half:, right[:half].mean(0).argmax()].mean())


@pytest.mark.slow
def test_a_clock_beside_the_fan_reaches_no_sample(tmp_path):
    whole = (0, 0, SIZE[1], SIZE[0])
    seen = clock_reader_accuracy(*samples(make_dataset(tmp_path / "whole_frame", clock=True, box=whole)))
    cropped_frames, labels = samples(make_dataset(tmp_path / "cropped", clock=True, box=None))
    hidden = clock_reader_accuracy(cropped_frames, labels)
    # The control: in whole frames the clock alone solves the task. Inside the fan it is not there.
    assert seen > 0.9
    assert hidden < 0.25
    # And the samples are those of the same scans without any clock: same crop, same pixels.
    without_frames, without_labels = samples(make_dataset(tmp_path / "no_clock", clock=False, box=None))
    assert np.array_equal(labels, without_labels)
    assert np.array_equal(cropped_frames, without_frames)
