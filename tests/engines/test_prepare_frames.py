# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from torch.utils.data import DataLoader

from monai_usspeech.data.gaze_frames import GazeDataset
from monai_usspeech.data.plane_frames import PlaneDataset
from monai_usspeech.engines.prepare_frames import PrepareFrameBatch, standardise_images
from monai_usspeech.transforms.augmentation import apply_augmentation, draw_augmentation
from tests.data.store_factory import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("frames") / "store"
    return make_store(root, n_scans=2, seconds=4.0, size=32, speech=False, gaze=True, planes=True)


def batch(n: int = 3, side: int = 40) -> dict[str, torch.Tensor]:
    rng = np.random.RandomState(0)
    drawn = {f"image_{k}": torch.from_numpy(v) for k, v in draw_augmentation(rng, n, shared=False).items()}
    image = torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8)
    return {"image": image, "label": torch.arange(n), **drawn}


def test_the_drawn_augmentation_is_applied_and_standardised():
    data = batch()
    image, label = PrepareFrameBatch(24, frame_mean=0.4, frame_std=0.2)(data)
    params = {name: data[f"image_{name}"] for name in ("affine", "gain", "gamma")}
    torch.testing.assert_close(image, (apply_augmentation(data["image"], params, 24) - 0.4) / 0.2)
    assert torch.equal(label, data["label"]) and image.shape == (3, 1, 24, 24)


def test_a_batch_without_augmentation_is_only_resized():
    image = batch()["image"]
    same, target = PrepareFrameBatch(40, target=None, frame_mean=0.0, frame_std=1.0)({"image": image})
    torch.testing.assert_close(same, image / 255, atol=1e-5, rtol=0)
    assert target is None
    grey, _ = PrepareFrameBatch([22, 28], None)({"image": torch.full((2, 1, 44, 56), 0.75)})  # a list, as JSON has it
    torch.testing.assert_close(grey, torch.full((2, 1, 22, 28), 1.0))


def test_each_image_is_standardised_by_its_own_numbers():
    data = batch()
    image, _ = PrepareFrameBatch((24, 32), standardise="image", frame_scale=255.0)(data)
    plain, _ = PrepareFrameBatch((24, 32), frame_mean=0.0, frame_std=1.0)(data)
    for result, source in zip(image.double().numpy(), plain.double().numpy()):
        np.testing.assert_allclose(result, 255 * (source - source.mean()) / source.std(), rtol=1e-3, atol=0.02)
    brighter = standardise_images(0.2 + 0.5 * plain)
    torch.testing.assert_close(brighter, standardise_images(plain), atol=1e-4, rtol=1e-4)
    assert not standardise_images(torch.full((2, 1, 8, 8), 0.3)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("dataset", "target", "shape"), [(PlaneDataset, "label", ()), (GazeDataset, "saliency", (64, 64))]
)
def test_it_serves_an_evaluator_of_monai(store, dataset, target, shape):
    frames = dataset(store, augment={})
    seen = []

    class Network(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image.shape[1:])
            return image.mean((1, 2, 3))

    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=DataLoader(frames, batch_size=4), network=Network(),
        prepare_batch=PrepareFrameBatch(16, target), decollate=False,
    )  # fmt: skip
    evaluator.run()
    assert set(seen) == {(1, 16, 16)}
    assert evaluator.state.output["label"].shape[1:] == shape
    assert "item" in evaluator.state.batch


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match='"fixed" or "image"'):
        PrepareFrameBatch(standardise="scan")
    for wrong in ({"size": 0}, {"frame_std": 0.0}, {"frame_scale": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            PrepareFrameBatch(**wrong)
    with pytest.raises(KeyError, match="no 'saliency'"):
        PrepareFrameBatch(target="saliency")(batch())
    with pytest.raises(KeyError, match="no 'image'"):
        PrepareFrameBatch()({"label": torch.zeros(2)})
