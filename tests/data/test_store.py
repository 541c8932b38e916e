# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

import monai_usspeech.data.stored_scan as scan_module
from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import ScanStore, ScanStoreWriter, StoredScan
from monai_usspeech.data.store_writer import add_voice_activity, remove_leftovers, scan_folder
from tests.data.store_factory import _scan, make_store

META = {"subject": "p", "duration": 1.0, "fan_box": [0, 0, 8, 8], "source_size": [8, 8]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    return make_store(folder, n_scans=3, seconds=6.0, scans_per_subject=2, gaze=True, planes=True)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "copy"))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_what_was_written_is_read(root: Path) -> None:
    store = ScanStore(root)
    assert [scan.id for scan in store.scans] == ["s000", "s001", "s002"] and store.subjects == ("p000", "p001")
    for number, scan in enumerate(store):
        frames, samples, active, statistics = _scan(1000 * 0 + number, 6.0, 10.0, 64)
        order = [5, 0, 59, 5]
        np.testing.assert_array_equal(scan.read_frames(order), frames[order])
        np.testing.assert_allclose(scan.times, np.arange(60) / 10)
        np.testing.assert_array_equal(scan.source_frames, 3 * np.arange(60))
        np.testing.assert_array_equal(scan.read_speech(0.0, len(samples)), samples)
        np.testing.assert_array_equal(scan.voice_activity(), active)
        assert scan.speech_statistics == statistics and scan.speech_range == (0.0, 6.0)
        assert (scan.n_frames, scan.size, scan.duration, scan.has_speech) == (60, (64, 64), 6.0, True)
        assert scan.fan_box == (10, 20, 138, 148) and scan.source_size == (192, 256)
        assert [interval.plane for interval in scan.planes] == ["4CH", "femur"]
        assert scan.gaze is not None and len(scan.gaze.time) == 180


@pytest.mark.parametrize("start", [-1.0, -0.1, 0.0, 0.26, 2.123456, 5.9, 6.0, 100.0])
@pytest.mark.parametrize("n", [1, 14_400, 200_000])
def test_speech_windows_equal_slices_of_the_padded_track(root: Path, start: float, n: int) -> None:
    scan = ScanStore(root)["s001"]
    samples = _scan(1, 6.0, 10.0, 64)[1]
    first = round(start * 24_000)
    expected = np.array([samples[i] if 0 <= i < len(samples) else 0 for i in range(first, first + n)], np.int16)
    np.testing.assert_array_equal(scan.read_speech(start, n), expected)


def test_jpeg_keeps_the_picture_and_is_smaller(tmp_path: Path) -> None:
    raw = ScanStore(make_store(tmp_path / "raw", 1, 2.0, codec="raw"))["s000"]
    jpeg = ScanStore(make_store(tmp_path / "jpeg", 1, 2.0, codec="jpeg"))["s000"]
    frames = np.arange(20)
    error = raw.read_frames(frames).astype(float) - jpeg.read_frames(frames)
    assert np.sqrt((error**2).mean()) < 3 and jpeg.meta["frame_bytes"] < raw.meta["frame_bytes"] / 2


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_one_flipped_bit_is_found_and_named(tmp_path: Path, codec: str) -> None:
    scan = ScanStore(make_store(tmp_path, 1, 2.0, codec=codec))["s000"]
    index = np.load(scan.path / "index.npz")
    flip(scan.path / "frames.bin", int(index["offset"][7] + index["length"][7] // 2))
    scan.read_frames([6, 8])
    with pytest.raises(InputError, match=r"frames\.bin: frame 7 .*delete the folder .*s000 and run prepare again"):
        scan.read_frames([6, 7])
    flip(scan.path / "speech.pcm", 24_000 + 1)
    scan.read_speech(0.0, 6_000)
    with pytest.raises(InputError, match=r"speech\.pcm: the speech at 0\.50 s"):
        scan.read_speech(0.4, 14_400)


@pytest.mark.parametrize("name", ["voice_energy.npy", "index.npz", "gaze.npz"])
def test_damage_in_the_small_files_is_found(copy: Path, name: str) -> None:
    path = copy / "s000" / name
    flip(path, path.stat().st_size // 2)
    scan = ScanStore(copy)["s000"]
    with pytest.raises(InputError, match=name):
        scan.voice_activity()
        scan.read_frames([0])
        assert scan.gaze is not None


@pytest.mark.parametrize("name", ["frames.bin", "speech.pcm"])
def test_a_partly_copied_scan_does_not_open(copy: Path, name: str) -> None:
    os.truncate(copy / "s001" / name, 1000)
    with pytest.raises(InputError, match=f"s001/{name}: 1000 bytes where meta.json says"):
        ScanStore(copy)
    (copy / "s001" / name).unlink()
    with pytest.raises(InputError, match="missing"):
        ScanStore(copy)


def test_other_formats_and_broken_meta_are_refused(copy: Path) -> None:
    path = copy / "s000" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        ScanStore(copy)
    path.write_text("{")
    with pytest.raises(InputError, match="not valid JSON.*delete the folder"):
        ScanStore(copy)
    for content in ("[]", '{"format": 1}'):
        path.write_text(content)
        with pytest.raises(InputError, match="meta.json: damaged; delete the folder"):
            ScanStore(copy)


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such scan store"):
        ScanStore(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no prepared scan"):
        ScanStore(tmp_path)


def test_choosing_subjects(root: Path) -> None:
    store = ScanStore(root)
    assert [scan.id for scan in store.select(subjects=["p000"])] == ["s000", "s001"]
    assert [scan.id for scan in store.select(exclude=["p000"])] == ["s002"]
    assert len(store.select()) == len(store) == 3
    with pytest.raises(InputError, match='Did you mean "p001"'):
        store.select(subjects=["p01"])
    for names in ("p000", 7):
        with pytest.raises(InputError, match="exclude_subjects: .*give a list"):
            store.select(exclude=names)
    with pytest.raises(InputError, match="no scan is left"):
        store.select(exclude=["p000", "p001"])
    with pytest.raises(InputError, match="no scan 's9'"):
        store["s9"]


def test_unknown_voice_activity_says_how_to_add_it_and_adding_works(copy: Path, tmp_path: Path) -> None:
    scan = ScanStore(copy)["s000"]
    with pytest.raises(InputError, match="add 'silero' to voice_activity and run prepare again"):
        scan.voice_activity("silero")
    flags = np.arange(600) % 3 == 0
    add_voice_activity(scan.path, "silero", flags)
    added = ScanStore(copy)["s000"]
    np.testing.assert_array_equal(added.voice_activity("silero"), flags)
    assert added.voice_activity_methods == ("energy", "silero")
    mute = ScanStore(make_store(tmp_path / "mute", 1, 2.0, speech=False))["s000"]
    assert not mute.has_speech and mute.speech_statistics is None and not mute.read_speech(0.5, 100).any()
    with pytest.raises(InputError, match="has no speech"):
        mute.voice_activity()


def _read(scan: StoredScan, queue: multiprocessing.Queue) -> None:
    queue.put((scan.read_frames(range(60)).sum(), scan.read_speech(1.0, 48_000).astype(int).sum()))


@pytest.mark.parametrize(("method", "n"), [("fork", 2), ("spawn", 1)])
def test_other_processes_read_the_same(root: Path, method: str, n: int) -> None:
    scan = ScanStore(root)["s000"]  # its files are open here before the other processes start
    expected = scan.read_frames(range(60)).sum(), scan.read_speech(1.0, 48_000).astype(int).sum()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    processes = [context.Process(target=_read, args=(scan, queue)) for _ in range(n)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == [expected] * n
    for process in processes:
        process.join()


def test_pickle_holds_no_open_file_and_no_frame(root: Path) -> None:
    scan = ScanStore(root)["s000"]
    frames = scan.read_frames([3])
    assert scan.gaze is not None
    data = pickle.dumps(scan)
    assert len(data) < 30_000
    np.testing.assert_array_equal(pickle.loads(data).read_frames([3]), frames)


def test_open_files_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "_OPEN_SCANS", scan_module._OpenScans(2))
    scans = [StoredScan(root / "s000") for _ in range(5)]
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for scan in scans * 2:
        scan.read_frames([0])
        scan.read_speech(0, 10)
    assert sum(scan._open_scan is not None for scan in scans) == 2
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) - before == 4


def test_nothing_reads_as_whole_before_finish(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        with ScanStoreWriter(tmp_path, "a") as writer:
            writer.add_frame(np.zeros((8, 8), np.uint8), 0.0, 0)
            assert [entry.name for entry in tmp_path.iterdir()] != ["a"]
            with pytest.raises(InputError):
                ScanStore(tmp_path)
            raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = multiprocessing.get_context("spawn").Process(target=print)
    dead.start()
    dead.join()
    (tmp_path / f".a.part-{socket.gethostname()}-{dead.pid}").mkdir()
    (tmp_path / f".a.part-{socket.gethostname()}-{os.getppid()}").mkdir()
    (tmp_path / f".b.part-{socket.gethostname()}-{dead.pid}").mkdir()
    assert remove_leftovers(tmp_path, "a") == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    for value in (10, 20):
        with ScanStoreWriter(tmp_path, "a", codec="raw") as writer:
            writer.add_frame(np.full((8, 8), value, np.uint8), 0.0, 0)
            writer.finish(META)
    assert ScanStore(tmp_path)["a"].read_frames([0]).max() == 20 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("scan_id", ["a/b", "../up", ".hidden", "Müller 3", "a%2Fb", "x" * 60])
def test_any_id_stays_inside_the_store(tmp_path: Path, scan_id: str) -> None:
    with ScanStoreWriter(tmp_path / "store", scan_id) as writer:
        writer.add_frame(np.zeros((8, 8), np.uint8), 0.0, 0)
        writer.finish(META)
    assert scan_folder(tmp_path / "store", scan_id).parent == tmp_path / "store"
    assert [scan.id for scan in ScanStore(tmp_path / "store")] == [scan_id]


def test_the_writer_refuses_what_cannot_be_a_scan(tmp_path: Path) -> None:
    frame = np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match="codec"):
        ScanStoreWriter(tmp_path, "a", codec="png")
    with ScanStoreWriter(tmp_path, "a") as writer:
        with pytest.raises(ValueError, match="missing frames"):
            writer.finish(META)
        writer.add_frame(frame, 0.5, 0)
        with pytest.raises(ValueError, match="must increase"):
            writer.add_frame(frame, 0.5, 1)
        with pytest.raises(ValueError, match=r"uint8 \[8, 8\], got uint8 \[9, 8\]"):
            writer.add_frame(np.zeros((9, 8), np.uint8), 0.6, 1)
        with pytest.raises(ValueError, match="int16"):
            writer.set_speech(np.zeros(10, np.float32), (0, 1))
        with pytest.raises(ValueError, match="bool"):
            writer.set_voice_activity("energy", np.zeros(10))
        with pytest.raises(ValueError, match="missing subject"):
            writer.finish({key: META[key] for key in META if key != "subject"})
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        ScanStoreWriter(file, "a").__enter__()


def test_frame_numbers_out_of_range(root: Path) -> None:
    scan = ScanStore(root)["s000"]
    for number in (-1, 60):
        with pytest.raises(ValueError, match="60 frames"):
            scan.read_frames([number])
