# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_usspeech.engines.prepare_views import PrepareViewBatch
from monai_usspeech.transforms.view_augmentation import apply_view_augmentation, draw_view_augmentation


def batch(items: int = 4, frames: int = 2, side: int = 40, augment: bool = True, mix: bool = False) -> dict:
    generator = torch.Generator().manual_seed(0)
    drawn: dict[str, torch.Tensor] = {}
    if augment:
        settings = {"blur_prob": 0.5, "cutout": 0.3, "gamma": (0.8, 1.2)}
        record = draw_view_augmentation(np.random.RandomState(0), items * frames, **settings)
        drawn = {f"image_{k}": torch.from_numpy(v).unflatten(0, (items, frames)) for k, v in record.items()}
    if mix:
        drawn["mix"] = torch.rand(items, generator=generator)
    image = torch.randint(0, 256, (items, frames, 1, side, side), dtype=torch.uint8, generator=generator)
    numbers = {"label": torch.tensor([2, -1, 0, 1])[:items], "item": torch.arange(items), "video": torch.arange(items)}
    return {"image": image, **drawn, **numbers}


def one_frame(data: dict, item: int, frame: int, size: int) -> torch.Tensor:
    """A single frame by itself, as its own record says: the oracle for the whole batch."""
    record = {k[6:]: v[item, frame][None] for k, v in data.items() if k.startswith("image_")}
    return apply_view_augmentation(data["image"][item, frame][None], record, size)[0]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_every_frame_becomes_the_view_that_was_drawn_for_it(frames):
    data = batch(frames=frames)
    image, targets = PrepareViewBatch(24, frame_mean=0.4, frame_std=0.2)(data)
    assert image.shape == (frames, 4, 1, 24, 24) and image.dtype == torch.float32
    for item in range(4):
        for view in range(frames):
            torch.testing.assert_close(image[view, item], (one_frame(data, item, view, 24) - 0.4) / 0.2)
    assert all(torch.equal(targets[name], data[name]) for name in ("label", "item", "video"))


def test_a_sample_pair_shares_its_middle_frame():
    data = batch(frames=3, mix=True)
    image, _ = PrepareViewBatch(24, frame_mean=0.5, frame_std=0.25)(data)
    assert image.shape == (2, 4, 1, 24, 24) and image.is_contiguous()
    for item in range(4):
        first, anchor, third = ((one_frame(data, item, k, 24) - 0.5) / 0.25 for k in range(3))
        share = float(data["mix"][item])
        torch.testing.assert_close(image[0, item], share * first + (1 - share) * anchor)
        torch.testing.assert_close(image[1, item], share * third + (1 - share) * anchor)


def test_with_a_coefficient_of_one_the_outer_frames_are_the_views():
    data = {**batch(frames=3, mix=True), "mix": torch.ones(4)}
    mixed, _ = PrepareViewBatch(24)(data)
    plain, _ = PrepareViewBatch(24)({name: value for name, value in data.items() if name != "mix"})
    torch.testing.assert_close(mixed, plain[[0, 2]])


def test_without_a_record_frames_are_only_resized_and_standardised():
    data = batch(augment=False)
    image, _ = PrepareViewBatch(40, frame_mean=0.0, frame_std=1.0)(data)
    torch.testing.assert_close(image, data["image"].transpose(0, 1) / 255, atol=1e-5, rtol=0)
    grey, targets = PrepareViewBatch([20, 30])({"image": torch.full((2, 2, 3, 40, 60), 0.75)})  # a list, as JSON has it
    torch.testing.assert_close(grey, torch.ones(2, 2, 3, 20, 30))
    assert targets == {}


def test_part_of_a_record_is_completed():
    data = batch()
    neutral = {
        "image_blur": torch.zeros(4, 2),
        "image_cutout": torch.zeros(4, 2, 4),
        "image_contrast": torch.ones(4, 2),
    }
    plain = {name: value for name, value in data.items() if name not in neutral}
    torch.testing.assert_close(PrepareViewBatch(24)(plain)[0], PrepareViewBatch(24)({**plain, **neutral})[0])
    assert not torch.allclose(PrepareViewBatch(24)(plain)[0], PrepareViewBatch(24)(data)[0])


def test_what_does_not_fit_is_an_error():
    for wrong in ({"size": 0}, {"frame_std": 0.0}, {"size": (8, -1)}):
        with pytest.raises(ValueError, match="must be positive"):
            PrepareViewBatch(**wrong)
    with pytest.raises(KeyError, match="no 'image'; it has"):
        PrepareViewBatch()({"label": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"expected image \[B, F, C, H, W\], got the shape \(2, 1, 8, 8\)"):
        PrepareViewBatch()({"image": torch.zeros(2, 1, 8, 8)})
    with pytest.raises(ValueError, match="three frames of each video, got 2"):
        PrepareViewBatch()({**batch(), "mix": torch.ones(4)})
