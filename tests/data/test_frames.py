# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from monai_usspeech.data.annotations import plane_at
from monai_usspeech.data.files import InputError
from monai_usspeech.data.frame_batches import BalancedBatchSampler
from monai_usspeech.data.frames import FrameDataset, frames_every
from monai_usspeech.data.gaze_frames import GazeDataset
from monai_usspeech.data.plane_frames import PlaneDataset
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.data.splits import subject_split
from monai_usspeech.data.store import ScanStore, ScanStoreWriter
from tests.data.store_factory import make_store

LIPS, FEMUR, BACKGROUND = (PLANES.index(name) for name in ("lips", "femur", "background"))


def some_planes(number: int) -> list[list]:
    return [] if number == 3 else [[1.0, 3.0, "lips"], [5.0, 6.5 + number, "femur"]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    """Five scans of 10 s at 10 frames/s of three subjects; the fourth scan is not labelled."""
    root = tmp_path_factory.mktemp("frames") / "store"
    return ScanStore(
        make_store(root, n_scans=5, seconds=10.0, size=32, scans_per_subject=2, speech=False, planes=some_planes)
    )


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- which frames ---


def on_display_loop(times: np.ndarray, interval: float) -> list[int]:
    chosen: list[int] = []
    step = 0
    while times[0] + step * interval <= times[-1] + 1e-6:
        at = times[0] + step * interval + 1e-6
        chosen.append(max(index for index, time in enumerate(times) if time <= at))
        step += 1
    return sorted(set(chosen))


@pytest.mark.parametrize("interval", [8 / 30, 0.1, 0.02, 0.5, 100.0])
def test_frames_are_chosen_by_time_whatever_the_frame_rate(interval):
    rng = np.random.RandomState(0)
    for times in (np.arange(90) / 30, np.arange(30) / 10, np.cumsum(rng.uniform(0.01, 0.3, 50)), np.zeros(1)):
        assert frames_every(times, interval).tolist() == on_display_loop(times, interval)


def test_every_eighth_frame_of_thirty_a_second():
    assert frames_every(np.arange(300) / 30, 8 / 30).tolist() == list(range(0, 300, 8))


def test_a_store_of_every_third_frame_gives_as_many():
    assert len(frames_every(np.arange(100) / 10, 8 / 30)) == len(frames_every(np.arange(300) / 30, 8 / 30))


# --- samples ---


def test_the_sample_has_the_agreed_keys_shapes_and_types(store):
    expected = {
        "image": (torch.uint8, (1, 32, 32)),
        "image_affine": (torch.float32, (2, 3)),
        "image_gain": (torch.float32, ()),
        "image_gamma": (torch.float32, ()),
        "scan_index": (torch.int64, ()),
        "frame_index": (torch.int64, ()),
        "item": (torch.int64, ()),
    }
    for augment in (None, {}):
        sample = FrameDataset(store, augment=augment)[3]
        assert {name: (value.dtype, tuple(value.shape)) for name, value in sample.items()} == expected
    label = PlaneDataset(store)[0]["label"]
    assert label.dtype == torch.int64 and label.shape == ()
    batch = default_collate(PlaneDataset(store).__getitems__([(1, 2), (1, 5)]))
    assert batch["image"].shape == (2, 1, 32, 32) and batch["label"].shape == (2,)


def test_a_sample_is_the_frame_it_says(store):
    dataset = FrameDataset(store, interval=0.3)
    assert len(dataset) == 5 * 34 and dataset.summary() == {"frames": 170, "scans": 5, "subjects": 3}
    for number in (0, 33, 34, 100, -1):
        sample = dataset[number]
        subject, name, time = dataset.describe(number)
        scan = store[name]
        assert scan.subject == subject and dataset.scans[sample["scan_index"]] is scan
        assert time == pytest.approx(0.3 * (int(sample["item"]) % 34))
        shown = scan.read_frames([int(np.argmin(np.abs(scan.times - time)))])
        assert np.array_equal(sample["image"], shown)
        assert torch.equal(sample["image_affine"], torch.eye(2, 3)) and sample["image_gain"] == 1
    assert dataset.item_name(35) == "scan s001 at 0.30 s"
    for number in (170, -171):
        with pytest.raises(IndexError, match="there are 170"):
            dataset[number]


def test_augmentation_depends_on_seed_epoch_and_item_alone(store):
    dataset = FrameDataset(store, augment={"flip": 0.5}, seed=3)
    assert equal(dataset[(2, 7)], FrameDataset(store, augment={"flip": 0.5}, seed=3)[(2, 7)])
    assert equal(dataset[7], dataset[(0, 7)]) and equal(dataset[-1], dataset[(0, len(dataset) - 1)])
    for other in (dataset[(1, 7)], dataset[(2, 8)], FrameDataset(store, augment={}, seed=4)[(2, 7)]):
        assert not torch.equal(other["image_affine"], dataset[(2, 7)]["image_affine"])
    assert equal(pickle.loads(pickle.dumps(dataset))[(2, 7)], dataset[(2, 7)])
    loaded = next(iter(DataLoader(dataset, batch_sampler=[[(2, 7), (2, 9)]], num_workers=1)))
    assert torch.equal(loaded["image_affine"][0], dataset[(2, 7)]["image_affine"])


# --- planes ---


def test_labels_are_the_planes_at_the_frames_times(store):
    dataset = PlaneDataset(store)
    assert {scan.id for scan in dataset.scans} == {"s000", "s001", "s002", "s004"}  # s003 is not labelled
    assert dataset.labels.dtype == np.int64 and dataset.labels.shape == (len(dataset),)
    for number in range(len(dataset)):
        _, name, time = dataset.describe(number)
        expected = BACKGROUND
        for start, end, plane in store[name].planes:
            if start <= time < end:
                expected = PLANES.index(plane)
        assert dataset.labels[number] == expected == int(plane_at(store[name].planes, time))
    assert int(dataset[20]["label"]) == dataset.labels[20]
    counts = dataset.summary()["planes"]
    assert list(counts) == list(PLANES) and sum(counts.values()) == len(dataset)
    assert min(counts["lips"], counts["femur"], counts["background"]) > 0 == counts["3VT"]


def test_a_balanced_loader_shows_the_planes_equally_often(store):
    dataset = PlaneDataset(store, augment={})
    loader = DataLoader(dataset, batch_sampler=BalancedBatchSampler(dataset.labels, 8, n_batches=5))
    labels = torch.cat([batch["label"] for batch in loader])
    assert torch.bincount(labels, minlength=14)[[LIPS, FEMUR, BACKGROUND]].tolist() == [10, 10, 20]


# --- errors ---


def test_what_cannot_be_read_is_said(store):
    with pytest.raises(InputError, match="FrameDataset: interval is 0"):
        FrameDataset(store, interval=0)
    with pytest.raises(InputError, match='PlaneDataset: augment has no option "flipp". Did you mean "flip"?'):
        PlaneDataset(store, augment={"flipp": 1})
    with pytest.raises(InputError, match="PlaneDataset: .*scale"):
        PlaneDataset(store, augment={"scale": [0.0, 1.0]})
    with pytest.raises(InputError, match="no scan of subject 'p9'"):
        PlaneDataset(store, subjects=["p9"])
    with pytest.raises(InputError, match="none of the 5 chosen scans has gaze with a fix; name a gaze file"):
        GazeDataset(store)


def test_no_labelled_scan_among_the_chosen_is_an_error(tmp_path: Path):
    root = make_store(tmp_path / "store", n_scans=2, seconds=2.0, size=16, speech=False)
    with pytest.raises(InputError, match="none of the 2 chosen scans has plane labels; name a planes file"):
        PlaneDataset(root)


# --- leakage ---


@pytest.fixture(scope="module")
def marked_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans of each of 9 subjects; every pixel holds the subject's number. All have planes, two thirds gaze."""
    root = tmp_path_factory.mktemp("marked") / "store"
    for number in range(18):
        with ScanStoreWriter(root, f"s{number:03d}", codec="raw") as writer:
            for index in range(12):
                writer.add_frame(np.full((16, 16), 10 + number // 2, np.uint8), index / 10, 3 * index)
            if number % 6 < 4:
                writer.set_gaze(np.arange(36) / 30, np.full(36, 7.0), np.full(36, 7.0))
            meta = {"duration": 1.2, "fan_box": [0, 0, 16, 16], "source_size": [16, 16], "planes": [[0.3, 0.9, "lips"]]}
            writer.finish({"subject": f"p{number // 2}", **meta})
    return root


@pytest.mark.parametrize(
    ("dataset", "require"), [(FrameDataset, None), (PlaneDataset, "planes"), (GazeDataset, "gaze")]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_frame_of_a_test_subject_can_be_reached_from_training(marked_store, dataset, require, seed):
    tested = []
    for fold in range(3):
        split = subject_split(marked_store, 3, fold, seed, require=require)
        pixels = {}
        for part in ("train", "validation", "test"):
            frames = dataset(marked_store, subjects=getattr(split, part), augment={})
            samples = frames.__getitems__([(1, number) for number in range(len(frames))])
            pixels[part] = {int(value) - 10 for sample in samples for value in sample["image"].unique()}
            assert {f"p{number}" for number in pixels[part]} == set(getattr(split, part)) == set(frames.subjects)
            assert {frames.describe(number)[0] for number in range(len(frames))} == set(frames.subjects)
        assert not pixels["test"] & (pixels["train"] | pixels["validation"])
        tested += pixels["test"]
    assert sorted(tested) == ([0, 1, 3, 4, 6, 7] if require == "gaze" else list(range(9)))
