# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import DataLoader

from monai_usspeech.data.batches import ClipBatchSampler
from monai_usspeech.data.files import InputError

HIGH = np.arange(103) % 4 == 0  # 26 clips


def test_an_epoch_visits_each_item_once_in_a_new_order():
    sampler = ClipBatchSampler(103, 10, drop_last=False, seed=3)
    epochs = [list(sampler), list(sampler)]
    for number, batches in enumerate(epochs):
        assert len(batches) == len(sampler) == 11
        assert {epoch for batch in batches for epoch, _ in batch} == {number}
        assert sorted(item for batch in batches for _, item in batch) == list(range(103))
    assert [i for b in epochs[0] for _, i in b] != [i for b in epochs[1] for _, i in b]


def test_the_last_batch_may_be_dropped_and_the_order_kept():
    batches = list(ClipBatchSampler(103, 10, shuffle=False))
    assert [item for batch in batches for _, item in batch] == list(range(100))


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_union_over_ranks_is_the_single_process_batch(world_size, mixed, drop_last):
    rule = {"high": HIGH, "high_share": 0.4} if mixed else {}
    single = list(ClipBatchSampler(103, 12, drop_last=drop_last, **rule))
    ranks = [
        list(ClipBatchSampler(103, 12 // world_size, drop_last=drop_last, rank=r, world_size=world_size, **rule))
        for r in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1 and len(ranks[0]) == len(single)
    for whole, *parts in zip(single, *ranks):
        assert [item for part in parts for item in part] == whole
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_no_process_stays_without_a_batch():
    for rank in range(4):
        batches = list(ClipBatchSampler(10, 2, drop_last=False, rank=rank, world_size=4))  # 8 and a rest of 2
        assert [len(batch) for batch in batches] == [2]


@pytest.mark.parametrize("rule", [{}, {"high": HIGH, "high_share": 0.5}])
def test_it_can_be_taken_up_at_any_batch_of_any_epoch(rule):
    sampler = ClipBatchSampler(103, 8, seed=5, **rule)
    epochs = [list(sampler) for _ in range(3)]
    again = ClipBatchSampler(103, 8, seed=5, **rule)
    again.set_position(1, 7)
    assert list(again) == epochs[1][7:] and list(again) == epochs[2]
    again.set_position(0, len(again))  # the end of an epoch is the start of the next
    assert list(again) == epochs[1]


def test_another_seed_is_another_order():
    assert list(ClipBatchSampler(103, 8, seed=0)) != list(ClipBatchSampler(103, 8, seed=1))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_each_batch_has_its_share_of_high_clips_and_no_clip_twice(share):
    sampler = ClipBatchSampler(103, 16, high=HIGH, high_share=share)
    seen = np.zeros(103, int)
    for _ in range(4):
        for batch in sampler:
            items = np.array([item for _, item in batch])
            assert len(items) == len(set(items)) == 16
            assert HIGH[items].sum() >= 16 * share
            np.add.at(seen, items, 1)
    assert (seen[HIGH] > 0).all()
    if share < 1:
        assert (seen[~HIGH] > 0).mean() > 0.9


def test_the_high_places_are_drawn_from_the_high_clips_in_turn():
    sampler = ClipBatchSampler(103, 13, high=HIGH, high_share=1.0)
    first, second, *_ = (set(item for _, item in batch) for batch in sampler)
    assert first | second == set(np.flatnonzero(HIGH)) and not first & second


def test_high_may_depend_on_the_epoch():
    def rising(epoch: int) -> np.ndarray:
        return np.arange(103) < 20 * (epoch + 1)

    sampler = ClipBatchSampler(103, 10, high=rising, high_share=1.0)
    assert max(item for batch in sampler for _, item in batch) < 20
    assert 20 <= max(item for batch in sampler for _, item in batch) < 40


def test_wrong_settings_are_errors():
    for size in (0, -1, 2.5, "four"):
        with pytest.raises(InputError, match="batch_size is"):
            ClipBatchSampler(103, size)
    with pytest.raises(InputError, match="do not fill one batch of 16"):
        ClipBatchSampler(15, 8, world_size=2)
    with pytest.raises(InputError, match="asks for 32 .* there are 26"):
        ClipBatchSampler(103, 32, high=HIGH, high_share=1.0)
    with pytest.raises(ValueError, match="needs high"):
        ClipBatchSampler(103, 8, high_share=0.5)
    with pytest.raises(ValueError, match=r"\[103\]"):
        ClipBatchSampler(103, 8, high=HIGH[:9], high_share=0.5)
    with pytest.raises(ValueError, match="rank"):
        ClipBatchSampler(103, 8, rank=2, world_size=2)
    with pytest.raises(ValueError, match="negative"):
        ClipBatchSampler(103, 8).set_position(-1)


class _Echo:
    def __len__(self) -> int:
        return 103

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, int]:
        return item


@pytest.mark.parametrize("workers", [{}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}])
def test_each_pass_of_a_loader_is_the_next_epoch(workers):
    sampler = ClipBatchSampler(103, 10)
    loader = DataLoader(_Echo(), batch_sampler=sampler, **workers)
    sampler.set_position(1, 3)
    assert len(list(loader)) == 7
    for epoch in (2, 3):
        assert {int(e) for epochs, _ in loader for e in epochs} == {epoch}
