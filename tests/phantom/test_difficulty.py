# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser

from benchmarks.phantom_pictures import blobs, nearest_path, pixel_probe
from benchmarks.phantom_words import area_under_curve, other_plane_share, seconds_of, word_measures
from monai_usspeech.data.annotations import PlaneInterval, StandardPlane
from monai_usspeech.data.files import InputError
from monai_usspeech.phantom import NarrationStyle, Phantom, WordEvent
from monai_usspeech.phantom.difficulty import DIFFICULTIES
from monai_usspeech.transforms.order import draw_order, order_label

CONFIGS = Path(__file__).parents[2] / "configs"
GRADES = ("easy", "standard", "hard")


def test_a_setting_that_is_given_holds_over_the_preset_and_none_does_not():
    hard = Phantom(difficulty="hard")
    assert hard.dwell == DIFFICULTIES["hard"]["dwell"] and hard.narration.trail == 1.0 and hard.gaze.wander == 0.2
    changed = Phantom(difficulty="hard", dwell=(1, 2), nuisance=0, narration={"gap": 2, "lag": None}, gaze={"lag": 0.3})
    assert changed.dwell == (1.0, 2.0) and changed.nuisance == 0.0
    assert changed.narration.gap == 2 and changed.narration.lag == hard.narration.lag
    assert changed.gaze.lag == 0.3 and changed.gaze.wander == 0.2
    style = NarrationStyle(gap=3.0)
    assert Phantom(difficulty="hard", narration=style).narration == style


def test_without_a_difficulty_the_defaults_are_those_of_the_classes():
    plain = Phantom()
    assert plain.narration == NarrationStyle()
    assert (plain.dwell, plain.search, plain.snr, plain.nuisance) == ((4.0, 8.0), (1.5, 6.0), (8.0, 22.0), 1.0)


def test_the_demonstration_differs_from_the_defaults_by_the_density_of_the_words_only():
    dense = Phantom(narration={"gap": 0.25, "quiet_share": 0.05})
    assert Phantom(difficulty="demo").settings == dense.settings


@pytest.mark.parametrize("name", list(DIFFICULTIES))
def test_every_preset_can_be_written_and_names_the_same_settings(name: str):
    settings = Phantom(difficulty=name).settings
    assert json.loads(json.dumps(settings)) == settings
    assert {key: set(value) for key, value in DIFFICULTIES[name].items() if isinstance(value, dict)} == {
        key: set(value) for key, value in DIFFICULTIES["demo"].items() if isinstance(value, dict)
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"difficulty": "hrad"}, 'easy, standard, hard, demo.*Did you mean "hard"'), ({"difficulty": 3}, "one of"),
        ({"nuisance": 3}, "0..2"), ({"nuisance": -0.1}, "0..2"), ({"gaze": {"wandr": 1}}, 'Did you mean "wander"'),
        ({"gaze": {"wander": 2}}, "0..1"), ({"gaze": {"rate": 0}}, "greater than 0"), ({"gaze": {"lag": -1}}, "lag"),
        ({"narration": {"noise_share": 2}}, "0..1"), ({"narration": {"chatter_share": -1}}, "negative"),
    ],
)  # fmt: skip
def test_a_wrong_knob_is_named(settings: dict, message: str):
    with pytest.raises(InputError, match=message):
        Phantom(**settings)


@pytest.mark.parametrize("task", ["standard_plane", "gaze_saliency"])
def test_the_label_budgets_fit_the_downstream_configurations_and_shrink(task: str):
    budgets = []
    for name in GRADES:
        files = [CONFIGS / "downstream" / f"{task}.json", CONFIGS / "presets" / f"labels_{name}.json"]
        parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
        assert set(ConfigParser.load_config_file(str(files[1]))) - {"description"} <= set(parser.get())
        budgets.append(parser.get("n_label_subjects"))
    assert budgets[0] is None and budgets[1] > budgets[2] >= 2


def test_measures_on_cases_that_can_be_counted_by_hand():
    words = (WordEvent(1.0, 1.5, "femur", "plane"), WordEvent(1.5, 2.0, "okay", "chatter"))
    assert seconds_of(words, 1.2) == pytest.approx(0.6) and seconds_of(words, 1.2, "femur") == pytest.approx(0.3)
    assert area_under_curve(np.array([1.0, 3.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx((1.5 + 3) / 6)
    course = Phantom(seconds=20.0).course(0)
    planes = (PlaneInterval(0.0, 4.0, StandardPlane("4CH")), PlaneInterval(4.0, 8.0, StandardPlane("femur")))
    course.planes = planes
    # 2 s on: half of 4CH sees itself, half femur, half of femur background; 2 s back: half of 4CH is out of the scan
    other, same = other_plane_share(course, 1)
    assert other == pytest.approx(40 / 140, abs=0.02) and same == pytest.approx(80 / 140, abs=0.02)
    rng = np.random.RandomState(0)
    path = np.arange(4.0)[:, None, None] * np.ones((4, 3, 3))
    for _ in range(10):
        order = draw_order(rng)
        assert nearest_path(path[order]) == order_label(order, "time")
    blob = blobs(np.array([[0.25, 0.75]]), 0.05).numpy()
    row, column = np.unravel_index(blob.argmax(), blob.shape)
    assert row > column and blob.max() > 30 * blob.mean()
    labels, scans = np.tile(np.arange(3), 12), np.repeat(np.arange(12), 3)
    frames = np.eye(3)[labels].reshape(36, 1, 3) + 0.01 * rng.randn(36, 1, 3)
    assert pixel_probe(frames, labels, scans) == 1.0
    assert pixel_probe(rng.randn(36, 1, 3), labels, scans) < 0.7


@pytest.mark.slow  # speaks for 12 minutes of scan
def test_the_presets_are_graded_in_what_makes_the_task_hard():
    rows = {name: word_measures(Phantom(seed=7, seconds=60.0, difficulty=name), 4) for name in GRADES}
    for falling in (
        "another plane, mean over the shifts", "windows with the right plane's word",
        "plane words said while the plane is shown", "clips with enough voice", "voice activity: recall",
    ):  # fmt: skip
        assert rows["easy"][falling] > rows["standard"][falling] > rows["hard"][falling], falling
    for name in GRADES:
        assert (
            rows[name]["gated windows with the right plane's word"]
            > rows[name]["gated negatives with the right plane's word"]
        )
        assert 0.35 < rows[name]["AUC of level, gated"] < 0.65
