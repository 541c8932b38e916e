# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import DataLoader

from monai_usspeech.data.files import InputError
from monai_usspeech.data.frame_batches import BalancedBatchSampler
from monai_usspeech.data.plane_names import PLANES

BACKGROUND = PLANES.index("background")
LABELS = np.random.RandomState(0).permutation(np.repeat([BACKGROUND, 0, 3, 7, 11], [600, 100, 30, 9, 2]))


def items_of(sampler: BalancedBatchSampler) -> np.ndarray:
    """[batches, items] of one pass."""
    return np.array([[item for _, item in batch] for batch in sampler])


def test_half_of_each_batch_is_background_and_the_planes_share_the_other_half():
    sampler = BalancedBatchSampler(LABELS, 18, seed=4)
    assert len(sampler) == 741 // 18 == 41 and sampler.planes == (0, 3, 7, 11)
    for _ in range(3):
        shown = LABELS[items_of(sampler)]
        assert shown.shape == (41, 18)
        assert ((shown == BACKGROUND).sum(1) == 9).all()
        counts = [int((shown == plane).sum()) for plane in sampler.planes]
        assert max(counts) - min(counts) <= 1 and sum(counts) == 9 * 41
        in_batch = np.array([(shown == plane).sum(1) for plane in sampler.planes])
        assert in_batch.min() == 2 and in_batch.max() == 3


def test_no_frame_comes_again_before_all_of_its_class_have_come():
    drawn = items_of(BalancedBatchSampler(LABELS, 10, n_batches=60)).ravel()
    for label in np.unique(LABELS):
        own, size = drawn[LABELS[drawn] == label], int((LABELS == label).sum())
        assert len(own) > 0
        for begin in range(0, len(own), size):
            turn = own[begin : begin + size]
            assert len(set(turn)) == len(turn)


def test_planes_have_all_places_where_there_is_no_background():
    labels = LABELS[LABELS != BACKGROUND]
    shown = labels[items_of(BalancedBatchSampler(labels, 8))]
    assert [int((shown == plane).sum()) for plane in (0, 3, 7, 11)] == [shown.size // 4] * 4
    shown = LABELS[items_of(BalancedBatchSampler(LABELS, 8, background_share=0.0))]
    assert BACKGROUND not in shown


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_the_share_of_background_is_a_setting(share):
    shown = LABELS[items_of(BalancedBatchSampler(LABELS, 20, background_share=share))]
    assert ((shown == BACKGROUND).sum(1) == 20 * share).all()


def test_it_depends_on_seed_and_epoch_alone_and_can_be_taken_up_anywhere():
    sampler = BalancedBatchSampler(LABELS, 16, seed=5)
    epochs = [list(sampler) for _ in range(3)]
    assert [{epoch for batch in batches for epoch, _ in batch} for batches in epochs] == [{0}, {1}, {2}]
    assert [i for b in epochs[0] for _, i in b] != [i for b in epochs[1] for _, i in b]
    again = BalancedBatchSampler(LABELS, 16, seed=5)
    again.set_position(1, 7)
    assert list(again) == epochs[1][7:] and list(again) == epochs[2]
    again.set_position(0, len(again))
    assert list(again) == epochs[1]
    assert list(BalancedBatchSampler(LABELS, 16, seed=6)) != epochs[0]


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_one_batch_and_each_has_background_and_planes(world_size):
    single = list(BalancedBatchSampler(LABELS, 24))
    size = 24 // world_size
    ranks = [list(BalancedBatchSampler(LABELS, size, rank=r, world_size=world_size)) for r in range(world_size)]
    for whole, *parts in zip(single, *ranks):
        assert [item for part in parts for item in part] == whole
        for part in parts:
            background = sum(LABELS[item] == BACKGROUND for _, item in part)
            assert background == len(part) // 2


class _Echo:
    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, int]:
        return item


@pytest.mark.parametrize("workers", [{}, {"num_workers": 1, "persistent_workers": True}])
def test_each_pass_of_a_loader_is_the_next_epoch(workers):
    sampler = BalancedBatchSampler(LABELS, 20)
    loader = DataLoader(_Echo(), batch_sampler=sampler, **workers)
    sampler.set_position(1, 3)
    assert len(list(loader)) == len(sampler) - 3
    for epoch in (2, 3):
        assert {int(e) for epochs, _ in loader for e in epochs} == {epoch}


def test_frames_for_each_of_a_batch_are_the_batch_that_many_times_larger():
    labels = np.array([13] * 40 + [0] * 9 + [5] * 7)
    groups = BalancedBatchSampler(labels, batch_size=4, frames_each=3, n_batches=5, seed=2)
    frames = BalancedBatchSampler(labels, batch_size=12, n_batches=5, seed=2)
    whole = list(groups)
    assert whole == list(frames)
    halves = [
        BalancedBatchSampler(labels, batch_size=2, frames_each=3, n_batches=5, seed=2, rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    assert [one + other for one, other in zip(*halves)] == whole


def test_fewer_frames_than_a_batch_are_used_more_than_once():
    batches = items_of(BalancedBatchSampler([0, 0, BACKGROUND], 8))
    assert batches.shape == (1, 8) and sorted(batches[0]) == [0, 0, 1, 1, 2, 2, 2, 2]


def test_what_cannot_be_balanced_is_an_error():
    with pytest.raises(InputError, match="the 3 frames to train on show only femur, and two classes"):
        BalancedBatchSampler([3, 3, 3], 4)
    with pytest.raises(InputError, match="only background"):
        BalancedBatchSampler([BACKGROUND] * 3, 4)
    with pytest.raises(InputError, match="none at all"):
        BalancedBatchSampler([], 4)
    with pytest.raises(InputError, match="has no place for planes"):
        BalancedBatchSampler(LABELS, 1)
    with pytest.raises(InputError, match="has no place for background"):
        BalancedBatchSampler(LABELS, 1, background_share=0.3)
    with pytest.raises(InputError, match="batch_size is 0"):
        BalancedBatchSampler(LABELS, 0)
    for wrong in ({"background_share": 1.0}, {"background_share": -0.1}, {"n_batches": 0}):
        with pytest.raises(ValueError, match="background_share in"):
            BalancedBatchSampler(LABELS, 4, **wrong)
    with pytest.raises(ValueError, match=r"must be \[N\]"):
        BalancedBatchSampler(LABELS[:, None], 4)
