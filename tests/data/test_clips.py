# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from monai_usspeech.data.batches import ClipBatchSampler
from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import ScanStore, ScanStoreWriter
from monai_usspeech.transforms.order import order_label
from monai_usspeech.transforms.pair_sampling import frame_on_display
from tests.data.store_factory import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    """Four scans of 30 s of three subjects."""
    root = tmp_path_factory.mktemp("clips") / "store"
    return ScanStore(make_store(root, n_scans=4, seconds=30.0, size=32, scans_per_subject=2))


def write_scan(root: Path, name: str, times, duration: float, speech=None, voice=None, frozen=False) -> None:
    """One scan of 16-pixel frames that hold their own number (or nothing new, when frozen)."""
    with ScanStoreWriter(root, name, codec="raw") as writer:
        for number, time in enumerate(times):
            writer.add_frame(np.full((16, 16), 0 if frozen else 10 * number % 250, np.uint8), float(time), number)
        if speech is not None:
            writer.set_speech(np.zeros(int(duration * 24000), np.int16), speech, None)
            writer.set_voice_activity("energy", voice)
        writer.finish({"subject": f"p-{name}", "duration": duration, "fan_box": [0, 0, 16, 16], "source_size": [16, 16],
                       "planes": []})  # fmt: skip


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k].nan_to_num(-1), b[k].nan_to_num(-1)) for k in a)


def test_the_sample_has_the_agreed_keys_shapes_and_types(store):
    dataset = ClipDataset(store, augment={}, n_pairs=3)
    expected = {
        "frames": (torch.uint8, (3, 1, 32, 32)),
        "speech_pos": (torch.int16, (3, 14400)),
        "speech_neg": (torch.int16, (3, 14400)),
        "pair_valid": (torch.bool, (3,)),
        "neg_valid": (torch.bool, (3,)),
        "affinity": (torch.float32, ()),
        "order_frames": (torch.uint8, (4, 1, 32, 32)),
        "order_label": (torch.int64, ()),
        "order_valid": (torch.bool, ()),
        "scan_index": (torch.int64, ()),
        "clip_index": (torch.int64, ()),
        "frame_times": (torch.float64, (3,)),
        "speech_pos_start": (torch.float64, (3,)),
        "speech_neg_start": (torch.float64, (3,)),
        "shift": (torch.int64, (3,)),
        "negative_clip_index": (torch.int64, (3,)),
        "order_times": (torch.float64, (4,)),
        "speech_max_db": (torch.float32, ()),
        "speech_mean": (torch.float32, ()),
        "speech_std": (torch.float32, ()),
        "frames_affine": (torch.float32, (3, 2, 3)),
        "frames_gain": (torch.float32, (3,)),
        "frames_gamma": (torch.float32, (3,)),
        "order_frames_affine": (torch.float32, (4, 2, 3)),
        "order_frames_gain": (torch.float32, (4,)),
        "order_frames_gamma": (torch.float32, (4,)),
    }
    sample = dataset[7]
    assert {name: (value.dtype, tuple(value.shape)) for name, value in sample.items()} == expected
    batch = default_collate([dataset[(2, i)] for i in range(5)])
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == {
        name: (dtype, (5, *shape)) for name, (dtype, shape) in expected.items()
    }
    assert ClipDataset(store, statistics="band")[0]["speech_mean"].shape == (256,)


def test_rows_without_a_task_lack_its_keys(store):
    video = ClipDataset(store, pairs=False)[0]
    assert set(video) == {"order_frames", "order_label", "order_valid", "order_times", "scan_index", "clip_index"}
    assert not any("order" in name for name in ClipDataset(store, order=False, augment={})[0])


def test_every_clip_has_one_number(store):
    dataset = ClipDataset(store)
    assert len(dataset) == 60
    assert [dataset.locate(i) for i in range(60)] == [(scan, clip) for scan in range(4) for clip in range(15)]
    assert dataset.locate(-1) == (3, 14) and equal(dataset[-1], dataset[59])
    assert dataset.item_name(27) == "scan s001 clip 12 (24.0-26.0 s)" == dataset.clip_name(1, 12)
    for number in (60, -61):
        with pytest.raises(IndexError, match="there are 60"):
            dataset[number]
    assert sum(1 for _ in dataset) == 60


def test_a_sample_is_what_its_record_says(store):
    dataset = ClipDataset(store, n_pairs=2)
    invalid = 0
    for number in range(60):
        sample = dataset[(1, number)]
        scan, begin = dataset.scans[sample["scan_index"]], 2.0 * float(sample["clip_index"])
        for at, frame in zip(sample["frame_times"], sample["frames"]):
            assert begin <= at < begin + 2
            shown = scan.read_frames(frame_on_display(scan.times, [float(at)]))
            assert np.array_equal(frame, shown)
        for k in range(2):
            for name in ("speech_pos", "speech_neg"):
                start = float(sample[f"{name}_start"][k])
                if np.isnan(start):
                    invalid += 1
                    assert not sample["pair_valid"][k] and not sample[name][k].any()
                else:
                    shift = 0 if name == "speech_pos" else int(sample["shift"][k])
                    assert begin + 2 * shift <= start <= begin + 2 * shift + 1.4
                    assert np.array_equal(sample[name][k], scan.read_speech(start, 14400))
            assert bool(sample["neg_valid"][k]) == bool(sample["shift"][k] != 0)
        order = sample["order_times"].argsort().argsort().numpy()
        assert order_label(order) == int(sample["order_label"]) and sample["order_valid"]
        shown = scan.read_frames(frame_on_display(scan.times, sample["order_times"].numpy()))
        assert np.array_equal(sample["order_frames"][:, 0], shown)
        assert (sample["order_times"] >= begin).all() and (sample["order_times"] < begin + 2).all()


def test_the_order_label_follows_the_reversal(store):
    shown, time = ClipDataset(store), ClipDataset(store, order_reversal="time")
    assert (shown.order_reversal, time.order_reversal) == ("shown", "time")
    labels = []
    for number in range(60):
        a, b = shown[(1, number)], time[(1, number)]
        order = a["order_times"].argsort().argsort()
        labels.append((int(a.pop("order_label")), int(b.pop("order_label"))))
        assert labels[-1] == (order_label(order), order_label(order, "time"))
        assert equal(a, b)  # nothing else differs
    assert len({b for _, b in labels}) == 12 and sum(a != b for a, b in labels) > 10


def test_the_negative_is_from_the_same_scan_and_another_interval(store):
    dataset = ClipDataset(store)
    seen: set[int] = set()
    for epoch in range(5):
        for number in range(60):
            sample = dataset[(epoch, number)]
            clip, valid = int(sample["clip_index"]), sample["pair_valid"]
            other = clip + sample["shift"][valid]
            assert ((other >= 0) & (other < 15) & (other != clip) & ((other - clip).abs() <= 4)).all()
            assert torch.equal((sample["speech_neg_start"][valid] // 2).long(), other)
            seen |= set(sample["shift"][valid].tolist())
    assert seen == {-4, -3, -2, -1, 1, 2, 3, 4}


def test_gating_holds_clip_and_both_windows_to_the_threshold(store):
    dataset, checked = ClipDataset(store), 0
    for number in range(60):
        sample = dataset[number]
        flags = dataset.scans[sample["scan_index"]].voice_activity("energy")
        clip = int(sample["clip_index"])
        assert bool(sample["affinity"]) == (flags[200 * clip : 200 * (clip + 1)].mean() >= 0.5)
        if not sample["affinity"]:
            assert not sample["pair_valid"].any() and sample["speech_pos"].any()  # masked, but the clip's own sound
        for k in torch.nonzero(sample["pair_valid"]).flatten():
            checked += 1
            other = clip + int(sample["shift"][k])
            assert flags[200 * other : 200 * (other + 1)].mean() >= 0.5
            for name in ("speech_pos_start", "speech_neg_start"):
                first = float(sample[name][k]) * 100
                inside = flags[int(np.ceil(first)) : int(first) + 60]  # whole flags: at most one share less
                assert inside.sum() >= 29
    assert checked > 20


def test_ungated_rows_use_every_clip_that_speech_covers(store):
    dataset = ClipDataset(store, gate=False)
    assert dataset.high.all() and all(bool(dataset[i]["pair_valid"].all()) for i in range(60))


def test_the_same_items_with_any_number_of_workers(store):
    dataset = ClipDataset(store, augment={}, seed=3)

    def batches(workers: int, first: int = 0, context: str | None = None) -> list[dict[str, torch.Tensor]]:
        sampler = ClipBatchSampler(60, 8, seed=3)
        sampler.set_position(1, first)
        return list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers, multiprocessing_context=context))

    alone, two, resumed = batches(0), batches(2, context="fork"), batches(0, first=4)
    assert len(alone) == 7 and all(map(equal, alone, two)) and all(map(equal, alone[4:], resumed))


def test_an_item_depends_on_seed_epoch_and_number_only(store):
    dataset = ClipDataset(store, seed=1)
    first = dataset[(4, 9)]
    for number in (3, 50):
        dataset[(0, number)]
    np.random.seed(0)
    assert equal(first, dataset[(4, 9)]) and equal(first, pickle.loads(pickle.dumps(dataset))[(4, 9)])
    assert all(map(equal, dataset.__getitems__([(4, 9), (4, 10)]), [first, dataset[(4, 10)]]))
    assert not equal(first, dataset[(5, 9)]) and not equal(first, ClipDataset(store, seed=2)[(4, 9)])
    assert equal(dataset[9], dataset[(0, 9)])


def test_subjects_are_kept_apart(store):
    train, test = ClipDataset(store, exclude_subjects=["p001"]), ClipDataset(store, subjects=["p001"])
    assert {scan.subject for scan in train.scans} == {"p000"} and {scan.id for scan in test.scans} == {"s002", "s003"}
    with pytest.raises(InputError, match='Did you mean "p001"'):
        ClipDataset(store, exclude_subjects=["p01"])


def test_self_pacing_moves_the_threshold_in_a_straight_line(store):
    dataset = ClipDataset(store, affinity_start=0.9, affinity_epochs=4, affinity_threshold=0.5)
    assert [dataset.threshold(e) for e in (0, 1, 2, 3, 4, 99)] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.5])
    counts = [sum(int(dataset[(e, i)]["affinity"]) for i in range(60)) for e in (0, 2, 4)]
    assert counts[0] < counts[1] < counts[2] == sum(int(ClipDataset(store)[i]["affinity"]) for i in range(60))
    assert dataset.high_clips(0).sum() < dataset.high.sum() and np.array_equal(dataset.high, dataset.high_clips(4))


def test_high_clips_give_valid_pairs(store):
    dataset = ClipDataset(store)
    valid = np.array([[bool(dataset[(e, i)]["pair_valid"].all()) for i in range(60)] for e in range(3)])
    assert np.array_equal(valid.all(0), dataset.high) and not valid[:, ~dataset.high].any()


def test_the_summary_counts(store):
    summary = ClipDataset(store).summary()
    assert (summary["scans"], summary["subjects"], summary["clips"]) == (4, 2, 60)
    assert summary["hours"] == pytest.approx(120 / 3600) and summary["share_with_speech"] == 1.0
    assert 0 < summary["share_with_pairs"] <= summary["share_high_affinity"] < 1
    assert summary["share_high_affinity"] == np.mean([float(ClipDataset(store)[i]["affinity"]) for i in range(60)])


def test_scans_without_speech_give_clips_for_the_order_task_only(tmp_path):
    make_store(tmp_path, n_scans=1, seconds=12.0, size=16)
    write_scan(tmp_path, "silent", np.arange(0, 6, 0.1), 6.0)
    dataset = ClipDataset(tmp_path)
    assert [scan.id for scan in dataset.scans] == ["s000", "silent"] and dataset.high[6:].sum() == 0
    sample = dataset[7]
    assert sample["order_valid"] and not sample["affinity"] and not sample["pair_valid"].any()
    assert not sample["speech_pos"].any() and torch.isnan(sample["speech_pos_start"]).all()
    default_collate([dataset[0], sample])
    assert [scan.id for scan in ClipDataset(tmp_path, order=False).scans] == ["s000"]


def test_frames_alone_are_drawn_from_every_clip_with_or_without_speech(tmp_path):
    make_store(tmp_path, n_scans=1, seconds=12.0, size=16)
    write_scan(tmp_path, "silent", np.arange(0, 6, 0.1), 6.0)
    dataset = ClipDataset(tmp_path, pairs=False, order=False, frames=True, n_pairs=3, augment={"shared": False})
    assert [scan.id for scan in dataset.scans] == ["s000", "silent"] and len(dataset) == 9
    for number in range(len(dataset)):
        sample = dataset[number]
        names = {"frames", "frame_times", "frames_affine", "frames_gain", "frames_gamma", "scan_index", "clip_index"}
        assert set(sample) == names
        scan_index, clip = dataset.locate(number)
        scan, times = dataset.scans[scan_index], sample["frame_times"].numpy()
        assert len(np.unique(times)) == 3 and ((times >= 2 * clip) & (times < 2 * clip + 2)).all()
        np.testing.assert_array_equal(sample["frames"][:, 0], scan.read_frames(frame_on_display(scan.times, times)))
    assert not torch.equal(dataset[1, 0]["frame_times"], dataset[0, 0]["frame_times"])
    both = ClipDataset(tmp_path, order=False, frames=True)  # clips without speech stay for their frames
    assert len(both) == 9 and not both[8]["pair_valid"].any() and both[8]["frames"].any()
    assert equal(ClipDataset(tmp_path, frames=True)[2], ClipDataset(tmp_path)[2])


def test_only_clips_that_speech_covers_give_pairs(tmp_path):
    write_scan(tmp_path, "late", np.arange(0, 20, 0.1), 20.0, (3.0, 15.9), np.ones(2000, bool))
    dataset = ClipDataset(tmp_path)
    assert np.flatnonzero(dataset.high).tolist() == [2, 3, 4, 5, 6]
    starts = torch.stack([dataset[(e, i)]["speech_neg_start"] for e in range(10) for i in range(2, 7)])
    assert starts.min() >= 4.0 and starts.max() <= 13.4


def test_the_tail_is_dropped_and_a_short_scan_gives_none(tmp_path):
    write_scan(tmp_path, "a", np.arange(0, 7.9, 0.1), 7.9)
    write_scan(tmp_path, "b", np.arange(0, 1.5, 0.1), 1.5)
    write_scan(tmp_path, "c", np.arange(0, 2.0, 0.1), 2.0 - 1e-9)  # a frame interval summed up in floating point
    dataset = ClipDataset(tmp_path, pairs=False)
    assert len(dataset) == 4 and [dataset.locate(i) for i in range(4)] == [(0, 0), (0, 1), (0, 2), (2, 0)]


def test_order_needs_four_different_frames(tmp_path):
    write_scan(tmp_path, "frozen", np.arange(0, 4, 0.1), 4.0, frozen=True)
    write_scan(tmp_path, "slow", np.arange(0, 4, 1.0), 4.0)  # two frames a clip
    write_scan(tmp_path, "two_hertz", np.arange(0, 4, 0.5), 4.0)  # four frames a clip: the gap is raised to 0.5 s
    dataset = ClipDataset(tmp_path, pairs=False)
    valid = {scan.id: [] for scan in dataset.scans}
    for epoch in range(5):
        for number in range(len(dataset)):
            sample = dataset[(epoch, number)]
            valid[dataset.scans[sample["scan_index"]].id].append(bool(sample["order_valid"]))
    assert {name: set(values) for name, values in valid.items()} == {
        "frozen": {False},
        "slow": {False},
        "two_hertz": {True},
    }


def test_variable_frame_rate_is_honoured(tmp_path):
    times = np.cumsum(np.random.RandomState(0).uniform(0.02, 0.2, 100)) - 0.02
    times -= times[0]
    write_scan(tmp_path, "vfr", times, float(times[-1] + 0.1), (0.0, 99.0), np.ones(2000, bool))
    dataset = ClipDataset(tmp_path)
    for number in range(len(dataset)):
        sample = dataset[number]
        for at, frame in zip(sample["frame_times"], sample["frames"]):
            assert int(frame[0, 0, 0]) == 10 * int((times <= float(at)).sum() - 1) % 250


def test_augmentation_of_the_order_frames_jitters_each_frame(store):
    sample = ClipDataset(store, augment={"flip": 0.0})[0]
    assert torch.equal(sample["frames_affine"][0], sample["frames_affine"][1])
    assert not torch.equal(sample["order_frames_affine"][0], sample["order_frames_affine"][1])
    still = ClipDataset(store, augment={"jitter": 0.0, "noise": 0.0})[0]
    assert torch.equal(still["order_frames_affine"][0], still["order_frames_affine"][1])


def test_what_cannot_be_is_said_at_once(store, tmp_path):
    make_store(tmp_path / "short", n_scans=2, seconds=1.5, size=16)
    make_store(tmp_path / "mute", n_scans=1, seconds=6.0, size=16, speech=False)
    with pytest.raises(InputError, match="none of the 2 chosen scans lasts one clip of 2 s"):
        ClipDataset(tmp_path / "short")
    with pytest.raises(InputError, match="none of the chosen scans has speech.*pretrain/video.json"):
        ClipDataset(tmp_path / "mute")
    with pytest.raises(InputError, match="no clip can give a pair.*pretrain/video.json"):
        ClipDataset(store, affinity_threshold=1.0, shift_range=2, subjects=["p001"])
    (tmp_path / "quiet").mkdir()
    write_scan(tmp_path / "quiet", "quiet", np.arange(0, 6, 0.1), 6.0, (0.0, 6.0), np.zeros(600, bool))
    with pytest.raises(InputError, match="pair: there is none with speech and an active share of 0.5. Lower"):
        ClipDataset(tmp_path / "quiet", hard_negatives=False)  # a clip needs no partner, so none is missed
    with pytest.raises(InputError, match="none of the chosen scans has speech"):
        ClipDataset(tmp_path / "mute", order=False)
    assert len(ClipDataset(tmp_path / "mute", pairs=False)) == 3
    with pytest.raises(InputError, match="'silero'"):
        ClipDataset(store, voice_activity="silero")
    with pytest.raises(InputError, match="nothing to learn"):
        ClipDataset(store, pairs=False, order=False)
    with pytest.raises(InputError, match='"scan" or "band"'):
        ClipDataset(store, statistics="mean")
    with pytest.raises(InputError, match='order_reversal must be "shown" or "time", got "tme"'):
        ClipDataset(store, order_reversal="tme")
    with pytest.raises(InputError, match='no option "gama".*"gamma"'):
        ClipDataset(store, augment={"gama": 1})
    for setting in ({"n_pairs": 0}, {"shift_range": "five"}, {"affinity_threshold": 2.0}, {"augment": {"scale": 5}}):
        with pytest.raises(InputError, match="ClipDataset: "):
            ClipDataset(store, **setting)
    with pytest.raises(ValueError, match="affinity_start"):
        ClipDataset(store, affinity_start=2.0)
    with pytest.raises(ValueError, match="gap"):
        ClipDataset(store, order_gap=(1.0, 1.5))


@pytest.mark.parametrize("unit", ["interval", "second"])
def test_the_clip_of_the_negative_is_where_its_window_begins(store, unit):
    dataset = ClipDataset(store, gate=False, shift_unit=unit, seed=3)
    seen = 0
    for sample in (dataset[(epoch, item)] for epoch in range(3) for item in range(len(dataset))):
        for clip, start, shift in zip(sample["negative_clip_index"], sample["speech_neg_start"], sample["shift"]):
            if torch.isnan(start):
                assert clip == -1
                continue
            assert clip * 2.0 <= start + 1e-6 < (clip + 1) * 2.0 + 1e-6
            if unit == "interval":
                assert clip == sample["clip_index"] + shift
            seen += 1
    assert seen > 20
