# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Views of frames: what is drawn, and what is done with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tvf

from monai_usspeech.transforms import view_augmentation
from monai_usspeech.transforms.augmentation import apply_augmentation, draw_augmentation
from monai_usspeech.transforms.view_augmentation import (
    STRONG_OPERATIONS,
    VIEW_RECORD,
    apply_view_augmentation,
    draw_view_augmentation,
    identity_view_augmentation,
)

STILL: dict[str, Any] = {"scale": (1, 1), "ratio": (1, 1), "flip": 0.0, "jitter_prob": 0.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "hico": {},
    "moco_v2": {
        "scale": (0.2, 1),
        "ratio": (0.75, 4 / 3),
        "brightness": (0.6, 1.4),
        "contrast": (0.6, 1.4),
        "jitter_prob": 0.8,
        "blur_prob": 0.5,
    },
    "strong": {"jitter_prob": 0.0, "strong": 2, "cutout": 0.5},
}


def _draw(views: int = 4000, seed: int = 0, **settings: Any) -> dict[str, np.ndarray]:
    return draw_view_augmentation(np.random.RandomState(seed), views, **settings)


def _speckle(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_record_shapes_and_types() -> None:
    shapes = {"affine": (5, 2, 3), "gain": (5,), "gamma": (5,), "contrast": (5,), "blur": (5,), "cutout": (5, 4)}
    for record in (_draw(5), _draw(5, **SETTINGS["strong"]), identity_view_augmentation(5)):
        assert tuple(record) == VIEW_RECORD
        assert {name: (value.shape, value.dtype) for name, value in record.items()} == {
            name: (shape, np.dtype(np.float32)) for name, shape in shapes.items()
        }


def test_crop_and_flip_are_those_of_clips() -> None:
    drawn = _draw(50, scale=(0.5, 0.9), brightness=(0.5, 1.5), gamma=(0.8, 1.2))
    clip = draw_augmentation(
        np.random.RandomState(0), 50, scale=(0.5, 0.9), gain=(0.5, 1.5), gamma=(0.8, 1.2), shared=False
    )
    for name, value in clip.items():
        np.testing.assert_array_equal(drawn[name], value)


def test_the_defaults_are_those_of_hico() -> None:
    drawn = _draw()
    for name in ("gain", "contrast"):
        assert 0.2 <= drawn[name].min() < 0.205 and 1.795 < drawn[name].max() <= 1.8 + 1e-6
        assert abs(drawn[name].mean() - 1) < 0.03
    assert abs(np.corrcoef(drawn["gain"], drawn["contrast"])[0, 1]) < 0.05
    assert (drawn["gamma"] == 1).all() and not drawn["blur"].any() and not drawn["cutout"].any()
    area = np.abs(drawn["affine"][:, 0, 0]) * drawn["affine"][:, 1, 1]
    assert 0.8 - 1e-5 <= area.min() and area.max() <= 1 + 1e-5
    assert abs((drawn["affine"][:, 0, 0] < 0).mean() - 0.5) < 0.04


def test_chances_of_jitter_and_blur() -> None:
    drawn = _draw(gamma=(0.7, 1.4), jitter_prob=0.8, blur_prob=0.25, blur=(0.5, 1.5))
    jittered = drawn["gain"] != 1
    assert abs(jittered.mean() - 0.8) < 0.03
    for name in ("gamma", "contrast"):  # all three or none
        np.testing.assert_array_equal(drawn[name] != 1, jittered)
    blurred = drawn["blur"] != 0
    assert abs(blurred.mean() - 0.25) < 0.03
    assert 0.5 <= drawn["blur"][blurred].min() < 0.52 and 1.48 < drawn["blur"].max() <= 1.5


def test_same_state_same_record_and_as_many_draws_whatever_the_settings() -> None:
    first, again = _draw(6, 4, **SETTINGS["strong"]), _draw(6, 4, **SETTINGS["strong"])
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    after = []
    for settings in SETTINGS.values():
        rng = np.random.RandomState(4)
        draw_view_augmentation(rng, 6, **settings)
        after.append(rng.rand())
    assert len(set(after)) == 1


def test_nothing_left_to_draw_is_the_identity() -> None:
    for name, value in identity_view_augmentation(3).items():
        np.testing.assert_allclose(_draw(3, **STILL)[name], value, atol=1e-7)


def _operation(affine: np.ndarray, record: dict[str, float]) -> list[str]:
    """Which operations a record of a view that is otherwise left alone shows."""
    found = [name for name, at in (("brightness", "gain"), ("contrast",) * 2, ("gamma",) * 2) if record[at] != 1]
    found += ["blur"] if record["blur"] else []
    linear, shift = affine[:, :2], affine[:, 2]
    found += [f"translation_{axis}" for axis, length in zip("xy", shift) if length]
    if abs(linear[0, 0] - 1) > 1e-7:
        found.append("rotation")
        assert np.allclose(linear @ linear.T, np.eye(2), atol=1e-6)
    else:
        found += [f"shear_{axis}" for axis, slope in zip("xy", (linear[0, 1], linear[1, 0])) if slope]
    return found


def test_one_strong_operation_is_each_of_the_nine_equally_often() -> None:
    drawn = _draw(4500, strong=1, **STILL)
    seen = {name: 0 for name in STRONG_OPERATIONS}
    for view in range(4500):
        names = _operation(drawn["affine"][view], {name: drawn[name][view] for name in VIEW_RECORD[1:5]})
        assert len(names) <= 1  # a rotation by less than 0.02 degrees passes as none
        for name in names:
            seen[name] += 1
    assert sum(seen.values()) > 4490
    assert all(abs(count - 500) < 5 * math.sqrt(500) for count in seen.values()), seen


def test_magnitudes_fill_their_ranges_in_both_directions() -> None:
    drawn = _draw(9000, strong=1, **STILL)
    for name in ("gain", "contrast", "gamma"):
        assert 0.5 - 1e-6 <= drawn[name].min() < 0.51 and 1.96 < drawn[name].max() <= 2 + 1e-6
    assert 1.98 < drawn["blur"].max() <= 2
    affine = drawn["affine"]
    assert 0.59 < affine[:, :, 2].max() <= 0.6 + 1e-6 and -0.6 - 1e-6 <= affine[:, :, 2].min() < -0.59
    assert 29.5 < np.degrees(np.arccos(affine[:, 0, 0].clip(-1, 1))).max() <= 30 + 1e-3


@pytest.mark.parametrize("strong", [2, 5, 9])
def test_strong_operations_are_distinct(strong: int) -> None:
    drawn = _draw(2000, strong=strong, **STILL)
    tone = sum((drawn[name] != 1).astype(int) for name in ("gain", "contrast", "gamma")) + (drawn["blur"] != 0)
    assert abs(tone.mean() - strong * 4 / 9) < 0.06
    assert tone.max() <= min(strong, 4) and tone.min() >= max(0, strong - 5)


def test_geometry_acts_in_the_view_and_the_crop_carries_it_into_the_picture() -> None:
    record = {name: value.astype(np.float64) for name, value in _draw(1, scale=(0.4, 0.4), flip=1.0).items()}
    crop = record["affine"][0].copy()
    given = {"rotation": 20.0, "shear_x": 0.2, "shear_y": -0.1, "translation_x": 0.25, "translation_y": -0.15}
    view_augmentation._strengthen(record, np.array([[given.get(name, 0.0) for name in STRONG_OPERATIONS]]))
    cos, sin = math.cos(math.radians(20)), math.sin(math.radians(20))
    for x, y in ((-1, -1), (1, -1), (0.3, 0.7), (0, 0)):
        sheared_x, sheared_y = x + 0.2 * y, y - 0.1 * x
        turned_x = cos * sheared_x - sin * sheared_y + 2 * 0.25
        turned_y = sin * sheared_x + cos * sheared_y - 2 * 0.15
        expected = (crop[0, 0] * turned_x + crop[0, 2], crop[1, 1] * turned_y + crop[1, 2])
        np.testing.assert_allclose(record["affine"][0] @ [x, y, 1], expected, atol=1e-6)


def test_cutouts_are_squares_inside_the_view() -> None:
    cutout = _draw(4000, cutout=0.5)["cutout"]
    top, left, bottom, right = cutout.T
    assert cutout.min() >= 0 and cutout.max() <= 1 and (bottom > top).all() and (right > left).all()
    whole = (cutout > 0).all(1) & (cutout < 1).all(1)
    np.testing.assert_allclose((bottom - top)[whole], (right - left)[whole], atol=1e-6)
    assert 0.48 < (bottom - top).max() <= 0.5 + 1e-6
    assert abs(((top + bottom) / 2)[whole].mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"brightness": (1.2, 0.8)}, "brightness must be a range"),
        ({"contrast": (0.0, 1.0)}, "contrast must be a range"),
        ({"blur": (0.1, 5.0)}, "blur must not exceed 4"),
        ({"blur_prob": 1.5}, r"blur_prob must lie in \[0, 1\]"),
        ({"jitter_prob": -0.1}, "jitter_prob must lie"),
        ({"cutout": 2}, "cutout must lie"),
        ({"strong": 10}, "strong must be a whole number from 0 to 9"),
        ({"strong": 1.5}, "strong must be a whole number"),
        ({"scale": (0.5, 1.5)}, "scale <= 1"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _draw(2, **settings)


def test_without_contrast_blur_and_cutout_it_is_the_augmentation_of_clips() -> None:
    frames = (_speckle(2, 3, 1, 40, 50) * 255).to(torch.uint8)
    record = _draw(6, contrast=(1, 1), gamma=(0.8, 1.2))
    record = {name: value.reshape(2, 3, *value.shape[1:]) for name, value in record.items()}
    views = apply_view_augmentation(frames, record, (24, 20), standardise=(0.5, 0.25))
    assert views.shape == (2, 3, 1, 24, 20) and views.dtype == torch.float32
    torch.testing.assert_close(views, apply_augmentation(frames, record, (24, 20), (0.5, 0.25)))


def test_the_identity_keeps_every_grey_value() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 1, 1, 1)
    views = apply_view_augmentation(frames, identity_view_augmentation(2))
    assert torch.equal((views * 255).round().to(torch.uint8), frames)
    torch.testing.assert_close(apply_view_augmentation(frames.numpy() / 255.0, identity_view_augmentation(2)), views)


def test_brightness_and_contrast_equal_torchvision() -> None:
    frames = _speckle(5, 1, 20, 24)
    drawn = _draw(5)
    views = apply_view_augmentation(frames, {**identity_view_augmentation(5), **_only(drawn, "gain", "contrast")})
    for view, frame, gain, contrast in zip(views, frames, drawn["gain"], drawn["contrast"]):
        expected = tvf.adjust_contrast(tvf.adjust_brightness(frame, float(gain)), float(contrast))
        torch.testing.assert_close(view, expected, atol=2e-6, rtol=1e-5)


def test_crop_equals_torchvision_away_from_the_border_of_the_crop() -> None:
    frame = _speckle(1, 1, 40, 60)
    top, left, height, width = 6, 15, 30, 40
    affine = np.array([[width / 60, 0, (2 * left + width) / 60 - 1], [0, height / 40, (2 * top + height) / 40 - 1]])
    view = apply_view_augmentation(frame, {**identity_view_augmentation(1), "affine": affine[None]}, (48, 48))
    expected = tvf.resized_crop(frame, top, left, height, width, [48, 48], antialias=False)
    torch.testing.assert_close(view[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_equals_torchvision_and_follows_the_size(channels: int) -> None:
    frames = _speckle(3, channels, 112, 56)
    sigma = np.array([3.0, 0.0, 1.5], dtype=np.float32)
    views = apply_view_augmentation(frames, {**identity_view_augmentation(3), "blur": sigma})
    assert torch.equal(views[1], apply_view_augmentation(frames, identity_view_augmentation(3))[1])
    for number in (0, 2):  # half the pixels down, a quarter across, so half and a quarter of the sigma
        down, across = float(sigma[number]) / 2, float(sigma[number]) / 4
        expected = tvf.gaussian_blur(frames[number], [19, 19], [across, down])
        inner = (..., slice(8, -8), slice(8, -8))
        torch.testing.assert_close(views[number][inner], expected[inner], atol=2e-3, rtol=0)
        assert (views[number] - frames[number]).abs().max() > 0.1


def test_blur_keeps_a_flat_frame_up_to_its_border() -> None:
    flat = torch.full((1, 1, 12, 12), 0.4)
    views = apply_view_augmentation(flat, {**identity_view_augmentation(1), "blur": np.array([4.0])})
    torch.testing.assert_close(views, flat)


def test_a_view_past_the_picture_is_black_there_and_the_picture_elsewhere() -> None:
    frame = _speckle(1, 1, 20, 20) * 0.5 + 0.5
    affine = np.array([[[1, 0, -0.6], [0, 1, 0]]])  # six columns beyond the left border
    record = {**identity_view_augmentation(1), "affine": affine}
    view = apply_view_augmentation(frame, record)
    assert not view[..., :6].any()
    torch.testing.assert_close(view[..., 6:], frame[..., :14], atol=1e-5, rtol=1e-5)
    flatter = apply_view_augmentation(frame, {**record, "contrast": np.array([0.2])})
    assert not flatter[..., :6].any()  # contrast does not lift what is no picture


def test_a_shift_within_the_picture_shows_what_the_crop_left_out() -> None:
    bright = torch.ones(1, 1, 20, 20)
    crop = np.array([[[0.5, 0, 0.2], [0, 0.5, 0]]])
    assert apply_view_augmentation(bright, {**identity_view_augmentation(1), "affine": crop}).min() == 1


def test_cutout_is_black_and_nothing_else_is() -> None:
    frame = _speckle(2, 1, 20, 40) * 0.5 + 0.5
    cutout = np.array([[0.25, 0.1, 0.5, 0.35], [0, 0, 0, 0]])
    views = apply_view_augmentation(frame, {**identity_view_augmentation(2), "cutout": cutout})
    hidden = views == 0
    assert hidden[0, 0, 5:10, 4:14].all() and hidden.sum() == 50
    torch.testing.assert_close(views[~hidden], frame[~hidden], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_each_view_is_its_own_and_stays_in_range(name: str) -> None:
    frames = _speckle(8, 1, 30, 40)
    record = _draw(8, **SETTINGS[name])
    views = apply_view_augmentation(frames, record, 32)
    assert views.min() >= 0 and views.max() <= 1
    for number in range(8):
        alone = {key: value[number : number + 1] for key, value in record.items()}
        single = apply_view_augmentation(frames[number : number + 1], alone, 32)
        torch.testing.assert_close(views[number : number + 1], single, atol=2e-3, rtol=0)  # blur: 3 sigma of the widest


def test_steps_left_out_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _speckle(4, 1, 30, 40)
    record = _draw(4, contrast=(1, 1))
    skipped = apply_view_augmentation(frames, record, 24)
    monkeypatch.setattr(view_augmentation, "_asked", lambda needed: True)
    monkeypatch.setattr(
        view_augmentation, "_blur", lambda pixels, sigma: view_augmentation._blur_all(pixels, sigma, 4.0)
    )
    torch.testing.assert_close(apply_view_augmentation(frames, record, 24), skipped, atol=1e-6, rtol=1e-6)


def test_float32_under_autocast() -> None:
    frames, record = _speckle(3, 1, 32, 32), _draw(3, blur_prob=1.0)
    expected = apply_view_augmentation(frames, record, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = apply_view_augmentation(frames, record, 24)
    assert views.dtype == torch.float32
    torch.testing.assert_close(views, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_gives_what_the_cpu_gives() -> None:
    frames, record = _speckle(6, 1, 64, 80), _draw(6, **SETTINGS["strong"], blur_prob=0.5)
    expected = apply_view_augmentation(frames, record, 48)
    moved = {name: torch.from_numpy(value).cuda() for name, value in record.items()}
    for given in (record, moved):
        views = apply_view_augmentation(frames.cuda(), given, 48).cpu()
        # the border of what is black may fall on either side of a pixel's centre
        assert ((views - expected).abs() < 5e-3).float().mean() > 0.999


@pytest.mark.parametrize("name", ["contrast", "blur", "cutout"])
def test_a_record_that_does_not_fit_is_named(name: str) -> None:
    frames = _speckle(3, 1, 8, 8)
    record = identity_view_augmentation(3)
    with pytest.raises(ValueError, match=f"{name} has the shape"):
        apply_view_augmentation(frames, {**record, name: record[name][:2]})
    with pytest.raises(ValueError, match=f"lacks '{name}'"):
        apply_view_augmentation(frames, {key: value for key, value in record.items() if key != name})


def _only(record: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: record[name] for name in names}
