# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The experiment on strategies: its rounds, its numbers, its report, and that what is done is not done again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from scipy.stats import t as student_t

from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.data.store import ScanStore
from monai_usspeech.engines.weights import write_weights
from monai_usspeech.label.experiment import compare_strategies, report_strategies
from monai_usspeech.label.experiment_data import PoolClip, StoreReader
from monai_usspeech.label.experiment_numbers import curve_area, labels_to_reach, summarise_strategies
from monai_usspeech.label.experiment_pretraining import pretraining_cells
from monai_usspeech.label.experiment_rounds import (
    RoundSettings,
    fit_probe,
    frame_entropy,
    label_in_rounds,
    probe_f1,
)
from monai_usspeech.label.model_files import load_pretrained
from monai_usspeech.label.selection import WEIGHTS
from monai_usspeech.label.speech_affinity import SpeechAffinity
from monai_usspeech.networks import VideoSpeechNet
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store

SETTINGS = RoundSettings(first=4, step=3, most=12)


def separable_pool(count: int = 30, classes: int = 5, seed: int = 0) -> list[PoolClip]:
    """Clips of one plane each, whose features lie around that plane's corner; high affinity at low numbers."""
    rng = np.random.RandomState(seed)
    clips = []
    for number in range(count):
        plane = number % classes
        features = 6 * np.eye(8)[plane] + 0.3 * rng.standard_normal((6, 8))
        speech = SpeechAffinity(affinity=1 - number / count)
        clips.append(PoolClip(f"c{number:02d}", features, np.full(6, plane), features.mean(axis=0), speech))
    return clips


def frames_of(clips: list[PoolClip]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([clip.features for clip in clips]), np.concatenate([clip.labels for clip in clips])


TEST = frames_of(separable_pool(20, seed=1))


def test_the_probe_finds_what_a_plane_can_separate_and_knows_no_other_plane():
    features, labels = frames_of(separable_pool())
    probe = fit_probe(features, labels, SETTINGS)
    found = probe(TEST[0])
    assert found.shape == (len(TEST[0]), len(PLANES)) and found.sum(axis=1) == pytest.approx(1.0)
    assert (found[:, 5:] == 0).all() and probe_f1(probe, *TEST) == 1.0
    only = fit_probe(features[labels == 3], labels[labels == 3], SETTINGS)
    assert (only(TEST[0]) == np.eye(len(PLANES))[3]).all()


def test_entropy_of_rows():
    rows = np.random.RandomState(0).dirichlet(np.ones(14), 4)
    expected = [-sum(p * np.log(p) for p in row) / np.log(14) for row in rows]
    assert frame_entropy(rows) == pytest.approx(expected)
    assert frame_entropy(np.stack([np.full(14, 1 / 14), np.eye(14)[0]])) == pytest.approx([1.0, 0.0])


def test_rounds_grow_from_one_start_and_repeat():
    pool = separable_pool()
    curves = {}
    for name in ("random", "first", "uncertainty", "diversity", "mixed"):
        curves[name] = label_in_rounds(pool, TEST, {"strategy": name}, SETTINGS, seed=3)
        assert curves[name] == label_in_rounds(pool, TEST, {"strategy": name}, SETTINGS, seed=3)
        assert curves[name].labels == [4, 7, 10, 12] and len(set(curves[name].chosen)) == 12
    assert len({tuple(curve.chosen[:4]) for curve in curves.values()}) == 1
    assert len({curve.f1[0] for curve in curves.values()}) == 1
    start = curves["first"].chosen[:4]
    assert curves["first"].chosen[4:] == [clip.id for clip in pool if clip.id not in start][:8]
    other = label_in_rounds(pool, TEST, {"strategy": "random"}, SETTINGS, seed=4)
    assert other.chosen != curves["random"].chosen
    # five corners: the furthest clips are those of planes that are not labelled yet
    assert curves["diversity"].classes[1] == 5 and curves["diversity"].f1[1] == 1.0


def test_weights_reach_the_choice():
    pool = separable_pool()
    start = label_in_rounds(pool, TEST, {"strategy": "first"}, SETTINGS, seed=0).chosen[:4]
    left = [clip.id for clip in pool if clip.id not in start]
    for weight, expected in ((1.0, left[:8]), (-1.0, left[::-1][:8])):
        strategy = {"strategy": "mixed", "weights": {"affinity": weight}}
        assert label_in_rounds(pool, TEST, strategy, SETTINGS, seed=0).chosen[4:] == expected


def test_rounds_that_are_none_are_refused():
    with pytest.raises(InputError, match='Did you mean "first"'):
        RoundSettings.read({"frist": 3})
    with pytest.raises(InputError, match="make no rounds"):
        RoundSettings(first=10, most=10)
    with pytest.raises(InputError, match="the pool has 30 clips"):
        label_in_rounds(separable_pool(), TEST, {"strategy": "first"}, RoundSettings(most=31), seed=0)


def test_the_area_and_the_labels_to_an_aim_are_those_of_the_straight_lines():
    labels, f1 = [10, 20, 40], [0.2, 0.6, 0.7]
    steps = np.linspace(10, 40, 300_001)
    assert curve_area(labels, f1) == pytest.approx(np.interp(steps, labels, f1).mean(), abs=1e-6)
    assert labels_to_reach(labels, f1, 0.5) == pytest.approx(17.5)
    assert labels_to_reach(labels, f1, 0.65) == pytest.approx(30)
    assert labels_to_reach(labels, f1, 0.1) == 10 and np.isnan(labels_to_reach(labels, f1, 0.71))
    assert labels_to_reach([10, 20, 30], [0.2, 0.6, 0.1], 0.6) == 20


def invented(gains: list[float], seed: int = 0) -> list[dict[str, Any]]:
    """Results of seeds in which "better" is above "random" by the given gains, and "slow" never reaches the aim."""
    rng = np.random.RandomState(seed)
    results = []
    for number, gain in enumerate(gains):
        base = np.array([0.3, 0.5, 0.65]) + 0.05 * rng.standard_normal()
        curves = {"random": base, "better": base + gain, "slow": base - 0.2}
        results.append(
            {
                "seed": number,
                "full_f1": 0.7,
                "pool": {"clips": 40},
                "curves": {name: {"labels": [10, 20, 30], "f1": list(map(float, f1))} for name, f1 in curves.items()},
            }
        )
    return results


TITLES = {"random": "random", "better": "the better one", "slow": "slow"}


def test_the_difference_is_students_and_the_verdict_follows_it():
    gains = [0.08, 0.1, 0.09, 0.12, 0.11]
    found = summarise_strategies(invented(gains), TITLES, "random", 0.95)
    difference = found["strategies"]["better"]["area"]["difference"]
    reach = student_t.ppf(0.975, 4) * np.std(gains, ddof=1) / np.sqrt(5)
    assert difference["mean"] == pytest.approx(np.mean(gains))
    assert difference["interval"] == pytest.approx([np.mean(gains) - reach, np.mean(gains) + reach])
    assert difference["resolved"] and found["best"] == "better"
    assert "the better one" in found["verdict"] and "]: resolved" in found["verdict"]
    assert found["not_resolved_from_best"] == []
    slow = found["strategies"]["slow"]["labels"]
    assert slow["mean"] is None and slow["by_seed"] == [None] * 5 and slow["difference"]["mean"] is None


def test_what_may_be_chance_is_not_called_a_gain():
    found = summarise_strategies(invented([0.2, -0.15, 0.1, -0.1, 0.05]), TITLES, "random", 0.8)
    assert found["best"] == "better" and ": not resolved" in found["verdict"]
    assert found["not_resolved_from_best"] == ["random"]
    one = summarise_strategies(invented([0.1]), TITLES, "random", 0.8)
    assert "of one seed: not resolved" in one["verdict"]
    none = summarise_strategies(invented([-0.1, -0.12, -0.1]), TITLES, "random", 0.8)
    assert none["best"] == "random" and "No strategy is above random" in none["verdict"]


def test_the_report_is_written(tmp_path):
    for number, one in enumerate(invented([0.08, 0.1, 0.09])):
        (tmp_path / f"seed{number}.json").write_text(json.dumps(one))
    strategies = {name: {"title": title} for name, title in TITLES.items()}
    report = report_strategies(str(tmp_path), [0, 1, 2, 3], strategies, 0.8)
    assert json.loads((tmp_path / "results.json").read_text()) == report and report["seeds"] == [0, 1, 2]
    table = (tmp_path / "table.md").read_text()
    assert "SYNTHETIC" in table and "not reached" in table and report["verdict"] in table
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG" and (tmp_path / "table.csv").stat().st_size > 100
    with pytest.raises(InputError, match="no seed is done"):
        report_strategies(str(tmp_path / "none"), [0], strategies)


# With stores and a network


def pieces(number: int) -> list[list]:
    """Planes that change every five seconds, another way in every scan."""
    order = np.random.RandomState(number).permutation(4)
    return [[5.0 * place, 5.0 * (place + 1), PLANES[plane]] for place, plane in enumerate(order)]


def renamed(folder: Path, word: str) -> Path:
    """Other people: subjects and scans of a store get the word before their names."""
    for file in sorted(folder.glob("*/meta.json")):
        meta = json.loads(file.read_text())
        meta["subject"], meta["id"] = word + meta["subject"], word + meta["id"]
        file.write_text(json.dumps(meta))
        file.parent.rename(file.parent.with_name(word + file.parent.name))
    return folder


# Copies a network in the place of training one, and counts.
PROGRAM = """
import pathlib, shutil, sys
given = {word[2:]: sys.argv[place + 1] for place, word in enumerate(sys.argv) if word.startswith("--")}
folder, here = pathlib.Path(given["output_dir"]), pathlib.Path(__file__).parent
with open(here / "calls.txt", "a") as calls:
    calls.write(folder.name + "\\n")
for name in ("model.pt", "model.json"):
    shutil.copy(here / name, folder / name)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    options = {"seconds": 20.0, "fps": 5.0, "size": 32, "planes": pieces}
    for number, name in enumerate(("pretrain", "pool", "test")):
        renamed(make_store(folder / name, n_scans=4, seed=number, **options), name)
    torch.manual_seed(0)
    network = VideoSpeechNet("se_resnext_small", embedding_dim=16, order=False, correspondence=False)
    settings = {"backbone": "se_resnext_small", "output_stride": 16, "size": 32, "statistics": "scan"}
    write_weights(folder / "model.pt", network.state_dict(), {"method": "plus", "subjects": [], "settings": settings})
    (folder / "program.py").write_text(PROGRAM)
    keys = ("dataset_dir", "output_dir", "initialisation", "exclude_subjects")
    train = {**dict.fromkeys(keys), "seed": 0, "batch_size": 4, "run": []}
    (folder / "train.json").write_text(json.dumps(train))
    return folder


def arguments(place: Path, **changed: Any) -> dict[str, Any]:
    values = {
        "output_dir": str(place / "out"),
        **{key: str(place / name) for key, name in STORES.items()},
        "pretrain": {"method": "plus", "files": ["train.json"], "values": {"batch_size": 8}},
        "strategies": {"random": {"strategy": "random"}, "mixed": {"title": "all three"}},
        "rounds": {"first": 3, "step": 3, "most": 8},
        "seeds": [0, 1],
        "clip_seconds": 5.0,
        "interval": 1.0,
        "program": (sys.executable, str(place / "program.py")),
        "folders": [place],
    }
    return {**values, **changed}


STORES = {"pretrain_dir": "pretrain", "pool_dir": "pool", "dataset_dir": "test"}


def test_clips_and_frames_of_a_store_have_their_planes(place):
    reader = StoreReader(*load_pretrained(place / "model.pt"), interval=1.0)
    store = ScanStore(place / "pool")
    clips = reader.clips(store, 5.0)
    assert len(clips) == 16 and len({clip.id for clip in clips}) == 16
    for scan in store:
        for number, interval in enumerate(scan.planes):
            clip = next(clip for clip in clips if clip.id == f"{scan.id}-{5.0 * number:05.1f}")
            assert clip.labels.tolist() == [PLANES.index(interval.plane)] * 5 and clip.features.shape == (5, 256)
    assert sum(clip.speech.affinity is not None for clip in clips) > 10
    features, labels = reader.frames(store)
    assert features.shape == (80, 256)
    assert labels.tolist() == np.concatenate([clip.labels for clip in sorted(clips, key=lambda c: c.id)]).tolist()
    assert np.allclose(features[:5], clips[0].features, atol=1e-5)


def test_what_is_done_is_not_done_again(place, capsys):
    report = compare_strategies(**arguments(place))
    out = place / "out"
    assert report["seeds"] == [0, 1] and set(report["strategies"]) == {"random", "mixed"}
    assert (place / "calls.txt").read_text().split() == ["fold0-seed0", "fold0-seed1"]
    kept = {path.name: path.read_bytes() for path in out.glob("seed*.json")}
    assert set(kept) == {"seed0.json", "seed1.json"}
    assert json.loads(kept["seed0.json"])["curves"]["mixed"]["labels"] == [3, 6, 8]
    assert compare_strategies(**arguments(place)) == report
    assert {path.name: path.read_bytes() for path in out.glob("seed*.json")} == kept
    (out / "seed1.json").unlink()
    assert compare_strategies(**arguments(place)) == report
    assert len((place / "calls.txt").read_text().split()) == 2
    with pytest.raises(InputError, match="other settings: clip_seconds was 5.0"):
        compare_strategies(**arguments(place, clip_seconds=4.0))
    assert "Highest mean F1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"strategies": {"random": {"strategy": "randm"}}}, 'random: strategy: "randm".*Did you mean "random"'),
        ({"strategies": {"random": {"weight": {}}}}, 'Did you mean "weights"'),
        ({"reference": "chance"}, "reference"),
        ({"pretrain": {"method": "plus", "files": ["none.json"]}}, "none.json: no such file"),
        ({"pretrain": {"method": "plus", "files": ["train.json"], "values": {"bach_size": 2}}}, "batch_size"),
        ({"seeds": [1, 1]}, "each once"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(place, tmp_path, changed, said):
    with pytest.raises(InputError, match=said):
        compare_strategies(**arguments(place, output_dir=str(tmp_path / "none"), **changed))
    assert not (tmp_path / "none").exists()


def test_test_subjects_are_nowhere_else(place, tmp_path):
    with pytest.raises(InputError, match="of the test subjects"):
        compare_strategies(**arguments(place, output_dir=str(tmp_path / "o"), pool_dir=str(place / "test")))


# The shipped configuration


def shipped(output: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(REPOSITORY / "configs/studies/active_learning.json"))
    parser.update({"output_dir": output})
    return parser


def test_the_shipped_experiment_can_be_planned(tmp_path):
    parser = shipped(str(tmp_path))
    content = {name: parser.get_parsed_content(name) for name in ("pretrain", "seeds", "strategies", "rounds")}
    cells = pretraining_cells(str(tmp_path), "store", content["pretrain"], content["seeds"], [REPOSITORY])
    assert len({cell.seed for cell in cells}) == 5
    assert RoundSettings.read(content["rounds"]).sizes() == list(range(10, 101, 10))
    assert set(content["strategies"]) >= {*WEIGHTS, "random", "first", "affinity"}
    names = {name: set(one) - {"title"} for name, one in content["strategies"].items()}
    assert names["mixed"] == {"strategy"}  # what the server has, with its own weights


def test_the_shipped_stores_share_no_scan(tmp_path):
    stores = shipped(str(tmp_path)).get_parsed_content("stores")
    settings = [one["settings"] for one in stores]
    assert len({one["seed"] for one in settings}) == 3
    ranges = [(one.get("first_scan", 0), one.get("first_scan", 0) + one["n_scans"]) for one in settings]
    assert all(before[1] <= after[0] for before, after in zip(sorted(ranges), sorted(ranges)[1:]))
