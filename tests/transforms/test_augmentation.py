# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Clip augmentation: what is drawn, and what is done with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_usspeech.transforms.augmentation import (
    RandClipAugmentation,
    RandClipAugmentationD,
    RandClipAugmentationd,
    RandClipAugmentationDict,
    apply_augmentation,
    draw_augmentation,
    identity_augmentation,
    standardise_frames,
)

JITTER = 5 / 256


def _draws(n: int = 400, frames: int = 4, **settings: Any) -> dict[str, np.ndarray]:
    rng = np.random.RandomState(0)
    records = [draw_augmentation(rng, frames, **settings) for _ in range(n)]
    return {name: np.stack([record[name] for record in records]) for name in records[0]}


def _speckle(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _bilinear(image: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The sampling of one image as loops: pixel centres at (i + 0.5) / n, borders repeated."""
    height, width = image.shape
    out = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            place = affine @ np.array([(2 * column + 1) / size[1] - 1, (2 * row + 1) / size[0] - 1, 1.0])
            x = float(np.clip((place[0] + 1) * width / 2 - 0.5, 0, width - 1))
            y = float(np.clip((place[1] + 1) * height / 2 - 0.5, 0, height - 1))
            x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (1 - abs(x - x0 - dx)) * (1 - abs(y - y0 - dy))
                    out[row, column] += weight * image[y0 + dy, x0 + dx]
    return out


def test_record_shapes_and_types() -> None:
    drawn, identity = draw_augmentation(np.random.RandomState(0), 5), identity_augmentation(5)
    for record in (drawn, identity):
        assert {name: (value.shape, value.dtype) for name, value in record.items()} == {
            "affine": ((5, 2, 3), np.dtype(np.float32)),
            "gain": ((5,), np.dtype(np.float32)),
            "gamma": ((5,), np.dtype(np.float32)),
        }


def test_draws_fill_their_ranges() -> None:
    draws = _draws(2000, frames=1)
    width, height = np.abs(draws["affine"][:, 0, 0, 0]), draws["affine"][:, 0, 1, 1]
    area, ratio = width * height, width / height
    assert 0.8 - 1e-5 <= area.min() < 0.805 and 0.995 < area.max() <= 1 + 1e-5
    assert 0.8 - 1e-5 <= ratio.min() < 0.82 and 1.2 < ratio.max() <= 1.25 + 1e-5
    assert abs(np.log(ratio).mean()) < 0.01
    assert abs((draws["affine"][:, 0, 0, 0] < 0).mean() - 0.5) < 0.04
    for name in ("gain", "gamma"):
        assert 0.75 <= draws[name].min() < 0.76 and 1.24 < draws[name].max() <= 1.25
        assert abs(draws[name].mean() - 1) < 0.02
    assert (draws["affine"][:, 0, 1, 1] > 0).all()  # never upside down: depth has a direction


@pytest.mark.parametrize("settings", [{}, {"jitter": JITTER}, {"jitter": 0.2, "shared": False}, {"ratio": (2.0, 3.0)}])
def test_the_crop_lies_inside_the_picture(settings: dict[str, Any]) -> None:
    affine = _draws(**settings)["affine"].astype(np.float64)
    reach = np.abs(affine[..., :2]).sum(-1) + np.abs(affine[..., 2])
    assert reach.max() <= 1 + 1e-6
    assert reach.max() > 0.98  # and it reaches the border


def test_frames_of_a_clip_share_everything_but_jitter_and_noise() -> None:
    plain = _draws()
    for value in plain.values():
        assert (value == value[:, :1]).all()
    moved = _draws(jitter=JITTER, noise=0.05)
    assert (moved["gamma"] == moved["gamma"][:, :1]).all()
    assert (moved["affine"][..., :2] == moved["affine"][:, :1, :, :2]).all()
    extent = np.abs(moved["affine"][..., [0, 1], [0, 1]])
    pixels = (moved["affine"][..., 2] - moved["affine"][..., 2].mean(1, keepdims=True)) / extent * 128
    assert 4.0 < np.abs(pixels).max() <= 7.5  # each within 5 px of its place, so within 7.5 of the mean of four
    spread = moved["gain"].max(1) / moved["gain"].min(1)
    assert 1.05 < spread.max() <= 1.05 / 0.95 + 1e-5 and np.unique(moved["gain"][0]).size == 4
    apart = _draws(shared=False)
    assert all(np.unique(apart[name][0]).size == 4 for name in ("gain", "gamma"))


def test_same_state_same_record_whatever_the_ranges() -> None:
    first = draw_augmentation(np.random.RandomState(4), 4, jitter=JITTER)
    again = draw_augmentation(np.random.RandomState(4), 4, jitter=JITTER)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    left, right = np.random.RandomState(4), np.random.RandomState(4)
    draw_augmentation(left, 4)
    draw_augmentation(right, 4, flip=0.0, jitter=0.1, noise=0.1, scale=(0.5, 0.5))
    assert left.rand() == right.rand()


def test_nothing_left_to_draw_is_the_identity() -> None:
    drawn = draw_augmentation(
        np.random.RandomState(0), 3, scale=(1, 1), ratio=(1, 1), flip=0.0, gain=(1, 1), gamma=(1, 1)
    )
    for name, value in identity_augmentation(3).items():
        np.testing.assert_allclose(drawn[name], value, atol=1e-7)


def test_identity_keeps_every_grey_value() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 1, 1, 1)
    out = apply_augmentation(frames, identity_augmentation(2))
    assert out.dtype == torch.float32 and out.shape == frames.shape
    assert torch.equal((out * 255).round().to(torch.uint8), frames)
    torch.testing.assert_close(apply_augmentation(frames.numpy() / 255.0, identity_augmentation(2)), out)


def test_sampling_equals_the_loops() -> None:
    images = _speckle(3, 1, 20, 24)
    record = draw_augmentation(np.random.RandomState(1), 3, shared=False, scale=(0.5, 0.9))
    out = apply_augmentation(images, record, size=(18, 21))
    for image, affine, gain, gamma, got in zip(images, record["affine"], record["gain"], record["gamma"], out):
        expected = np.clip(gain * _bilinear(image[0].numpy(), affine, (18, 21)) ** gamma, 0, 1)
        np.testing.assert_allclose(got[0].numpy(), expected, atol=2e-5)


def test_flip_crop_gain_and_gamma_one_at_a_time() -> None:
    image = _speckle(1, 1, 16, 16)
    record = identity_augmentation(1)
    flipped = apply_augmentation(image, {**record, "affine": record["affine"] * [[-1, 1, 1], [1, 1, 1]]})
    torch.testing.assert_close(flipped, image.flip(-1), rtol=1e-5, atol=1e-5)
    corner = np.array([[[14 / 16, 0, -2 / 16], [0, 14 / 16, 2 / 16]]])  # 14 pixels from the left, 14 from the bottom
    cropped = apply_augmentation(image, {**record, "affine": corner}, size=14)
    torch.testing.assert_close(cropped, image[..., 2:, :14], rtol=1e-5, atol=1e-5)
    dark = apply_augmentation(image, {**record, "gain": np.array([0.5]), "gamma": np.array([2.0])})
    torch.testing.assert_close(dark, 0.5 * image**2, rtol=1e-4, atol=1e-5)
    bright = apply_augmentation(image, {**record, "gain": np.array([100.0])})
    assert float(bright.max()) == 1.0


def test_shrinking_does_not_alias() -> None:
    """A pattern of single pixels is grey from afar; plain bilinear sampling would show moiré."""
    y, x = torch.meshgrid(torch.arange(288), torch.arange(288), indexing="ij")
    board = ((x + y) % 2).float().reshape(1, 1, 288, 288)
    out = apply_augmentation(board, identity_augmentation(1), size=72)
    torch.testing.assert_close(out, torch.full_like(out, 0.5), rtol=0, atol=1e-4)
    noise = _speckle(1, 1, 256, 256)
    half, quarter = (apply_augmentation(noise, identity_augmentation(1), size=n) for n in (128, 64))
    torch.testing.assert_close(half, torch.nn.functional.interpolate(noise, 128, mode="area"), rtol=0, atol=1e-5)
    # white noise: the mean of 16 pixels has a quarter of the spread, plain bilinear sampling (4 pixels) a half
    assert float(quarter.std() / noise.std()) == pytest.approx(0.25, rel=0.15)


def test_leading_axes_and_records_of_a_batch() -> None:
    frames = (_speckle(2, 3, 1, 24, 24) * 255).to(torch.uint8)
    records = [draw_augmentation(np.random.RandomState(i), 3) for i in range(2)]
    batch = {name: torch.as_tensor(np.stack([r[name] for r in records])) for name in records[0]}
    out = apply_augmentation(frames, batch, size=16)
    assert out.shape == (2, 3, 1, 16, 16)
    for i, record in enumerate(records):
        torch.testing.assert_close(out[i], apply_augmentation(frames[i], record, size=16), rtol=1e-5, atol=1e-6)


def test_float32_under_autocast() -> None:
    frames, record = _speckle(2, 1, 32, 32), draw_augmentation(np.random.RandomState(0), 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = apply_augmentation(frames, record)
    torch.testing.assert_close(out, apply_augmentation(frames, record), rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu() -> None:
    frames = (_speckle(6, 1, 288, 288) * 255).to(torch.uint8)
    record = draw_augmentation(np.random.RandomState(0), 6, jitter=JITTER, shared=False)
    got = apply_augmentation(frames.cuda(), record, size=256)
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), apply_augmentation(frames, record, size=256), rtol=1e-3, atol=1e-3)


def test_standardise() -> None:
    frames = torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1).expand(3, 1, 4, 4)
    out = apply_augmentation(frames, identity_augmentation(3), standardise=(0.5, 0.25))
    torch.testing.assert_close(out, standardise_frames(frames))
    assert out[:, 0, 0, 0].tolist() == pytest.approx([-2.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="std"):
        standardise_frames(frames, 0.5, 0.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (0.8, 1.5)}, "scale"),
        ({"gain": (1.25, 0.75)}, "gain"),
        ({"gamma": (0.5, math.inf)}, "gamma"),
        ({"flip": 1.5}, "flip"),
        ({"jitter": 0.5}, "jitter"),
        ({"noise": -0.1}, "noise"),
    ],
)
def test_wrong_ranges_are_told_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RandClipAugmentation(**settings)


def test_wrong_input_tells_both_shapes() -> None:
    record = identity_augmentation(4)
    with pytest.raises(ValueError, match=r"affine.*\(4, 2, 3\).*\(3,\).*\(3, 2, 3\)"):
        apply_augmentation(torch.zeros(3, 1, 8, 8), record)
    with pytest.raises(ValueError, match=r"\[..., C, H, W\]"):
        apply_augmentation(torch.zeros(1, 8, 8), record)
    with pytest.raises(ValueError, match="int64"):
        apply_augmentation(torch.zeros(4, 1, 8, 8, dtype=torch.int64), record)
    with pytest.raises(ValueError, match="lacks 'gamma'"):
        apply_augmentation(torch.zeros(4, 1, 8, 8), {"affine": record["affine"], "gain": record["gain"]})
    with pytest.raises(ValueError, match=r"\[T, C, H, W\]"):
        RandClipAugmentation()(torch.zeros(1, 8, 8))


def test_array_transform_replays_and_shares_the_record() -> None:
    still = _speckle(1, 1, 40, 40).repeat(4, 1, 1, 1)
    transform = RandClipAugmentation(size=32)
    transform.set_random_state(5)
    state = transform.R.get_state()
    first = transform(still)
    assert first.shape == (4, 1, 32, 32) and torch.equal(first[0], first[3])  # a still clip stays still
    assert torch.equal(transform(still, randomize=False), first)
    assert not torch.equal(transform(still), first)
    transform.R.set_state(state)
    assert torch.equal(transform(still), first)
    assert torch.equal(first, apply_augmentation(still, transform.params, 32))


def test_prob_zero_only_resizes() -> None:
    clip = _speckle(3, 1, 40, 40)
    out = RandClipAugmentation(size=32, prob=0.0)(clip)
    assert torch.equal(out, apply_augmentation(clip, identity_augmentation(3), 32))
    same = RandClipAugmentation(size=None, prob=0.0, standardise=(0.5, 0.25))(clip)
    torch.testing.assert_close(same, (clip - 0.5) / 0.25, rtol=1e-4, atol=1e-4)


def test_dictionary_twin_in_a_compose() -> None:
    data: dict[Any, Any] = {"frames": MetaTensor(_speckle(2, 1, 40, 40)), "label": 1}
    data["order_frames"] = _speckle(4, 1, 40, 40).numpy()
    compose = Compose([RandClipAugmentationd(["frames", "order_frames"], size=32, jitter=JITTER)])
    results = []
    for _ in range(2):
        compose.set_random_state(9)
        results.append([compose(data), compose(data)])
    for first, again in zip(*results):
        assert torch.equal(first["frames"], again["frames"])
        assert torch.equal(first["order_frames"], again["order_frames"]) and first["label"] == 1
        assert type(first["frames"]) is torch.Tensor and first["order_frames"].shape == (4, 1, 32, 32)
    assert not torch.equal(results[0][0]["frames"], results[0][1]["frames"])
    alone = RandClipAugmentationd("frames", size=32).set_random_state(9)
    torch.testing.assert_close(
        alone(data)["frames"],
        apply_augmentation(data["frames"].as_tensor(), alone.augmentation.params, 32),
        rtol=0,
        atol=0,
    )
    assert RandClipAugmentationD is RandClipAugmentationDict is RandClipAugmentationd
