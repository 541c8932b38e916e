# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The controls do what they say, and nothing else."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.files import InputError
from monai_usspeech.data.oracle import oracle_flags
from monai_usspeech.data.pair_controls import speech_partners
from monai_usspeech.data.store import ScanStore, ScanStoreWriter
from monai_usspeech.phantom import Phantom
from monai_usspeech.phantom.oracle import matching_words
from monai_usspeech.transforms.spectrogram import spectrogram_statistics
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store, speech_bursts

LENGTHS = (30.0, 12.0, 21.0, 30.0, 45.0)  # seconds: 15, 6, 10, 15 and 22 clips
SUBJECTS = ("p0", "p0", "p1", "p2", "p3")


def write_scan(root: Path, number: int, subject: str, seconds: float, speech: bool = True) -> None:
    """A scan whose sound is all its own: every sample differs from those of other scans and times."""
    rng = np.random.RandomState(100 + number)
    samples, active = speech_bursts(rng, seconds)
    samples = (0.7 * samples + 800 * rng.standard_normal(len(samples))).astype(np.int16)
    with ScanStoreWriter(root, f"s{number:03d}", codec="raw") as writer:
        for index in range(round(seconds * 4)):
            writer.add_frame(rng.randint(0, 255, (8, 8)).astype(np.uint8), index / 4, index)
        if speech:
            writer.set_speech(samples, (0.0, seconds), spectrogram_statistics(samples / 32768.0))
            writer.set_voice_activity("energy", active)
        writer.finish({"subject": subject, "duration": seconds, "fan_box": [0, 0, 8, 8], "source_size": [8, 8]})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    root = tmp_path_factory.mktemp("controls") / "store"
    for number, (subject, seconds) in enumerate(zip(SUBJECTS, LENGTHS)):
        write_scan(root, number, subject, seconds)
    return ScanStore(root)


def clip_shares(dataset: ClipDataset, method: str = "energy") -> np.ndarray:
    """Share of active voice of each clip, as the store has it: [clips]."""
    shares = []
    for scan, count in zip(dataset.scans, np.diff(dataset.index.offsets)):
        flags = scan.voice_activity(method)
        shares += [flags[200 * clip : 200 * (clip + 1)].mean() for clip in range(count)]
    return np.array(shares)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[key].nan_to_num(-1), b[key].nan_to_num(-1)) for key in a)


# Who gets whose speech


@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1, 1, 1), (2, 2), (3, 1, 1), (3, 2, 2, 1), (4, 1, 1), (3,), (2, 1)])
def test_partners_are_of_other_subjects_as_far_as_that_can_be(counts: tuple[int, ...]):
    subjects = [f"p{subject}" for subject, count in enumerate(counts) for _ in range(count)]
    seen = set()
    for seed in range(30):
        shuffled = list(np.random.RandomState(seed).permutation(subjects))
        partners = speech_partners(shuffled, seed)
        assert sorted(partners) == list(range(len(subjects))) and all(partners != np.arange(len(subjects)))
        same = sum(shuffled[a] == shuffled[b] for a, b in enumerate(partners))
        # Those of the largest subject find a stranger each only while there are enough strangers.
        assert same == max(0, 2 * max(counts) - len(subjects))
        assert np.array_equal(partners, speech_partners(shuffled, seed))
        seen.add(tuple(speech_partners(subjects, seed)))
    assert len(subjects) < 4 or len(seen) >= 2


# Shuffled


def test_the_speech_of_every_pair_is_the_partners_at_the_folded_time(store: ScanStore):
    dataset, plain = ClipDataset(store, speech_source="shuffled", seed=5), ClipDataset(store, seed=5)
    partners = [voice.id for voice in dataset.voices]
    assert sorted(partners) == [scan.id for scan in dataset.scans]
    assert all(store[other].subject != scan.subject for scan, other in zip(dataset.scans, partners))
    checked, folded = 0, 0
    for number in range(len(dataset)):
        sample, before = dataset[(1, number)], plain[(1, number)]
        other = store[partners[int(sample["scan_index"])]]
        length = int(other.duration / 2 + 1e-6) * 2.0
        assert float(sample["speech_mean"]) == np.float32(other.speech_statistics["mean"])
        flags, clip = other.voice_activity("energy"), int(sample["clip_index"])
        first = 200 * (clip % int(length / 2))
        assert bool(sample["affinity"]) == (flags[first : first + 200].mean() >= 0.5)
        for name in ("speech_pos", "speech_neg"):
            for start, window in zip(sample[f"{name}_start"].tolist(), sample[name]):
                if np.isnan(start):
                    assert not window.any()
                    continue
                assert np.array_equal(window, other.read_speech(start % length, 14400))
                checked, folded = checked + 1, folded + (start >= length)
        assert torch.equal(sample["frame_times"] // 2, before["frame_times"] // 2)  # the frames are of this clip
    assert checked > 100 and folded > 20


def test_a_window_across_the_fold_is_put_together(store: ScanStore):
    dataset = ClipDataset(store, speech_source="shuffled", seed=5)
    for voice in dataset.voices:
        other = store[voice.id]
        length = int(other.duration / 2 + 1e-6) * 2.0
        whole = other.read_speech(0.0, round(length * 24000))
        for start in (length - 0.25, 3 * length - 0.1, 0.0, length):
            at = (round(start * 24000) + np.arange(14400)) % len(whole)
            assert np.array_equal(voice.read_speech(start, 14400), whole[at])


def test_frames_and_their_order_do_not_change_with_the_speech(store: ScanStore):
    options = {"gate": False, "n_pairs": 1, "seed": 1}
    shuffled, plain = ClipDataset(store, speech_source="shuffled", **options), ClipDataset(store, **options)
    for number in range(0, len(plain), 5):
        a, b = shuffled[number], plain[number]
        same = ("frames", "frame_times", "speech_pos_start", "clip_index", "scan_index")
        assert all(torch.equal(a[key], b[key]) for key in same) and not torch.equal(a["speech_pos"], b["speech_pos"])


def test_a_scan_without_speech_stays_without(tmp_path: Path):
    for number, speech in enumerate((True, False, True)):
        write_scan(tmp_path, number, f"p{number}", 12.0, speech)
    dataset = ClipDataset(tmp_path, speech_source="shuffled", gate=False)
    assert [voice.id for voice in dataset.voices] == ["s002", "s001", "s000"]
    assert not dataset[7]["speech_pos"].any() and dataset[7]["order_valid"] and dataset[0]["pair_valid"].all()


# Permuted


def test_permuting_keeps_the_number_of_high_clips_and_makes_them_others(store: ScanStore):
    plain, shares = ClipDataset(store, seed=0), clip_shares(ClipDataset(store))
    overlap, chance = [], []
    for seed in range(8):
        dataset = ClipDataset(store, affinity_control="permuted", seed=seed)
        high = np.array([bool(dataset[number]["affinity"]) for number in range(len(dataset))])
        assert high.sum() == (shares >= 0.5).sum() == plain.index.usable(0.5).sum()
        assert not np.array_equal(high, shares >= 0.5)
        # The same clips with the same shares, in other places: so it holds at any threshold.
        assert Counter(dataset.index.activity.tolist()) == Counter(plain.index.activity.tolist())
        overlap.append((high & (shares >= 0.5)).sum() / high.sum())
        chance.append(high.mean())
    assert abs(np.mean(overlap) - np.mean(chance)) < 0.1  # no more high clips stay than by chance


def test_the_window_filter_goes_by_the_permuted_flags_too(store: ScanStore):
    dataset = ClipDataset(store, affinity_control="permuted", seed=2)
    real, borrowed = [], []
    for epoch in range(3):
        for number in np.flatnonzero(dataset.high):
            sample = dataset[(epoch, int(number))]
            scan_index = int(sample["scan_index"])
            count = int(np.diff(dataset.index.offsets)[scan_index])
            lent, flags = dataset.index.flags(scan_index, 0, count)[1], dataset.scans[scan_index].voice_activity()
            for start in sample["speech_pos_start"][sample["pair_valid"]].tolist():
                window = slice(int(np.ceil(start * 100)), int(start * 100) + 60)
                real.append(flags[window].mean())
                borrowed.append(lent[window].sum())
    assert min(borrowed) >= 29 and np.mean(np.array(real) < 0.5) > 0.05  # the real voice is not what was asked for


def test_the_flags_of_whole_clips_change_places(store: ScanStore):
    dataset, plain = ClipDataset(store, affinity_control="permuted", seed=2), ClipDataset(store)

    def blocks(data: ClipDataset) -> list[bytes]:
        found = []
        for scan_index, count in enumerate(np.diff(data.index.offsets)):
            flags = data.index.flags(scan_index, 0, int(count))[1]
            found += [flags[200 * clip : 200 * (clip + 1)].tobytes() for clip in range(count)]
        return found

    moved, kept = blocks(dataset), blocks(plain)
    assert Counter(moved) == Counter(kept) and moved != kept
    for number, block in enumerate(moved):
        assert np.frombuffer(block, bool).mean() == pytest.approx(dataset.index.activity[number])


# Positive only


def test_only_the_positive_is_held_to_the_threshold(store: ScanStore):
    dataset, plain = ClipDataset(store, gate_on="positive", seed=3), ClipDataset(store, seed=3)
    silent, shares = [], clip_shares(dataset)
    assert np.array_equal(dataset.index.usable(0.5), shares >= 0.5)
    for number in range(len(dataset)):
        sample, both = dataset[number], plain[number]
        assert bool(sample["affinity"]) == (shares[number] >= 0.5) == bool(both["affinity"])
        assert bool(sample["pair_valid"].all()) == bool(sample["affinity"])  # every interval may give a negative
        scan, clip = dataset.scans[int(sample["scan_index"])], int(sample["clip_index"])
        flags = scan.voice_activity("energy")
        for k in torch.nonzero(sample["pair_valid"]).flatten().tolist():
            positive, negative = float(sample["speech_pos_start"][k]), float(sample["speech_neg_start"][k])
            assert flags[int(np.ceil(positive * 100)) : int(positive * 100) + 60].sum() >= 29
            assert int(negative // 2) == clip + int(sample["shift"][k]) and sample["shift"][k] != 0
            assert np.array_equal(sample["speech_neg"][k], scan.read_speech(negative, 14400))
            silent.append(flags[int(np.ceil(negative * 100)) : int(negative * 100) + 60].mean() < 0.45)
    assert len(silent) > 40 and 0.1 < np.mean(silent) < 0.9
    assert np.array_equal(dataset.high, shares >= 0.5) and dataset.high.sum() >= plain.high.sum()


# Oracle


@pytest.fixture(scope="module")
def narrated(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    """What the phantom says in three scans, with grey frames."""
    root = tmp_path_factory.mktemp("oracle") / "store"
    for number in range(3):
        course = Phantom(seed=6, seconds=30.0, narration={"gap": 0.25}).course(number)
        with ScanStoreWriter(root, course.id, codec="raw") as writer:
            for frame in range(60):
                writer.add_frame(np.full((8, 8), frame, np.uint8), frame / 2, frame)
            writer.set_speech(course.speech(), (0.0, 30.0), None)
            rows = matching_words(course.planes, course.narration.words)
            writer.set_voice_activity("oracle", oracle_flags([row[:2] for row in rows], 3000))
            writer.finish({"subject": course.subject, "duration": 30.0, "fan_box": [0, 0, 8, 8], "source_size": [8, 8]})
    return ScanStore(root)


def test_with_the_oracle_clips_and_windows_with_a_matching_word_are_high_and_no_others(narrated: ScanStore):
    options = {"voice_activity": "oracle", "affinity_threshold": 0.1, "window_threshold": 0.333, "order": False}
    dataset, checked = ClipDataset(narrated, **options), 0
    phantom = Phantom(seed=6, seconds=30.0, narration={"gap": 0.25})
    words = [matching_words(phantom.course(n).planes, phantom.course(n).narration.words) for n in range(3)]

    def sounding(scan: int, begin: float, length: float) -> float:
        """Seconds of matching words in a stretch."""
        return sum(max(0.0, min(w.end, begin + length) - max(w.start, begin)) for w in words[scan])

    for number in range(len(dataset)):
        scan, clip = dataset.locate(number)
        heard = sounding(scan, 2.0 * clip, 2.0)
        if abs(heard - 0.2) > 0.03:  # flags round each word to 10 ms
            assert bool(dataset.index.usable(0.1)[number]) == (heard >= 0.2)
        for epoch in range(3):
            sample = dataset[(epoch, number)]
            assert bool(sample["affinity"]) == bool(dataset.index.usable(0.1)[number])
            for k in torch.nonzero(sample["pair_valid"]).flatten().tolist():
                for name in ("speech_pos_start", "speech_neg_start"):
                    assert sounding(scan, float(sample[name][k]), 0.6) > 0.2 - 0.03
                    checked += 1
    share = dataset.index.usable(0.1).mean()
    assert checked > 100 and 0.1 < share < 0.9


# Options


def test_without_a_control_nothing_changes(store: ScanStore):
    plain, named = ClipDataset(store), ClipDataset(store, speech_source=None, affinity_control=None, gate_on=None)
    assert all(voice is scan for voice, scan in zip(plain.voices, plain.scans))
    assert all(equal(plain[n], named[n]) for n in range(0, len(plain), 7))


@pytest.mark.parametrize("control", ["speech_source", "affinity_control", "gate_on"])
def test_a_control_depends_on_the_seed_alone(store: ScanStore, control: str):
    value = {"speech_source": "shuffled", "affinity_control": "permuted", "gate_on": "positive"}[control]
    first, again = (ClipDataset(store, seed=4, **{control: value}) for _ in range(2))
    copied, other = pickle.loads(pickle.dumps(first)), ClipDataset(store, seed=5, **{control: value})
    numbers = range(0, len(first), 6)
    assert all(equal(first[(2, n)], again[(2, n)]) and equal(first[(2, n)], copied[(2, n)]) for n in numbers)
    assert not all(equal(first[(2, n)], other[(2, n)]) for n in numbers)


def test_controls_can_be_combined(store: ScanStore):
    dataset = ClipDataset(store, speech_source="shuffled", affinity_control="permuted", gate_on="positive", seed=1)
    assert dataset.high.any() and dataset[int(np.flatnonzero(dataset.high)[0])]["pair_valid"].any()


def test_what_cannot_serve_a_control_is_refused(store: ScanStore, tmp_path: Path):
    for options, message in (
        ({"speech_source": "shufled"}, 'speech_source must be null .no control. or "shuffled".*Did you mean'),
        ({"affinity_control": "random"}, 'affinity_control must be null .no control. or "permuted"'),
        ({"gate_on": "negative"}, 'gate_on must be null .no control. or "positive"'),
        ({"speech_source": "shuffled", "pairs": False}, 'speech_source="shuffled" is a control of pairs'),
        ({"affinity_control": "permuted", "gate": False}, "control of the speech filter, and gate is false"),
        ({"gate_on": "positive", "gate": False}, "control of the speech filter, and gate is false"),
        ({"speech_source": "shuffled", "subjects": ["p1"]}, "1 of the 1 chosen scans have speech; choose more"),
        ({"affinity_control": "permuted", "affinity_threshold": 0.0}, "all of the 68 clips with speech reach"),
        ({"affinity_control": "permuted", "affinity_threshold": 1.0, "subjects": ["p1"]}, "none of the 10 clips"),
        ({"voice_activity": "oracle"}, "no 'oracle' voice activity; add 'oracle' to voice_activity and run prepare"),
        ({"window_threshold": 2.0}, r"window_threshold must lie in \[0, 1\]"),
    ):
        with pytest.raises(InputError, match=message):
            ClipDataset(store, **options)


@pytest.mark.parametrize("row", ["ours", "cm_contra_filter", "plus"])
def test_the_overlays_put_the_controls_into_the_training_configuration(row: str, tmp_path: Path):
    make_store(tmp_path / "store", n_scans=2, seconds=20.0, size=16)
    for name in ("shuffled", "permuted", "positive_only", "oracle"):
        files = ["bundle/configs/train.json", f"configs/pretrain/{row}.json", f"configs/pretrain/control_{name}.json"]
        parser = ConfigParser()
        parser.read_config([str(REPOSITORY / file) for file in files])
        parser["dataset_dir"] = str(tmp_path / "store")
        assert parser["description"].startswith("A control, not a method: ")
        settings = parser.get_parsed_content("settings")
        chosen = {key: settings[key] for key in ("speech_source", "affinity_control", "gate_on", "voice_activity")}
        method = "silero" if row == "plus" else "energy"
        assert settings["method"] == f"control_{name}" and chosen == {
            "speech_source": "shuffled" if name == "shuffled" else None,
            "affinity_control": "permuted" if name == "permuted" else None,
            "gate_on": "positive" if name == "positive_only" else None,
            "voice_activity": "oracle" if name == "oracle" else method,
        }
        if row == "ours" and name != "oracle":
            dataset = parser.get_parsed_content("train#dataset")
            assert isinstance(dataset, ClipDataset)
            assert (dataset.speech_source, dataset.affinity_control, dataset.gate_on) == tuple(chosen.values())[:3]
        if name == "oracle":
            with pytest.raises(RuntimeError) as caught:  # this store was prepared without it
                parser.get_parsed_content("train#dataset")
            assert "add 'oracle' to voice_activity and run prepare" in str(caught.value.__cause__)
