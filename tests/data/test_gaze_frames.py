# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.data.gaze_frames import GazeDataset, gaze_near
from monai_usspeech.data.store import ScanStore, ScanStoreWriter
from monai_usspeech.transforms.augmentation import apply_augmentation
from monai_usspeech.transforms.gaze_map import blur_fixations
from tests.data.store_factory import make_store

BOX = (10, 20, 74, 84)  # of the marked scans: stored frames of 64 pixels, one for each source pixel


def write_dots(root: Path, name: str, row: np.ndarray, column: np.ndarray, gaze_time: np.ndarray, fps: float) -> None:
    """A scan whose frame n has a bright dot where the gaze is at that frame's time (row, column: source pixels)."""
    with ScanStoreWriter(root, name, codec="raw") as writer:
        for index in range(40):
            frame, at = np.zeros((64, 64), np.uint8), np.argmin(np.abs(gaze_time - index / fps))
            r, c = (int(round(v)) - offset for v, offset in ((row[at], BOX[0]), (column[at], BOX[1])))
            frame[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2] = 255
            writer.add_frame(frame, index / fps, index)
        writer.set_gaze(gaze_time, column, row)
        writer.finish({"subject": f"p-{name}", "duration": 40 / fps, "fan_box": list(BOX), "source_size": [100, 120],
                       "planes": []})  # fmt: skip


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dots") / "store"
    rng, time = np.random.RandomState(0), np.arange(40) / 5
    for number in range(3):
        write_dots(root, f"s{number}", rng.randint(13, 71, 40), rng.randint(23, 81, 40), time, 5.0)
    return root


def dot_centre(image: torch.Tensor) -> torch.Tensor:
    """Row and column of a dot as shares of the picture [H, W]."""
    weights = image.double()
    grid = [(torch.arange(side, dtype=torch.float64) + 0.5) / side for side in weights.shape]
    return torch.stack([(weights.sum(1) * grid[0]).sum(), (weights.sum(0) * grid[1]).sum()]) / weights.sum()


def test_the_maps_lie_on_the_dot_of_the_augmented_picture(dots):
    augment = {"scale": (0.5, 1.0), "flip": 0.5, "gain": (1.0, 1.0), "gamma": (1.0, 1.0)}
    dataset, mirrored, cropped = GazeDataset(dots, interval=0.2, augment=augment, window=0.0), 0, 0
    assert len(dataset) == 120
    for number in range(len(dataset)):
        sample = dataset[(1, number)]
        params = {name: sample[f"image_{name}"][None] for name in ("affine", "gain", "gamma")}
        image = apply_augmentation(sample["image"][None], params, 128)[0, 0]
        (cell,) = sample["fixations"].nonzero()
        centre = (cell + 0.5) / 64
        mirrored += bool(sample["image_affine"][0, 0] < 0)
        cropped += bool(sample["image_affine"].abs()[1, 1] < 1)
        assert image.max() > 0.3  # the crop never loses the dot
        if ((centre < 0.04) | (centre > 0.96)).any():
            continue  # the border cuts the dot
        assert (centre - dot_centre(image)).abs().max() < 0.5 / 64 + 0.006
        torch.testing.assert_close(sample["saliency"], blur_fixations(sample["fixations"]))
        assert abs(float(sample["saliency"].sum()) - 1) < 1e-5
    assert mirrored > 20 and cropped > 60


def test_a_crop_that_loses_all_gaze_gives_way_to_the_whole_picture(tmp_path: Path):
    root, time = tmp_path / "store", np.arange(40) / 5
    write_dots(root, "corner", np.full(40, 10.0), np.full(40, 20.0), time, 5.0)  # the first pixel of the box
    dataset = GazeDataset(root, interval=0.2, augment={"scale": (0.2, 0.4), "gain": (1.5, 1.6)}, window=0.0)
    whole = 0
    for number in range(40):
        sample = dataset[(0, number)]
        assert sample["fixations"].sum() == 1 and float(sample["saliency"].sum()) == pytest.approx(1, abs=1e-5)
        affine = sample["image_affine"]
        if affine[1, 1] == 1:
            whole += 1
            assert torch.equal(affine.abs(), torch.eye(2, 3))
            (cell,) = sample["fixations"].nonzero().tolist()
            assert cell == ([0, 0] if affine[0, 0] > 0 else [0, 63])
        assert 1.5 <= sample["image_gain"] <= 1.6
    assert whole > 20


def test_without_augmentation_points_are_where_the_fan_box_puts_them(tmp_path: Path):
    root = make_store(tmp_path / "store", n_scans=2, seconds=4.0, size=32, speech=False, gaze=True)
    dataset = GazeDataset(root, map_size=(16, 24))
    scan = ScanStore(root).scans[0]
    top, left, bottom, right = scan.fan_box
    for number in (0, 3, 9):
        _, name, time = dataset.describe(number)
        gaze = ScanStore(root)[name].gaze
        expected = np.zeros((16, 24), bool)
        for at, x, y in zip(gaze.time, gaze.x, gaze.y):
            if abs(at - time) <= 1 / 30 + 1e-3:
                row, column = (y + 0.5 - top) / (bottom - top), (x + 0.5 - left) / (right - left)
                expected[int(16 * row), int(24 * column)] = True
        assert np.array_equal(dataset[number]["fixations"], expected)
        assert dataset[number]["saliency"].shape == (16, 24)
        assert 2 <= len(dataset.item_points(number)) <= 3


def test_a_batch_is_its_items(dots):
    dataset = GazeDataset(dots, augment={})
    items = [(3, 5), (3, 0), (2, 5), 7]
    for single, together in zip((dataset[item] for item in items), dataset.__getitems__(items)):
        assert list(single) == list(together)
        for name in single:
            torch.testing.assert_close(single[name], together[name])


def test_near_samples_are_those_the_loop_finds():
    rng = np.random.RandomState(0)
    times, at = np.sort(rng.uniform(0, 10, 300)).round(3), rng.uniform(-1, 11, 50)
    first, end = gaze_near(times, at, 0.05)
    for moment, begin, stop in zip(at, first, end):
        assert list(range(begin, stop)) == [i for i, time in enumerate(times) if moment - 0.05 <= time <= moment + 0.05]


def test_frames_without_gaze_in_the_picture_are_left_out_and_counted(tmp_path: Path):
    time = np.arange(0, 8, 0.1)
    x, y = np.full(80, 60.0), np.full(80, 40.0)
    x[20:40] = y[20:40] = np.nan  # 2 to 4 s: no fix
    x[40:60] = 95.0  # 4 to 6 s: beside the box
    track = lambda number: (time, x, y) if number else None  # noqa: E731
    root = make_store(tmp_path / "store", n_scans=2, seconds=8.0, size=32, speech=False, gaze=track)
    dataset = GazeDataset(root, interval=0.5)
    assert [round(dataset.describe(number)[2], 3) for number in range(len(dataset))] == [0, 0.5, 1, 1.5, 6, 6.5, 7, 7.5]
    summary = dataset.summary()
    assert summary["frames"] == 8 and summary["scans"] == summary["subjects"] == 1 and dataset.subjects == ("p001",)
    assert summary["share_without_gaze"] == summary["share_outside_picture"] == 0.25
    assert summary["share_dropped"] == 0.5 and summary["points_per_frame"] == 1
    assert len(GazeDataset(root, interval=0.5, window=6.0)) > 8  # 0.2 s to each side


def test_gaze_that_never_meets_the_pictures_is_one_clear_error(tmp_path: Path):
    time = np.arange(0, 2, 0.1)
    tracks = {"lost": np.full(20, np.nan), "outside": np.full(20, 2.0), "late": np.full(20, 40.0)}
    said = {"lost": "has gaze with a fix", "outside": "of 8 lies outside the fan crop", "late": "8 have no gaze near"}
    for name, values in tracks.items():
        shift = 100.0 if name == "late" else 0.0
        root = make_store(tmp_path / name, n_scans=1, seconds=2.0, size=16, speech=False,
                          gaze=lambda number: (time + shift, values, values))  # noqa: B023  # fmt: skip
        with pytest.raises(InputError) as error:
            GazeDataset(root)
        assert said[name] in str(error.value) and "\n" not in str(error.value)
    for wrong in ({"sigma": 0.0}, {"map_size": 0}, {"window": -1.0}):
        with pytest.raises(InputError, match="GazeDataset: map_size and sigma must be positive"):
            GazeDataset(tmp_path / "outside", **wrong)


def test_gaze_exactly_on_the_border_stays_inside(tmp_path: Path):
    root, time = tmp_path / "store", np.arange(40) / 5
    write_dots(root, "edge", np.full(40, BOX[0] - 0.5), np.full(40, BOX[1] - 0.5), time, 5.0)
    last = np.nextafter(BOX[3] - 0.5, 0.0)
    write_dots(root, "last", np.full(40, 30.0), np.full(40, last), time, 5.0)
    for augment in (None, {"flip": 1.0, "scale": (1.0, 1.0)}):
        dataset = GazeDataset(root, augment=augment)
        assert all(bool(dataset[number]["fixations"].any()) for number in range(len(dataset)))
