# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.batches import ClipBatchSampler
from monai_usspeech.data.files import InputError
from monai_usspeech.data.frame_views import FrameViewDataset, labelled_videos
from monai_usspeech.data.image_set_layouts import build_image_set
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from monai_usspeech.transforms.view_augmentation import identity_view_augmentation
from tests.data.image_set_factory import picture
from tests.data.media_factory import make_video, read_index
from tests.data.store_factory import make_store

RECORD = ("affine", "gain", "gamma", "contrast", "blur", "cutout")
AS_SHOWN = {"size": (64, 96), "augment": None}  # the size that make_video draws its numbers in


@pytest.fixture
def videos(tmp_path: Path) -> ImageSetDatalist:
    """Videos of 6, 2 and 1 frames (numbers 0, 5, 10, ... in their pixels) and a picture without a label."""
    images = []
    for name, label, n in (("six", "ill", 6), ("two", "well", 2), ("one", "well", 1)):
        make_video(tmp_path / f"{name}.mp4", n_frames=5 * n)
        images += [LabelledImage(tmp_path / f"{name}.mp4", label, name, i / 6) for i in range(n)]
    images.append(LabelledImage(picture(tmp_path / "p.png"), None, "p"))
    return ImageSetDatalist("x", ("ill", "well"), tuple(images))


def shown(sample: dict[str, torch.Tensor]) -> list[int]:
    return [read_index(frame[0].numpy()) for frame in sample["image"]]


# --- samples ---


@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_a_sample_has_frames_records_and_numbers(videos: ImageSetDatalist, n_views: int):
    sample = FrameViewDataset(videos, n_views=n_views, size=32, channels=3)[1]
    assert sample["image"].shape == (n_views, 3, 32, 32) and sample["image"].dtype == torch.uint8
    for name, value in identity_view_augmentation(n_views).items():
        assert sample[f"image_{name}"].shape == value.shape and sample[f"image_{name}"].dtype == torch.float32
    assert set(sample) == {"image", "label", "item", "video", *(f"image_{name}" for name in RECORD)}
    assert [int(sample[name]) for name in ("label", "item", "video")] == [1, 1, 1]
    assert all(sample[name].dtype == torch.int64 and sample[name].ndim == 0 for name in ("label", "item", "video"))


def test_the_views_of_a_video_are_of_different_frames(videos: ImageSetDatalist):
    dataset = FrameViewDataset(videos, **AS_SHOWN)
    drawn = [shown(dataset[(epoch, 0)]) for epoch in range(300)]
    assert all(a != b for a, b in drawn)
    counts = np.bincount(np.ravel(drawn) // 5, minlength=6)
    assert {n % 5 for n in np.ravel(drawn)} == {0} and np.all(np.abs(counts - 100) < 40)  # each frame equally often
    assert {tuple(shown(dataset[(epoch, 1)])) for epoch in range(20)} == {(0, 5), (5, 0)}
    assert shown(dataset[2]) == [0, 0]


def test_the_views_of_an_image_are_of_one_frame_and_differ_in_their_records(videos: ImageSetDatalist):
    dataset = FrameViewDataset(videos, positive="image", size=(64, 96))
    samples = [dataset[(epoch, 0)] for epoch in range(30)]
    assert all(first == second for first, second in map(shown, samples))
    assert len({shown(sample)[0] for sample in samples}) > 3
    assert all(not torch.equal(*sample["image_affine"]) for sample in samples)


def test_mixing_takes_three_frames_and_one_coefficient(videos: ImageSetDatalist):
    dataset = FrameViewDataset(videos, mix=0.5, **AS_SHOWN)
    samples = [dataset[(epoch, 0)] for epoch in range(200)]
    assert all(len(set(shown(sample))) == 3 for sample in samples)
    drawn = np.array([float(sample["mix"]) for sample in samples])
    assert samples[0]["mix"].dtype == torch.float32 and samples[0]["mix"].ndim == 0
    assert abs(drawn.mean() - 0.5) < 0.1 and abs(drawn.var() - 1 / 8) < 0.03  # of Beta(0.5, 0.5)
    for item, frames in ((1, {0, 5}), (2, {0})):
        sample = dataset[item]
        assert sample["mix"] == 1 and {shown(sample)[0], shown(sample)[2]} == frames


def test_an_item_can_be_a_frame(videos: ImageSetDatalist):
    dataset = FrameViewDataset(videos, unit="frame", positive="image", subjects=["six", "two"], **AS_SHOWN)
    assert len(dataset) == 8 and dataset.labels.tolist() == [0] * 6 + [1] * 2
    for epoch in (0, 3):
        assert [shown(dataset[(epoch, i)]) for i in range(8)] == [[5 * i] * 2 for i in (0, 1, 2, 3, 4, 5, 0, 1)]
    assert [int(dataset[i]["video"]) for i in range(8)] == [0] * 6 + [1] * 2
    assert dataset.describe(-1) == ("two", "two.mp4", 1 / 6) and dataset.item_name(7) == "video two.mp4 at 0.17 s"


def test_the_last_view_can_have_an_augmentation_of_its_own(videos: ImageSetDatalist):
    dataset = FrameViewDataset(videos, positive="image", augment=None, augment_second={"cutout": 0.5}, size=16)
    plain = identity_view_augmentation(1)
    for epoch in range(5):
        sample = dataset[(epoch, 0)]
        assert all(np.array_equal(sample[f"image_{name}"][:1].numpy(), plain[name]) for name in RECORD)
        assert sample["image_cutout"][1].any() and not torch.equal(sample["image_affine"][1], torch.eye(2, 3))


def test_what_is_drawn_depends_on_seed_epoch_and_item_alone(videos: ImageSetDatalist):
    dataset = FrameViewDataset(videos, mix=0.5, size=16, seed=5)
    dataset[3]
    again = pickle.loads(pickle.dumps(dataset))
    other = FrameViewDataset(videos, mix=0.5, size=16, seed=6)
    for item in ((1, 0), (0, 3), 2):
        for name, value in dataset[item].items():
            assert torch.equal(value, again[item][name])
        assert not torch.equal(dataset[item]["image_affine"], other[item]["image_affine"])
    assert not torch.equal(dataset[(0, 0)]["image_affine"], dataset[(1, 0)]["image_affine"])


def test_a_sample_is_no_window_on_what_is_kept(videos: ImageSetDatalist):
    dataset = FrameViewDataset(videos, **AS_SHOWN)
    before = dataset[0]["image"].clone()
    dataset[0]["image"].zero_()
    assert torch.equal(dataset[0]["image"], before)


def test_without_cache_the_same_frames_come(videos: ImageSetDatalist):
    kept, read = (FrameViewDataset(videos, cache=cache, **AS_SHOWN) for cache in (True, False))
    for item in ((0, 0), (1, 0), (2, 1), (0, 3)):
        assert torch.equal(kept[item]["image"], read[item]["image"])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_out_of_a_loader(videos: ImageSetDatalist, workers: int):
    dataset = FrameViewDataset(videos, size=16)
    sampler = ClipBatchSampler(len(dataset), 2, seed=1)
    batches = list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers))
    expected = [[dataset[item] for item in batch] for batch in ClipBatchSampler(len(dataset), 2, seed=1)]
    assert len(batches) == 2
    for batch, samples in zip(batches, expected):
        assert batch["image"].shape == (2, 2, 1, 16, 16)
        for name in samples[0]:
            assert torch.equal(batch[name], torch.stack([sample[name] for sample in samples]))


# --- labels ---


@pytest.mark.parametrize("seed", range(5))
def test_kept_labels_are_nested_and_spread_over_classes(seed: int):
    labels = np.random.RandomState(seed).choice([-1, 0, 1, 2], size=400, p=[0.2, 0.5, 0.2, 0.1])
    n_labelled, before = (labels >= 0).sum(), np.zeros(400, bool)
    for rate in (0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 1.0):
        kept = labelled_videos(labels, rate, seed)
        assert abs(kept.sum() - rate * n_labelled) <= 0.5 or kept.sum() == 1
        assert kept.any() == (rate > 0)
        assert not kept[labels < 0].any() and np.all(kept[before])
        for number in range(3):
            own = labels == number
            assert abs(kept[own].sum() - rate * own.sum()) <= 2
        before = kept
    assert np.array_equal(kept, labels >= 0)
    assert not np.array_equal(labelled_videos(labels, 0.5, seed), labelled_videos(labels, 0.5, seed + 1))
    assert not labelled_videos(np.full(3, -1), 0.5).any()


def test_the_label_rate_counts_videos_not_frames(videos: ImageSetDatalist):
    by_video = FrameViewDataset(videos, label_rate=0.34, seed=2, size=8)
    by_frame = FrameViewDataset(videos, label_rate=0.34, seed=2, size=8, unit="frame", positive="image")
    (video,) = np.flatnonzero(by_video.labels >= 0)
    assert by_video.labelled_share == 1 / 4
    for item in range(len(by_frame)):
        sample = by_frame[item]
        assert (int(sample["label"]) >= 0) == (int(sample["video"]) == video)


def test_without_labels_there_are_no_classes(videos: ImageSetDatalist):
    for dataset in (FrameViewDataset(videos, label_rate=0, size=8), FrameViewDataset(videos, subjects=["p"], size=8)):
        assert dataset.classes == () and dataset.num_classes is None and dataset.labelled_share == 0
        assert dataset[0]["label"] == -1 and dataset.summary()["classes"] == {}
    whole = FrameViewDataset(videos, size=8)
    assert whole.classes == ("ill", "well") and whole.num_classes == 2 and whole.labelled_share == 0.75
    assert whole.summary() == {
        "items": 4, "videos": 4, "frames": 10, "subjects": 4, "labelled": 3, "classes": {"ill": 1, "well": 2}
    }  # fmt: skip
    with pytest.raises(InputError, match="label_rate is 0"):
        FrameViewDataset(videos, label_rate=0, need_labels=True)
    with pytest.raises(InputError, match="nothing in the chosen data has one"):
        FrameViewDataset(videos, subjects=["p"], need_labels=True)


def test_a_single_class_teaches_nothing(videos: ImageSetDatalist):
    alike = [dataclasses.replace(image, label=image.label and "ill") for image in videos]
    single = dataclasses.replace(videos, images=tuple(alike), classes=("ill",))
    dataset = FrameViewDataset(single, size=8)
    assert dataset.num_classes is None and dataset.classes == ("ill",)
    with pytest.raises(InputError, match='"ill" is the only class'):
        FrameViewDataset(single, size=8, need_labels=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"unit": "vidoe"}, 'Did you mean "video"'),
        ({"positive": "frames"}, "give video or image"),
        ({"unit": "frame"}, 'set positive to "image"'),
        ({"mix": 0}, "above 0"),
        ({"mix": 0.5, "positive": "image"}, "two views of three frames"),
        ({"mix": 0.5, "n_views": 3}, "two views of three frames"),
        ({"mix": 0.5, "augment_second": {}}, "augment_second to null"),
        ({"n_views": 0}, "n_views is 0"),
        ({"label_rate": 1.5}, "label_rate is 1.5"),
        ({"augment": {"flop": 1}}, 'no option "flop". Did you mean "flip"'),
        ({"augment_second": {"flip": 2}}, "flip"),
        ({"channels": 2}, "channels 2"),
        ({"subjects": ["sic"]}, 'Did you mean "six"'),
        ({"subjects": "six"}, "give a list"),
    ],
)
def test_what_cannot_be_used_is_said(videos: ImageSetDatalist, settings: dict, said: str):
    with pytest.raises(InputError, match=said):
        FrameViewDataset(videos, **settings)


def test_an_item_that_is_not_there(videos: ImageSetDatalist):
    with pytest.raises(IndexError, match="Item 4 does not exist"):
        FrameViewDataset(videos, size=8)[4]


# --- a store as source ---


def test_a_store_gives_windows_with_the_plane_in_their_middle(tmp_path: Path):
    root = make_store(
        tmp_path / "store", n_scans=2, seconds=7, speech=False, planes=lambda n: [[0, 3.5, "4CH"]] if n else []
    )
    dataset = FrameViewDataset(root, interval=0.5, clip_seconds=2.0, channels=3)
    assert len(dataset) == 6 and dataset.subjects == ("p000", "p001")
    background, heart = PLANES.index("background"), PLANES.index("4CH")
    assert dataset.labels.tolist() == [-1, -1, -1, heart, heart, background]
    assert dataset.item_name(4) == "scan s001 from 2.00 s" and dataset.describe(4) == ("p001", "s001", 2.0)
    sample = dataset[(3, 4)]
    assert sample["image"].shape == (2, 3, 64, 64) and sample["label"] == heart
    stored = dataset.source.scans[1].read_frames([20, 25, 30, 35])
    for frame in sample["image"]:
        assert sum(np.array_equal(frame[c].numpy(), one) for c in range(3) for one in stored) == 3
    assert FrameViewDataset(root, exclude_subjects=["p001"]).classes == ()


# --- real recordings ---


def test_real_lung_videos(real_data: Path):
    with pytest.warns(UserWarning, match="the counts differ"):
        datalist = build_image_set("pocus", real_data / "pocus", max_frames=2)
    group = datalist.groups[0]
    dataset = FrameViewDataset(datalist, subjects=[group], mix=0.5)
    sample = dataset[0]
    assert sample["image"].shape == (3, 1, 224, 224) and sample["image"].float().std() > 5
    assert dataset.classes == ("covid", "pneumonia", "regular") and dataset.subjects == (group,)
