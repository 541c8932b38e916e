# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from monai_usspeech.data.files import InputError
from monai_usspeech.data.frame_batches import BalancedBatchSampler
from monai_usspeech.data.image_reading import read_picture, read_video_frames, resize_picture, spaced_times
from monai_usspeech.data.image_set_dataset import ImageSetDataset
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from monai_usspeech.engines.prepare_frames import PrepareFrameBatch
from monai_usspeech.transforms.augmentation import apply_augmentation
from tests.data.media_factory import make_video, read_index

AUGMENT = {"scale": [0.5, 0.9], "flip": 0.5}


@pytest.fixture
def images(tmp_path: Path) -> ImageSetDatalist:
    """Four pictures of two patients, and three frames of a video of 30 frames a second."""
    rng = np.random.RandomState(0)
    for name in ("a", "b", "c", "d"):
        Image.fromarray(rng.randint(0, 256, (40, 60), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    make_video(tmp_path / "v.mp4", n_frames=40)
    pictures = [
        LabelledImage(tmp_path / f"{name}.png", label, group)
        for name, label, group in (("a", "ben", "p1"), ("b", "mal", "p1"), ("c", "ben", "p2"), ("d", "mal", "p2"))
    ]
    video = [LabelledImage(tmp_path / "v.mp4", "mal", "v", time) for time in (0.0, 0.5, 1.0)]
    return ImageSetDatalist("x", ("ben", "mal"), (*pictures, *video))


# --- reading ---


def ramp(depth: int) -> np.ndarray:
    return np.arange(depth).reshape(16, -1)


def test_pictures_of_any_kind_become_eight_bits(tmp_path: Path):
    grey = ramp(256).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(ramp(65536).astype(np.uint16)).save(tmp_path / "deep.png")
    colour = np.zeros((4, 5, 4), np.uint8)
    colour[..., 0], colour[..., 1], colour[..., 2], colour[..., 3] = 200, 100, 50, 7
    Image.fromarray(colour).save(tmp_path / "alpha.png")
    paletted = Image.fromarray(colour[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE)
    paletted.save(tmp_path / "palette.png")
    assert np.array_equal(read_picture(tmp_path / "grey.png"), grey)
    assert np.array_equal(read_picture(tmp_path / "grey.png", 3), np.repeat(grey[..., None], 3, -1))
    assert np.array_equal(read_picture(tmp_path / "deep.png"), ramp(65536) // 256)
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    for name in ("alpha.png", "palette.png"):
        assert np.all(read_picture(tmp_path / name) == luma)
        assert np.array_equal(read_picture(tmp_path / name, 3), colour[..., :3])


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_a_broken_picture_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match="bad.png"):
        read_picture(tmp_path / "bad.png")


def test_a_cut_picture_is_named(tmp_path: Path):
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with pytest.raises(InputError, match=r"cut.png.*Copy it again"):
        read_picture(tmp_path / "cut.png")


def test_frames_of_a_video_are_those_on_display(tmp_path: Path):
    times = [0.0, 0.04, 0.3, 0.31, 1.0]  # uneven, as a phone records
    make_video(tmp_path / "v.mp4", times=times)
    wanted = [1.0, 0.0, 0.305, 0.299, 9.0, 0.31, 0.31]
    shown = [read_index(frame) for frame in read_video_frames(tmp_path / "v.mp4", wanted)]
    assert shown == [max(i for i, t in enumerate(times) if t <= at + 1e-6) for at in wanted]


def test_times_are_spaced_and_capped(tmp_path: Path):
    make_video(tmp_path / "v.mp4", n_frames=60)
    assert np.allclose(spaced_times(tmp_path / "v.mp4", 0.5), [0.0, 0.5, 1.0, 1.5], atol=1e-3)
    assert np.allclose(spaced_times(tmp_path / "v.mp4", 0.5, 2), [0.0, 0.5], atol=1e-3)
    assert len(spaced_times(tmp_path / "v.mp4", 1 / 60)) == 60  # every frame once


def test_resizing_averages_where_it_shrinks():
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = resize_picture(checks, (16, 8))
    assert small.shape == (16, 8) and np.all(np.abs(small.astype(int) - 127) < 8)


# --- the dataset ---


def test_a_sample_is_a_dictionary_of_tensors(images: ImageSetDatalist):
    dataset = ImageSetDataset(images, size=(20, 30))
    sample = dataset[1]
    assert sample["image"].dtype == torch.uint8 and sample["image"].shape == (1, 20, 30)
    expected = resize_picture(read_picture(images.images[1].image), (20, 30))
    assert np.array_equal(sample["image"][0].numpy(), expected)
    assert [int(sample[name]) for name in ("label", "group", "item")] == [1, 0, 1]
    assert torch.equal(sample["image_affine"], torch.eye(2, 3)) and sample["image_gain"] == 1
    assert all(isinstance(value, torch.Tensor) for value in sample.values())
    assert dataset.labels.tolist() == [0, 1, 0, 1, 1, 1, 1] and dataset.subjects == ("p1", "p2", "v")
    assert ImageSetDataset(images, size=16, channels=3)[0]["image"].shape == (3, 16, 16)


def test_frames_of_a_video_arrive_in_order(images: ImageSetDatalist):
    dataset = ImageSetDataset(images, subjects=["v"], size=(64, 96))
    assert [read_index(dataset[i]["image"][0].numpy()) for i in (2, 0, 1)] == [30, 0, 15]
    assert dataset.describe(1) == ("v", "v.mp4", 0.5) and dataset.item_name(1) == "video v.mp4 at 0.50 s"


def test_what_a_sample_holds_can_be_changed_without_changing_the_next(images: ImageSetDatalist):
    dataset = ImageSetDataset(images, size=16)
    before = dataset[0]["image"].clone()
    dataset[0]["image"].zero_()
    assert torch.equal(dataset[0]["image"], before)


def test_without_cache_nothing_is_kept_of_pictures(images: ImageSetDatalist):
    dataset = ImageSetDataset(images, subjects=["p1"], size=16, cache=False)
    first = dataset[0]["image"]
    Image.new("L", (40, 60)).save(images.images[0].image)
    assert first.any() and not dataset[0]["image"].any()


def test_the_augmentation_depends_on_seed_epoch_and_item_alone(images: ImageSetDatalist):
    dataset = ImageSetDataset(images, size=16, augment=AUGMENT, seed=3)
    again = pickle.loads(pickle.dumps(dataset))
    other = ImageSetDataset(images, size=16, augment=AUGMENT, seed=4)
    for item in (0, (1, 0), (1, 5)):
        assert torch.equal(dataset[item]["image_affine"], again[item]["image_affine"])
        assert not torch.equal(dataset[item]["image_affine"], other[item]["image_affine"])
    assert not torch.equal(dataset[(0, 0)]["image_affine"], dataset[(1, 0)]["image_affine"])
    assert torch.equal(dataset[(1, 0)]["image"], dataset[(0, 0)]["image"])


def test_prepare_frame_batch_applies_what_was_drawn(images: ImageSetDatalist):
    dataset = ImageSetDataset(images, size=32, augment=AUGMENT)
    samples = [dataset[(2, item)] for item in range(4)]
    image, label = PrepareFrameBatch(size=24, frame_mean=0.0, frame_std=1.0)(default_collate(samples))
    assert image.shape == (4, 1, 24, 24) and label.tolist() == [0, 1, 0, 1]
    for row, sample in zip(image, samples):
        record = {name: sample[f"image_{name}"][None] for name in ("affine", "gain", "gamma")}
        assert torch.allclose(row, apply_augmentation(sample["image"][None], record, 24)[0], atol=1e-6)


def test_it_feeds_the_balanced_sampler_and_a_loader(images: ImageSetDatalist):
    dataset = ImageSetDataset(images, size=16)
    sampler = BalancedBatchSampler(dataset.labels, 4, n_batches=3)
    batches = list(DataLoader(dataset, batch_sampler=sampler))
    assert all(batch["label"].bincount().tolist() == [2, 2] for batch in batches)


def test_images_without_a_label_are_left_out(images: ImageSetDatalist):
    mixed = replace(images, images=tuple(replace(i, label=None) if i.group != "p1" else i for i in images))
    dataset = ImageSetDataset(mixed, size=16)
    assert dataset.subjects == ("p1",) and dataset.labels.tolist() == [0, 1]
    assert dataset.summary()["unlabelled"] == 5 and "unlabelled" not in ImageSetDataset(images).summary()
    with pytest.raises(InputError, match=r"none of the 3 chosen images has a label; .* are for pretraining"):
        ImageSetDataset(mixed, subjects=["v"])


def test_groups_are_chosen_by_name(images: ImageSetDatalist):
    assert ImageSetDataset(images, exclude_subjects=["v", "p1"]).subjects == ("p2",)
    assert ImageSetDataset(images, subjects=["p2"]).summary() == {
        "images": 2, "files": 2, "subjects": 1, "classes": {"ben": 1, "mal": 1}
    }  # fmt: skip
    with pytest.raises(InputError, match=r'has no group "p22". Did you mean "p2"'):
        ImageSetDataset(images, subjects=["p22"])
    with pytest.raises(InputError, match="no image is left"):
        ImageSetDataset(images, subjects=["p1"], exclude_subjects=["p1"])
    with pytest.raises(InputError, match='no option "flop"'):
        ImageSetDataset(images, augment={"flop": 1})
    with pytest.raises(InputError, match="channels 2"):
        ImageSetDataset(images, channels=2)
    with pytest.raises(IndexError):
        ImageSetDataset(images)[7]
