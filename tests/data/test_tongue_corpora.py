# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.datalist import ScanDatalist
from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import ScanStore
from monai_usspeech.data.tongue_command import write_tongue_datalist
from monai_usspeech.data.tongue_corpora import read_tongue_corpora
from monai_usspeech.data.ultrasuite import FanConverter, read_ultrasuite_parameters
from monai_usspeech.preparation import prepare_scans
from tests.conftest import REPOSITORY
from tests.data.tongue_factory import make_utterance


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UXTD without sessions, UPX with them, TaL80 and TaL1; the same speaker's name in two corpora."""
    root = tmp_path_factory.mktemp("corpora")
    for name in ("001A", "002D", "003E"):
        make_utterance(root / "core-uxtd/core/01M", name)
    make_utterance(root / "core-uxtd/core/02F", "001B")
    for session in ("BL1", "Mid"):
        make_utterance(root / "core-upx/core/01M" / session, "001A")
    for name in ("001_swa", "002_cal", "004_xaud", "028_spo", "029_xsil"):
        make_utterance(root / "TaL80/core/01fi", name)
    make_utterance(root / "TaL80/samples/core/01fi", "004_xaud")
    for day in ("day1_no_vid_sync", "day2"):
        make_utterance(root / "TaL1/core" / day, "005_aud")
    (root / "TaL1/doc").mkdir()
    return root


def test_each_layout_gives_its_utterances_and_people(corpora):
    datalist, counts, notes = read_tongue_corpora(corpora)
    assert {scan.id: scan.subject for scan in datalist} == {
        "uxtd-01M-001A": "uxtd-01M", "uxtd-01M-002D": "uxtd-01M", "uxtd-02F-001B": "uxtd-02F",
        "upx-01M-BL1-001A": "upx-01M", "upx-01M-Mid-001A": "upx-01M",
        "tal80-01fi-002_cal": "tal80-01fi", "tal80-01fi-004_xaud": "tal80-01fi", "tal80-01fi-028_spo": "tal80-01fi",
        "tal1-day1_no_vid_sync-005_aud": "tal1", "tal1-day2-005_aud": "tal1",
    }  # fmt: skip
    assert all(scan.speech == scan.video.with_suffix(".wav") and scan.speech_offset == 0 for scan in datalist)
    found = {count.corpus: (count.speakers, count.sessions, count.utterances, count.seconds) for count in counts}
    assert found == {"uxtd": (2, 2, 3, 6.0), "upx": (1, 2, 2, 4.0), "tal80": (1, 1, 3, 6.0), "tal1": (1, 2, 2, 4.0)}
    assert "left out: 1 of kind E (no speech), such as uxtd-01M-003E" in notes
    assert "left out: 1 of kind sil (silent), such as tal80-01fi-029_xsil" in notes
    assert "tal80 was published with 81 speakers, here are 1" in notes and not any("tal1 was" in note for note in notes)


@pytest.mark.parametrize("place", ["core-upx", "core-upx/core"])
def test_one_corpus_may_be_given_alone(corpora, place):
    datalist, _, _ = read_tongue_corpora(corpora / place)
    assert datalist.name == "upx" and [scan.id for scan in datalist] == ["upx-01M-BL1-001A", "upx-01M-Mid-001A"]


def test_samples_of_tal_are_taken_only_where_the_rest_is_absent(corpora):
    assert len(read_tongue_corpora(corpora / "TaL80")[0]) == 3
    datalist, _, _ = read_tongue_corpora(corpora / "TaL80/samples")
    assert [scan.id for scan in datalist] == ["tal80-01fi-004_xaud"]


def test_what_cannot_be_used_is_left_out_by_name(tmp_path):
    folder = tmp_path / "core-cleft/core/01M/Assessment"
    for name in ("001A", "002A", "003A", "004A", "005A", "mine"):
        make_utterance(folder, name, seconds=0.5 if name == "003A" else 2.0)
    (folder / "002A.wav").unlink()
    (folder / "004A.param").write_text("NumVectors=63\n")
    (folder / "005A.ult").write_bytes(b"")
    datalist, _, notes = read_tongue_corpora(tmp_path / "core-cleft")
    assert [scan.id for scan in datalist] == ["cleft-01M-Assessment-001A"]
    text = "\n".join(notes)
    for reason in ("without their .wav", "shorter than 1 s", "whose parameter file", "without a whole frame"):
        assert f"left out: 1 {reason}" in text
    assert "with another name" in text and "hardware synchronisation of cleft failed" in text
    assert len(read_tongue_corpora(tmp_path, kinds="all", min_seconds=0.0)[0]) == 3


@pytest.mark.parametrize(("build", "expected", "found"), [
    (lambda root: (root / "wavs").mkdir(), "expected the folder of a corpus", "found wavs/"),
    (lambda root: (root / "core/01M").mkdir(parents=True), "core/SPEAKER/001A.ult", "found core/ with 01M/"),
    (lambda root: make_utterance(root / "core", "001A"), "core/SPEAKER", "1 .ult"),
    (lambda root: None, "expected", "found nothing"),
])  # fmt: skip
def test_another_folder_says_what_was_expected_and_what_is_there(tmp_path, build, expected, found):
    build(tmp_path)
    with pytest.raises(InputError) as error:
        read_tongue_corpora(tmp_path)
    assert expected in str(error.value) and found in str(error.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"kinds": ["AA"]}, "there is no kind"), ({"picture": "insid"}, 'Did you mean "inside"'),
    ({"min_seconds": -1}, "min_seconds"), ({"kinds": ["whi"]}, "none of its"),
])  # fmt: skip
def test_wrong_settings_are_one_sentence(corpora, options, message):
    with pytest.raises(InputError, match=message):
        read_tongue_corpora(corpora, **options)


def test_the_boxes_are_those_of_the_geometry(corpora):
    scan = next(iter(read_tongue_corpora(corpora, picture="whole")[0]))
    fan = FanConverter(read_ultrasuite_parameters(scan.video.with_suffix(".param")))
    assert scan.fan == (0, 0, *fan.size)
    top, left, bottom, right = next(iter(read_tongue_corpora(corpora, picture="inside")[0])).fan
    assert fan.mask[top:bottom, left:right].all() and (bottom - top) * (right - left) > 0.3 * fan.mask.sum()
    assert next(iter(read_tongue_corpora(corpora, picture="detect")[0])).fan is None


def test_a_corpus_becomes_a_store_with_picture_and_sound_in_step(tmp_path, capsys):
    """The tone and the bright frames come at one moment, though the sound file begins earlier than the ultrasound."""
    for speaker, first_frame in (("01fi", 0.93), ("02fe", 0.0)):
        make_utterance(tmp_path / "TaL80/core" / speaker, "004_aud", first_frame=first_frame, event=(1.1, 1.4))
    write_tongue_datalist(tmp_path / "TaL80", tmp_path / "tal.json")
    out = capsys.readouterr().out.strip().splitlines()
    assert out[0].split() == ["corpus", "speakers", "sessions", "utterances", "minutes"]
    assert out[1].split() == ["tal80", "2", "2", "2", "0.1"] and out[2].split()[0] == "all"
    assert len(ScanDatalist.load(tmp_path / "tal.json")) == 2
    settings = {"size": 48, "frame_rate": 80, "min_seconds": 1.0, "workers": 0}
    report = prepare_scans(tmp_path / "tal.json", tmp_path / "store", **settings)
    assert len(report.kept) == 2
    for scan in ScanStore(tmp_path / "store"):
        assert scan.n_frames == 160
        brightness = scan.read_frames(range(scan.n_frames)).mean((1, 2))
        bright = scan.times[brightness > brightness.min() + 0.5 * np.ptp(brightness)]
        assert bright[0] == pytest.approx(1.1, abs=0.013) and bright[-1] == pytest.approx(1.4, abs=0.026)
        sound = np.abs(scan.read_speech(0.0, 48_000).astype(float))
        loud = np.flatnonzero(sound > 3000) / 24_000
        assert loud[0] == pytest.approx(1.1, abs=0.003) and loud[-1] == pytest.approx(1.4, abs=0.003)


@pytest.mark.slow
def test_the_command(corpora, tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "datalist", "--config_file", "configs/data/tongue.json"]
    made = subprocess.run(
        [*command, "--folder", str(corpora / "core-upx"), "--output", str(tmp_path / "upx.json")],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert len(ScanDatalist.load(tmp_path / "upx.json")) == 2
    wrong = subprocess.run([*command, "--folder", str(tmp_path), "--output", str(tmp_path / "x.json")],
                           cwd=REPOSITORY, capture_output=True, text=True, check=False)  # fmt: skip
    assert wrong.returncode == 1 and "Traceback" not in wrong.stderr
    assert wrong.stderr.strip().splitlines()[-1].startswith("datalist: ") and "found 1 .json" in wrong.stderr
