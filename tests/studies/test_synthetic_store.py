# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import shutil
from pathlib import Path
from threading import Thread

import pytest
from monai.bundle import ConfigParser

import monai_usspeech.studies.synthetic_store as module
from monai_usspeech.data import ScanStore
from monai_usspeech.data.files import InputError
from monai_usspeech.studies import SyntheticStore, phantom_store, phantom_stores
from monai_usspeech.studies.lock import folder_lock
from tests.data.store_factory import make_store

SETTINGS = {
    "n_scans": 2, "first_scan": 1000, "seconds": 6.0, "frame_rate": 5.0, "size": 96, "grid": [32, 64], "seed": 4,
    "difficulty": "easy",
}  # fmt: skip
PREPARE = {"size": 32, "frame_rate": None, "voice_activity": ["energy", "oracle"]}
MADE = {"settings": SETTINGS, "prepare": PREPARE}


def made(store: Path, **changes) -> SyntheticStore:
    return SyntheticStore(store, {**SETTINGS, **changes}, PREPARE)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    phantom_store(folder / "store", **MADE, workers=1, progress=False)
    return folder


@pytest.fixture
def copied(parent: Path, tmp_path: Path) -> Path:
    shutil.copytree(parent, tmp_path / "copy")
    return tmp_path / "copy" / "store"


def test_it_is_a_store_of_the_scans_with_both_voice_activities(parent: Path):
    store = ScanStore(parent / "store")
    assert [scan.id for scan in store] == ["s1000", "s1001"] and store.subjects == ("p1000", "p1001")
    for scan in store:
        assert scan.planes and scan.has_speech and scan.times[-1] > 5
        energy, oracle = scan.voice_activity("energy"), scan.voice_activity("oracle")
        assert len(energy) == len(oracle) == 600 and energy.any() and (energy != oracle).any()
    assert json.loads((parent / "store/phantom_store.json").read_text())["whole"] is True
    assert sorted(p.name for p in parent.iterdir()) == ["store", "store_scans"]


def test_a_whole_store_is_left_alone_even_without_its_scan_files(copied: Path, capsys):
    shutil.rmtree(copied.with_name("store_scans"))
    before = contents(copied.parent)
    assert phantom_store(copied, **MADE) == [copied]
    assert contents(copied.parent) == before and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"settings": {**SETTINGS, "seed": 5}}, "scans#seed was 4 and is 5"),
        ({"settings": {**SETTINGS, "n_scans": 1}}, "scans#n_scans was 2 and is 1"),
        ({"settings": {**SETTINGS, "first_scan": 0}}, "scans#first_scan was 1000 and is 0"),
        ({"settings": {**SETTINGS, "narration": {"noise_share": 0.5}}}, r"scans#narration#noise_share was 0\.0 and is"),
        ({"prepare": {**PREPARE, "size": 48}}, "prepare#size was 32 and is 48"),
    ],
)
def test_a_store_of_other_settings_is_refused_by_name_and_left_as_it_is(parent: Path, changed, words):
    before = contents(parent)
    with pytest.raises(
        SystemExit, match=rf"^phantom_store: .*store: .*{words}.* another folder, or remove it"
    ) as ended:
        phantom_store(parent / "store", **{**MADE, **changed})
    assert "\n" not in str(ended.value) and contents(parent) == before


def test_a_store_that_was_cut_off_goes_on_as_what_it_was_begun_as(parent: Path, tmp_path: Path, monkeypatch, capsys):
    store = tmp_path / "store"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "prepare_scans", interrupted)
        with pytest.raises(SystemExit) as ended:
            phantom_store(store, **MADE, workers=1, progress=False)
    assert ended.value.code == 130 and "go on from here" in capsys.readouterr().err
    assert not made(store).is_whole() and not (store / "phantom_store.lock").exists()
    with pytest.raises(InputError, match="scans#seed was 4 and is 5"):
        made(store, seed=5).is_whole()
    kept = contents(tmp_path / "store_scans")
    assert made(store).make(workers=1, progress=False) is True
    after = contents(tmp_path / "store_scans")
    assert {name: after[name] for name in kept if name.endswith((".mp4", ".wav"))} == {
        name: value for name, value in kept.items() if name.endswith((".mp4", ".wav"))
    }
    for name in ("frames.bin", "speech.pcm", "voice_oracle.npy"):
        assert (store / "s1001" / name).read_bytes() == (parent / "store/s1001" / name).read_bytes()


def test_a_scan_that_is_gone_is_made_again_and_a_larger_number_adds_scans(copied: Path, capsys):
    frames = (copied / "s1000/frames.bin").read_bytes()
    shutil.rmtree(copied / "s1000")
    assert not made(copied).is_whole() and made(copied).make(workers=1, progress=False)
    assert (copied / "s1000/frames.bin").read_bytes() == frames
    kept = {name: value for name, value in contents(copied).items() if "/s100" in name}
    phantom_store(copied, {**SETTINGS, "n_scans": 3}, PREPARE, workers=1)
    assert [scan.id for scan in ScanStore(copied)] == ["s1000", "s1001", "s1002"]
    assert kept.items() <= contents(copied).items()
    printed = capsys.readouterr().out
    assert "(3 scans, s1000 to s1002, of 6 s: 0.005 h, seed 4): made, " in printed and "may be removed" in printed


def test_stores_that_differ_in_one_knob_are_all_checked_before_one_is_made(tmp_path: Path):
    noisy = {"store": tmp_path / "noisy", "settings": {"narration": {"noise_share": 0.5}, "dwell": [1.0, 2.0]}}
    both = [{"store": tmp_path / "plain"}, noisy]
    common = {"settings": {**SETTINGS, "narration": {"gap": 0.5}}, "prepare": PREPARE, "workers": 1, "progress": False}
    for wrong, words in (
        ({"store": tmp_path / "c", "settings": {"dwel": 3}}, "dwel"),
        ({"store": tmp_path / "c", "prepare": {"sizes": 3}}, 'no setting "sizes". Did you mean "size"'),
        ({"store": tmp_path / "plain"}, "named twice"),
        ({"store": tmp_path / "c", "setting": {}}, 'no key "setting". Did you mean "settings"'),
        ({"settings": {}}, "names no folder"),
        ({"store": 5}, "names no folder"),
        ({"store": tmp_path / "c", "settings": "hard"}, "settings is 'hard'; give names with their values"),
        ({"store": tmp_path / "c", "prepare": [48]}, r"prepare is \[48\]; give names with their values"),
    ):
        with pytest.raises(SystemExit, match=words):
            phantom_stores([*both, wrong], **common)
    assert list(tmp_path.iterdir()) == []
    assert phantom_stores(both, **common) == [tmp_path / "plain", tmp_path / "noisy"]
    plain, other = (json.loads((tmp_path / n / "phantom_store.json").read_text())["scans"] for n in ("plain", "noisy"))
    differing = {name for name in plain if plain[name] != other[name]}
    assert differing == {"narration", "dwell"} and other["narration"]["gap"] == plain["narration"]["gap"] == 0.5
    assert {name for name in plain["narration"] if plain["narration"][name] != other["narration"][name]} == {
        "noise_share"
    }


def test_a_run_id_that_only_looks_says_that_the_store_is_missing(tmp_path: Path, parent: Path):
    with pytest.raises(
        SystemExit, match=r"^phantom_store: SYNTHETIC store .*absent.* is not there.*such as study, first"
    ):
        phantom_store(tmp_path / "absent", **MADE, make=False)
    assert list(tmp_path.iterdir()) == []
    assert phantom_store(parent / "store", **MADE, make=False) == [parent / "store"]


def test_somebody_elses_store_is_left_alone(tmp_path: Path):
    make_store(tmp_path / "store", n_scans=1, seconds=2.0, size=16)
    before = contents(tmp_path)
    with pytest.raises(SystemExit, match="made by other means"):
        phantom_store(tmp_path / "store", **MADE)
    assert contents(tmp_path) == before


def test_a_scan_that_cannot_be_prepared_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"2 of 2 scans could not be prepared \(first: .*s1000\.mp4"):
        SyntheticStore(tmp_path / "store", SETTINGS, {**PREPARE, "min_seconds": 60.0}).make(1, progress=False)
    assert json.loads((tmp_path / "store/phantom_store.json").read_text())["whole"] is False


def test_a_configuration_makes_it_by_its_short_name(parent: Path, tmp_path: Path):
    step = {"_target_": "phantom_store", "store": str(parent / "store"), **MADE, "make": False}
    config = {"imports": ["$import monai_usspeech"], "data": [step]}
    assert ConfigParser(config).get_parsed_content("data") == [[parent / "store"]]


def test_a_second_process_waits_for_the_first_and_makes_nothing(copied: Path, capsys):
    shutil.move(copied / "s1000", copied.parent / "aside")
    done: list[bool] = []
    second = Thread(target=lambda: done.append(made(copied).make(workers=1)))
    with folder_lock(copied / "phantom_store.lock"):
        second.start()
        second.join(1.0)
        assert second.is_alive() and done == []
        shutil.move(copied.parent / "aside", copied / "s1000")  # the first has made it
    second.join(20.0)
    assert done == [False]
    assert "phantom_store.lock: waiting for the process it names" in capsys.readouterr().out
