# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.splits import subject_split
from monai_usspeech.data.store import ScanStore
from monai_usspeech.data.synchronisation_pairs import SynchronisationDataset, synchronisation_split
from tests.data.store_factory import make_store

RATE = 24_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sync") / "store", n_scans=6, seconds=4.0, fps=50.0, size=16)


def test_each_pair_of_a_candidate_lies_its_error_apart(store):
    dataset = SynchronisationDataset(store, n_candidates=9, step=0.05, stride=3, window_seconds=0.21)
    for item in range(len(dataset)):
        scan, sample = dataset.scans[item], dataset[item]
        frames, windows, first = len(sample["frames"]), sample["speech_pos"].numpy(), int(sample["first_window"])
        times = 0.15 * (np.arange(frames) + 0.5)
        assert times[-1] < 4.0 <= times[-1] + 0.15
        for i, time in enumerate(times):
            shown = int(np.flatnonzero(scan.times <= time + 1e-6)[-1])
            assert np.array_equal(sample["frames"][i, 0], scan.read_frames([shown])[0])
            for j, error in enumerate(sample["errors"].numpy()):
                begin = time + error - 0.105
                number = 3 * i + j - first
                inside = -1e-6 <= begin and begin + 0.21 <= 4.0 + 1e-6
                assert inside == (0 <= number < len(windows))
                if inside:
                    assert np.array_equal(windows[number], scan.read_speech(begin, round(0.21 * RATE)))


def test_the_truth_lies_anywhere_among_the_candidates_and_one_is_near_it(tmp_path):
    folder = make_store(tmp_path / "store", n_scans=24, seconds=3.0, fps=5.0, size=16)
    dataset = SynchronisationDataset(folder)
    errors = np.stack([dataset[item]["errors"].numpy() for item in range(24)])
    assert np.allclose(np.diff(errors), 0.045) and np.abs(errors).min(axis=1).max() <= 0.0225 + 1e-9
    place = -errors[:, 0] / (23 * 0.045)
    assert place.min() < 0.1 and place.max() > 0.9 and np.abs(place.mean() - 0.5) < 0.2
    other = SynchronisationDataset(folder, seed=1)
    assert not np.allclose(other[0]["errors"], errors[0])
    some = SynchronisationDataset(folder, subjects=["p007", "p021"])  # the same, whoever else is there
    assert np.array_equal(some[1]["errors"], errors[21])


@pytest.mark.parametrize("seconds", [1.7, 2.3])
def test_every_candidate_has_its_pairs_and_the_place_of_the_truth_leaves_nobody_out(tmp_path, seconds):
    dataset = SynchronisationDataset(make_store(tmp_path / "store", n_scans=12, seconds=seconds, fps=5.0, size=16))
    assert dataset.left_out == 0
    for item in range(12):
        sample = dataset[item]
        numbers = 2 * np.arange(len(sample["frames"]))[:, None] + np.arange(24) - int(sample["first_window"])
        assert (((numbers >= 0) & (numbers < len(sample["speech_pos"]))).sum(0) >= 5).all()


def test_what_is_too_short_is_left_out_and_what_is_long_is_cut(tmp_path):
    mixed = make_store(tmp_path / "mixed", n_scans=3, seconds=1.5, size=16)
    with pytest.raises(InputError, match="long enough, about 1.6 s"):
        SynchronisationDataset(mixed)
    make_store(mixed, n_scans=2, seconds=5.0, size=16)  # the third stays short
    dataset = SynchronisationDataset(mixed)
    assert dataset.left_out == 1 and [scan.id for scan in dataset.scans] == ["s000", "s001"]
    assert dataset.summary()["utterances"] == 2 and dataset.summary()["left_out"] == 1
    dataset = SynchronisationDataset(make_store(tmp_path / "d", n_scans=2, seconds=5.0, size=16), max_seconds=3.0)
    assert dataset.left_out == 0 and dataset.describe(0) == ("p000", "s000", 3.0)
    assert len(dataset[0]["frames"]) == 33


def test_named_speakers_or_a_fold_are_tested(store):
    assert synchronisation_split(store).test == subject_split(store).test
    named = synchronisation_split(store, ["p003", "p001"])
    assert named.test == ("p001", "p003") and named.train == ()
    assert SynchronisationDataset(store, subjects=named.test).subjects == ("p001", "p003")
    with pytest.raises(InputError, match="p999"):
        synchronisation_split(store, ["p999"])
    assert len(ScanStore(store)) == len(SynchronisationDataset(store))


@pytest.mark.parametrize("options", [
    {"n_candidates": 1}, {"stride": 0}, {"step": 0.0}, {"window_seconds": float("nan")}, {"statistics": "bands"},
    {"least_windows": True},
])  # fmt: skip
def test_wrong_numbers_are_one_sentence(store, options):
    with pytest.raises(InputError, match=next(iter(options))):
        SynchronisationDataset(store, **options)
