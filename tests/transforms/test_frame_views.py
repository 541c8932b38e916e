# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Several views of one frame as a transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_usspeech.transforms.frame_views import (
    RandFrameViews,
    RandFrameViewsD,
    RandFrameViewsd,
    RandFrameViewsDict,
)
from monai_usspeech.transforms.view_augmentation import apply_view_augmentation, draw_view_augmentation


def _frame(channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (channels, 40, 50), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_applies_what_is_drawn(channels: int) -> None:
    transform = RandFrameViews(views=3, size=(24, 20), standardise=(0.5, 0.25), blur_prob=0.5).set_random_state(7)
    views = transform(_frame(channels))
    record = draw_view_augmentation(np.random.RandomState(7), 3, blur_prob=0.5)
    frames = torch.stack([_frame(channels)] * 3)
    assert views.shape == (3, channels, 24, 20)
    torch.testing.assert_close(views, apply_view_augmentation(frames, record, (24, 20), (0.5, 0.25)))


def test_views_differ_and_a_seed_repeats_them() -> None:
    transform = RandFrameViews(size=24)
    first = transform.set_random_state(1)(_frame())
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(transform(_frame()), first)
    assert torch.equal(transform.set_random_state(1)(_frame()), first)
    assert torch.equal(transform(_frame(), randomize=False), first)


def test_the_second_view_has_settings_of_its_own() -> None:
    still = {"scale": (1, 1), "ratio": (1, 1), "flip": 0.0, "jitter_prob": 0.0}
    transform = RandFrameViews(views=3, size=None, second={"brightness": (0.2, 0.3)}, **still).set_random_state(0)
    views = transform(_frame())
    for weak in views[:2]:
        torch.testing.assert_close(weak, _frame() / 255, atol=1e-5, rtol=1e-5)
    assert (transform.record["gain"][:2] == 1).all() and 0.2 <= transform.record["gain"][2] <= 0.3
    assert views[2].mean() < 0.4 * views[0].mean()


def test_numpy_and_meta_tensors_give_plain_tensors() -> None:
    transform = RandFrameViews(size=24)
    expected = transform.set_random_state(2)(_frame())
    for frame in (_frame().numpy(), _frame().float() / 255, MetaTensor(_frame())):
        views = transform.set_random_state(2)(frame)
        assert type(views) is torch.Tensor
        torch.testing.assert_close(views, expected)


def test_the_dictionary_form_gives_all_keys_the_same_views() -> None:
    assert RandFrameViewsd is RandFrameViewsD is RandFrameViewsDict
    chain = Compose([RandFrameViewsd(["image", "copy", "absent"], allow_missing_keys=True, size=24)])
    chain.set_random_state(5)
    given = {"image": _frame(), "copy": _frame(), "label": 3}
    out = chain(given)
    assert torch.equal(out["image"], out["copy"]) and out["label"] == 3
    assert given["image"].shape == (1, 40, 50)  # the dictionary handed in is left alone
    again = Compose([RandFrameViewsd("image", size=24)]).set_random_state(5)({"image": _frame()})
    assert torch.equal(out["image"], again["image"])
    assert RandFrameViewsd("image", allow_missing_keys=True)({"label": 1}) == {"label": 1}
    with pytest.raises(KeyError):
        RandFrameViewsd("absent")(given)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"brigthness": (0.5, 1.5)}, "no setting 'brigthness'; it has scale"),
        ({"second": {"hue": 0.1}}, "no setting 'hue'"),
        ({"second": {"cutout": 3.0}}, "cutout must lie"),
        ({"views": 0}, "at least one view"),
        ({"views": 1, "second": {}}, "two for settings of a second one"),
        ({"scale": (0.0, 1.0)}, "scale must be a range"),
    ],
)
def test_a_wrong_setting_is_named_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RandFrameViews(**settings)


def test_a_clip_is_no_frame() -> None:
    with pytest.raises(ValueError, match=r"expected a frame \[C, H, W\]"):
        RandFrameViews()(torch.zeros(2, 1, 8, 8))
