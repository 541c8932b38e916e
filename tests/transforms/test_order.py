# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The frame-order task: classes, draws, times and transforms."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from monai_usspeech.transforms.order import (
    ORDERS,
    TIME_ORDERS,
    FrameShuffle,
    FrameShuffleD,
    FrameShuffled,
    FrameShuffleDict,
    draw_order,
    draw_order_times,
    order_decidable,
    order_label,
    order_members,
    shuffle_frames,
)

PERMUTATIONS = list(permutations(range(4)))


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


def _reflected(p: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(3 - i for i in p)


def test_24_permutations_are_12_pairs_of_a_permutation_and_its_reflection_in_time() -> None:
    members: dict[int, set[tuple[int, ...]]] = {}
    for permutation in PERMUTATIONS:
        members.setdefault(order_label(permutation, "time"), set()).add(permutation)
    assert sorted(members) == list(range(12))
    for label, pair in members.items():
        first = TIME_ORDERS[label]
        assert pair == {first, _reflected(first)} and first == min(pair) and first[0] < 2
    assert list(TIME_ORDERS) == sorted(TIME_ORDERS)
    assert order_label([0, 1, 2, 3], "time") == order_label(np.array([3, 2, 1, 0]), reversal="time") == 0
    # Counted by hand: 0123 0132 0213 0231 0312 0321 1023 1032 1203 1230 1302 1320, and 2031 is 3 - 1302.
    assert order_label(torch.tensor([2, 0, 3, 1]), "time") == order_label((1, 3, 0, 2), "time") == 10
    assert order_label((2, 0, 3, 1)) != order_label((1, 0, 3, 2))  # and by default they are two classes


def test_both_labels_together_make_8_orbits_and_agree_on_4_classes() -> None:
    classes = [[frozenset(order_members(label, reversal)) for label in range(12)] for reversal in ("shown", "time")]
    assert len(set(classes[0]) & set(classes[1])) == 4  # shown backwards is backwards in time: 0123, 0213, 1032, 1302
    orbits = {frozenset({p, p[::-1], _reflected(p), _reflected(p)[::-1]}) for p in PERMUTATIONS}
    assert sorted(map(len, orbits)) == [2] * 4 + [4] * 4
    for orbit, table in product(orbits, classes):
        assert orbit == frozenset().union(*(members for members in table if members & orbit))


@pytest.mark.parametrize("reversal", ["shown", "time"])
def test_the_members_of_a_class_have_its_label(reversal: str) -> None:
    for label, first in enumerate({"shown": ORDERS, "time": TIME_ORDERS}[reversal]):
        members = order_members(label, reversal)
        assert members[0] == first and members[1] == (first[::-1] if reversal == "shown" else _reflected(first))
        assert [order_label(member, reversal) for member in members] == [label, label]
    for wrong in (-1, 12):
        with pytest.raises(ValueError, match=rf"0\.\.11.*{wrong}"):
            order_members(wrong, reversal)


def test_an_unknown_reversal() -> None:
    for call in (
        lambda: order_label((0, 1, 2, 3), "both"),
        lambda: order_members(0, "both"),
        lambda: FrameShuffle("both"),
        lambda: FrameShuffled("frames", reversal="both"),
    ):
        with pytest.raises(ValueError, match='"shown" or "time".*both'):
            call()


SIDE = 10


def _blob_paths(arrow_of_time: bool = False) -> list[tuple[bytes, ...]]:
    """Four pictures of a blob that moves on a straight line, for every path of whole pixels inside the picture.

    With every path the same path backwards is there, unless there is an arrow of time: then the blob only moves down.
    """
    axis = np.arange(SIDE)
    pictures = np.exp(-((axis[:, None, None, None] - axis[:, None]) ** 2 + (axis[:, None, None] - axis) ** 2) / 2.0)
    steps = [step for step in product(range(-3, 4), repeat=2) if (step[0] > 0 if arrow_of_time else any(step))]
    paths = []
    for (y, x), (dy, dx) in product(product(range(SIDE), repeat=2), steps):
        if 0 <= y + 3 * dy < SIDE and 0 <= x + 3 * dx < SIDE:
            paths.append(tuple(pictures[y + t * dy, x + t * dx].tobytes() for t in range(4)))
    return paths


def _observations(paths: list[tuple[bytes, ...]]) -> dict[tuple[int, ...], Counter[tuple[bytes, ...]]]:
    """What is seen, and how often, when every path is shown in the order of each permutation."""
    return {p: Counter(tuple(path[i] for i in p) for path in paths) for p in PERMUTATIONS}


def _best_reader(seen: dict[tuple[int, ...], Counter[tuple[bytes, ...]]], reversal: str) -> tuple[float, float]:
    """Accuracy and loss of the reader who knows how likely each class is for everything that can be seen (Bayes)."""
    labels: dict[tuple[bytes, ...], Counter[int]] = {}
    for p, counts in seen.items():
        for observation, count in counts.items():
            labels.setdefault(observation, Counter())[order_label(p, reversal)] += count
    total = sum(counts.total() for counts in labels.values())
    right = sum(max(counts.values()) for counts in labels.values())
    loss = sum(-n * math.log(n / counts.total()) for counts in labels.values() for n in counts.values())
    return right / total, loss / total


def test_motion_that_runs_both_ways_hides_the_reflection_in_time_and_nothing_else() -> None:
    paths = _blob_paths()
    assert len(paths) > 1000 and {path[::-1] for path in paths} == set(paths)
    seen = _observations(paths)
    for p, q in combinations(PERMUTATIONS, 2):
        if q == _reflected(p):
            assert seen[p] == seen[q]  # the same pictures, each as often
        else:
            assert not seen[p].keys() & seen[q].keys()  # not one in common
    other = [p for p in PERMUTATIONS if p[::-1] != _reflected(p)]
    assert len(other) == 16 and not any(seen[p].keys() & seen[p[::-1]].keys() for p in other)


def test_the_ceiling_of_either_label() -> None:
    both_ways = _observations(_blob_paths())
    assert _best_reader(both_ways, "shown") == pytest.approx((2 / 3, 2 / 3 * math.log(2)))
    assert _best_reader(both_ways, "time") == (1.0, 0.0)
    one_way = _observations(_blob_paths(arrow_of_time=True))
    assert _best_reader(one_way, "shown") == _best_reader(one_way, "time") == (1.0, 0.0)


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


@pytest.mark.parametrize("reversal", ["shown", "time"])
def test_frame_shuffle_label_can_be_read_from_the_pictures(reversal: str) -> None:
    transform = FrameShuffle(reversal=reversal)
    transform.set_random_state(0)
    seen = set()
    for _ in range(200):
        frames, label = transform(_frames())
        assert label == order_label(np.asarray(frames)[:, 0, 0, 0].astype(int), reversal)
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


def test_dictionary_twin_hands_over_the_reversal() -> None:
    shown, time = (FrameShuffled("frames", **options) for options in ({}, {"reversal": "time"}))
    shown.set_random_state(5), time.set_random_state(5)
    differ = 0
    for _ in range(40):
        a, b = shown({"frames": _frames()}), time({"frames": _frames()})
        assert torch.equal(a["frames"], b["frames"])  # the same draw, another name for it
        permutation = a["frames"][:, 0, 0, 0].long()
        assert a["order_label"] == order_label(permutation, "shown")
        assert b["order_label"] == order_label(permutation, "time")
        differ += a["order_label"] != b["order_label"]
    assert differ > 5


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
