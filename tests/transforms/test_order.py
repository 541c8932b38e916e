# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The frame-order task: classes, draws, times and transforms."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from monai_usspeech.transforms.order import (
    ORDERS,
    FrameShuffle,
    FrameShuffleD,
    FrameShuffled,
    FrameShuffleDict,
    draw_order,
    draw_order_times,
    order_decidable,
    order_label,
    shuffle_frames,
)


def _frames() -> torch.Tensor:
    return torch.arange(4, dtype=torch.float32).reshape(4, 1, 1, 1).expand(4, 1, 8, 6).clone()


def test_24_permutations_are_12_pairs_of_a_permutation_and_its_reversal() -> None:
    members: dict[int, set[tuple[int, ...]]] = {}
    for permutation in permutations(range(4)):
        members.setdefault(order_label(permutation), set()).add(permutation)
    assert sorted(members) == list(range(12))
    for label, pair in members.items():
        forward = ORDERS[label]
        assert pair == {forward, forward[::-1]} and forward[0] < forward[-1]
    assert list(ORDERS) == sorted(ORDERS)
    assert order_label([0, 1, 2, 3]) == order_label(np.array([3, 2, 1, 0])) == 0
    assert order_label(torch.tensor([2, 0, 1, 3])) == 10  # counted by hand: 0123 0132 0213 0231 0312 0321 1023 1032 ...


@pytest.mark.parametrize("wrong", [(0, 1, 2), (0, 1, 2, 2), (1, 2, 3, 4), (0, 1, 2, 3, 4)])
def test_not_a_permutation(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="permutation of 0, 1, 2, 3"):
        order_label(wrong)


def test_draws_are_uniform_over_24() -> None:
    rng = np.random.RandomState(0)
    counts: dict[tuple[int, ...], int] = {}
    n = 9600
    for _ in range(n):
        drawn = tuple(draw_order(rng).tolist())
        counts[drawn] = counts.get(drawn, 0) + 1
    expected = n / 24
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert len(counts) == 24 and chi_square < 49.7  # 99.9 % of a chi-square with 23 degrees of freedom


def test_order_times_are_even_inside_the_clip_and_fill_their_range() -> None:
    rng = np.random.RandomState(1)
    times = np.stack([draw_order_times(rng, 3000.0) for _ in range(4000)])
    assert times.dtype == np.float64 and times.shape == (4000, 4)
    steps = np.diff(times, axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(3, axis=1), atol=1e-9)
    assert times.min() >= 3000.0 and times.max() < 3002.0
    assert 10 / 30 <= steps.min() < 0.335 and 0.632 < steps.max() <= 19 / 30 + 1e-9
    slack = (times[:, 0] - 3000.0) / (2.0 - 3 * steps[:, 0])  # uniform: the first time is even over what fits
    assert abs(slack.mean() - 0.5) < 0.02 and abs(slack.var() - 1 / 12) < 0.01
    first, again = (draw_order_times(np.random.RandomState(5), 2.0) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_order_times_in_a_short_clip() -> None:
    rng = np.random.RandomState(2)
    times = np.stack([draw_order_times(rng, 0.0, clip_seconds=1.2) for _ in range(500)])
    assert times.max() < 1.2 and np.diff(times, axis=1).min() > 1 / 3 - 1e-9
    with pytest.raises(ValueError, match="must fit|shortest fit"):
        draw_order_times(rng, 0.0, clip_seconds=1.0)
    with pytest.raises(ValueError, match="increasing"):
        draw_order_times(rng, 0.0, gap=(0.5, 0.4))


def test_a_frozen_pair_is_not_decidable() -> None:
    rng = np.random.RandomState(3)
    moving = rng.randint(0, 256, (4, 1, 16, 16)).astype(np.uint8)
    assert order_decidable(moving) and order_decidable(torch.as_tensor(moving)) and order_decidable(moving / 255.0)
    for i in range(3):
        frozen = moving.copy()
        frozen[i + 1] = frozen[i]
        assert not order_decidable(frozen)


def test_threshold_is_one_percent_of_the_range() -> None:
    for change, decidable in ((2, False), (3, True)):  # 1 % of 255 is 2.55
        frames = np.stack([np.full((1, 4, 4), 100 + change * (i % 2), np.uint8) for i in range(4)])  # up and down
        assert order_decidable(frames) is decidable
        assert order_decidable(frames.astype(np.float32) / 255) is decidable
    assert order_decidable(frames, value_range=400.0) is False
    assert order_decidable(frames, threshold=0.02) is False
    with pytest.raises(ValueError, match="4"):
        order_decidable(np.zeros(4, np.uint8))


def test_position_i_shows_frame_permutation_i() -> None:
    shown = shuffle_frames(_frames(), [2, 0, 3, 1])
    assert shown[:, 0, 0, 0].tolist() == [2, 0, 3, 1]
    array = shuffle_frames(_frames().numpy(), np.array([2, 0, 3, 1]))
    assert isinstance(array, np.ndarray) and array[:, 0, 0, 0].tolist() == [2, 0, 3, 1]
    with pytest.raises(ValueError, match="four frames"):
        shuffle_frames(torch.zeros(5, 1, 8, 8), [0, 1, 2, 3])


def test_frame_shuffle_label_can_be_read_from_the_pictures() -> None:
    transform = FrameShuffle()
    transform.set_random_state(0)
    seen = set()
    for _ in range(200):
        frames, label = transform(_frames())
        assert label == order_label(np.asarray(frames)[:, 0, 0, 0].astype(int))
        seen.add(label)
    assert seen == set(range(12))


def test_frame_shuffle_replays_from_its_state() -> None:
    transform = FrameShuffle()
    transform.set_random_state(7)
    state = transform.R.get_state()
    first = [transform(_frames())[1] for _ in range(20)]
    transform.R.set_state(state)
    assert [transform(_frames())[1] for _ in range(20)] == first
    again, label = transform(_frames(), randomize=False)
    assert label == first[-1]
    np.testing.assert_array_equal(again, shuffle_frames(_frames(), transform.permutation))


def test_dictionary_twin_shuffles_all_keys_alike() -> None:
    data: dict[Any, Any] = {"frames": _frames(), "times": np.array([1.0, 1.5, 2.0, 2.5]), "other": 3}
    transform = FrameShuffled(["frames", "times"], label_key="class", valid_key="valid").set_random_state(3)
    for _ in range(30):
        out = transform(data)
        shown = out["frames"][:, 0, 0, 0].long()
        np.testing.assert_allclose(out["times"], 1.0 + 0.5 * shown.numpy())
        assert out["class"] == order_label(shown.tolist()) and out["valid"] is True and out["other"] == 3
    assert data["frames"][:, 0, 0, 0].tolist() == [0, 1, 2, 3] and "class" not in data
    assert FrameShuffled("frames", valid_key="valid")({"frames": torch.ones(4, 1, 8, 8)})["valid"] is False
    assert FrameShuffleD is FrameShuffleDict is FrameShuffled
    with pytest.raises(KeyError):
        FrameShuffled("absent")(data)
    assert FrameShuffled("absent", allow_missing_keys=True)({"other": 3}) == {"other": 3}


def test_dictionary_twin_equals_array_in_a_compose() -> None:
    compose = Compose([FrameShuffled("frames")])
    labels = []
    for _ in range(2):
        compose.set_random_state(11)
        labels.append([compose({"frames": _frames()})["order_label"] for _ in range(10)])
    assert labels[0] == labels[1] and len(set(labels[0])) > 3


def test_a_loader_collates_the_labels() -> None:
    dataset = Dataset([{"frames": _frames()}] * 16, transform=Compose([FrameShuffled("frames")]).set_random_state(0))
    batch = next(iter(DataLoader(dataset, batch_size=16, num_workers=0)))
    assert batch["order_label"].dtype == torch.int64 and len(batch["order_label"].unique()) > 3
