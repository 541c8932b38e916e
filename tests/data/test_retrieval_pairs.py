# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.files import InputError
from monai_usspeech.data.retrieval_pairs import RetrievalDataset
from monai_usspeech.data.store import ScanStore
from tests.data.store_factory import make_store

RATE = 24_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("pairs") / "store", n_scans=3, seconds=20.0, size=24, planes=True)


def test_the_clips_are_those_with_enough_voice(store):
    for threshold in (0.0, 0.5, 0.8):
        dataset = RetrievalDataset(store, threshold=threshold)
        expected = []
        for scan_index, scan in enumerate(ScanStore(store)):
            flags = scan.voice_activity()
            for clip in range(10):
                if np.mean(flags[200 * clip : 200 * clip + 200]) >= threshold - 1e-9:
                    expected.append((scan_index, clip))
        assert [dataset.locate(item) for item in range(len(dataset))] == expected
    assert len(RetrievalDataset(store, threshold=0.8)) < len(RetrievalDataset(store, threshold=0.0)) == 30


def test_the_frame_is_the_one_in_the_middle_and_the_window_the_first_with_most_voice(store):
    dataset = RetrievalDataset(store)
    for item in range(len(dataset)):
        scan_index, clip = dataset.locate(item)
        scan, sample = dataset.scans[scan_index], dataset[item]
        assert sample["frame_time"] == 2 * clip + 1
        frame = int(np.flatnonzero(scan.times <= 2 * clip + 1 + 1e-6)[-1])
        assert np.array_equal(sample["frames"][0, 0], scan.read_frames([frame])[0])
        flags = scan.voice_activity()[200 * clip : 200 * clip + 200]
        best, most = 0, -1
        for start in range(141):
            if (voiced := int(flags[start : start + 60].sum())) > most:
                best, most = start, voiced
        assert float(sample["speech_start"]) == pytest.approx(2 * clip + 0.01 * best)
        assert np.array_equal(sample["speech_pos"][0], scan.read_speech(2 * clip + 0.01 * best, round(0.6 * RATE)))
        assert float(sample["speech_mean"]) == pytest.approx(scan.speech_statistics["mean"])


def test_planes_are_those_at_the_frame_and_minus_one_without_labels(store, tmp_path):
    dataset = RetrievalDataset(store)
    for item in range(len(dataset)):
        sample = dataset[item]
        expected = "4CH" if sample["frame_time"] < 10 else "femur"
        assert PLANES[int(sample["plane"])] == expected
    unlabelled = RetrievalDataset(make_store(tmp_path / "store", n_scans=1, seconds=20.0, size=24))
    assert {int(unlabelled[item]["plane"]) for item in range(len(unlabelled))} == {-1}


def test_without_speech_the_clips_are_the_same(store):
    both, alone = RetrievalDataset(store), RetrievalDataset(store, speech=False)
    assert [both.describe(i) for i in range(len(both))] == [alone.describe(i) for i in range(len(alone))]
    assert not any(key.startswith("speech") for key in alone[0])


def test_without_a_threshold_every_clip_counts(store, tmp_path):
    dataset = RetrievalDataset(store, threshold=None)
    assert len(dataset) == 30
    assert float(dataset[3]["speech_start"]) == pytest.approx(6.7)  # the middle of 6 to 8 s
    silent = make_store(tmp_path / "store", n_scans=2, seconds=8.0, size=16, speech=False)
    assert len(RetrievalDataset(silent, speech=False, threshold=None)) == 8
    with pytest.raises(InputError, match="none of the 2 chosen scans has speech"):
        RetrievalDataset(silent)


def test_a_scan_whose_flags_end_early_still_gives_its_last_clip(store):
    dataset = RetrievalDataset(store, threshold=0.0)
    packed, count = dataset.index._flags[0]
    dataset.index._flags[0] = (packed, count - 3)
    last = next(item for item in range(len(dataset)) if dataset.locate(item) == (0, 9))
    assert 18.0 <= float(dataset[last]["speech_start"]) <= 19.4


def test_items_are_numbered_named_and_collated(store):
    dataset = RetrievalDataset(store, subjects=["p000", "p002"])
    batches = list(DataLoader(dataset, batch_size=4))
    numbers = np.concatenate([batch["item"].numpy() for batch in batches])
    assert numbers.tolist() == list(range(len(dataset)))
    assert dataset.subjects == ("p000", "p002")
    assert dataset.summary()["items"] == len(dataset) and dataset.summary()["scans"] == 2
    subject, scan, time = dataset.describe(0)
    assert (subject, scan) == ("p000", "s000") and time == float(dataset[0]["frame_time"])
    assert int(dataset[-1]["item"]) == len(dataset) - 1
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold must lie in"),
        ({"window_seconds": 3.0}, "must be shorter than a clip"),
        ({"statistics": "bands"}, '"scan" or "band"'),
        ({"threshold": 1.0, "clip_seconds": 10.0}, "voice in 100% of it"),
        ({"voice_activity": "sohn"}, "has no 'sohn' voice activity"),
        ({"subjects": ["p01"]}, 'Did you mean "p001"'),
    ],
)
def test_options_that_make_no_sense_are_refused(store, options, message):
    with pytest.raises(InputError, match=message):
        RetrievalDataset(store, **options)
