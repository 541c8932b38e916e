# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The report of a study on an image set: tables of classes, what an optimistic protocol is called, and curves."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.studies.analysis import analyse_task
from monai_usspeech.studies.class_tables import class_table
from monai_usspeech.studies.collect import collect_study
from monai_usspeech.studies.position_picture import position_curves, position_figure
from monai_usspeech.studies.report import write_report
from monai_usspeech.studies.reported_metrics import ReportedMetric
from monai_usspeech.studies.statistics import summarise_folds
from monai_usspeech.studies.tables import score_table
from tests.studies.study_factory import make_image_study

CLASSES = ("covid", "pneumonia", "regular")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image_study(tmp_path_factory.mktemp("study") / "s")


def test_accuracy_comes_first_as_in_the_published_tables(study: Path):
    found = collect_study(study)
    task = analyse_task(found, "image_set", 20)
    table = score_table(found, task)
    assert table.columns == ("Method", "Accuracy % ↑", "Precision % ↑", "Recall % ↑", "F1 % ↑", "Runs")
    assert task.n_subjects == 24 and not any("ptimistic" in note for note in table.notes)
    assert any("480 images, 24 files, 24 groups" in note for note in table.notes)


def test_every_class_has_its_four_scores_in_the_row_of_a_method(study: Path):
    found = collect_study(study)
    table = class_table(found, analyse_task(found, "image_set", 20), CLASSES)
    assert table is not None and len(table.rows) == len(found.methods)
    assert table.columns[:5] == ("Method", "covid: precision %", "covid: recall %", "covid: accuracy %", "covid: F1 %")
    assert len(table.columns) == 1 + 4 * 3
    pairs = []
    for fold in range(2):
        with open(study / f"image_set/hico_100/fold{fold}-seed0/predictions.csv", newline="") as file:
            pairs += [(row["label"], row["predicted"]) for row in csv.DictReader(file)]
    hits = sum(pair == ("pneumonia", "pneumonia") for pair in pairs)
    given, true = (sum(pair[side] == "pneumonia" for pair in pairs) for side in (1, 0))
    accuracy = sum((t == "pneumonia") == (g == "pneumonia") for t, g in pairs) / len(pairs)
    expected = [100 * value for value in (hits / given, hits / true, accuracy, 2 * hits / (given + true))]
    (row,) = (row for row in table.rows if row[0].text == "HiCo 1.0")
    shown = dict(zip(table.columns, row))
    texts = [shown[f"pneumonia: {name} %"].text for name in ("precision", "recall", "accuracy", "F1")]
    assert texts == [f"{value:.1f}" for value in expected]
    for column in zip(*(row[1:] for row in table.rows)):
        best = max(float(cell.text) for cell in column)
        assert [float(cell.text) == best for cell in column] == [cell.best for cell in column]


def test_weights_chosen_on_the_test_fold_are_called_optimistic(tmp_path: Path):
    some = collect_study(make_image_study(tmp_path / "some", {"uscl_050": "hico_code", "hico_100": "hico_code"}))
    notes = score_table(some, analyse_task(some, "image_set", 5)).notes
    (warning,) = (note for note in notes if note.startswith("Optimistic"))
    assert warning.endswith("They are: HiCo 1.0, USCL 0.5.")
    every = collect_study(make_image_study(tmp_path / "all", dict.fromkeys(some.methods, "hico_code")))
    notes = score_table(every, analyse_task(every, "image_set", 5)).notes
    (warning,) = (note for note in notes if note.startswith("Optimistic"))
    assert "They are" not in warning


def test_a_curve_goes_through_the_means_with_the_spread_over_folds(study: Path):
    found = collect_study(study)
    task = analyse_task(found, "image_set", 5)
    curves = position_curves(found, task)
    assert {name: [x for x, _ in points] for name, points in curves.items()} == {
        "HiCo": [0.1, 0.5, 1.0],
        "USCL": [0.1, 0.5, 1.0],
    }
    level = [("Scratch", task.summaries["scratch"])]
    figure = position_figure(curves, task.metrics[:2], "Label rate", level)
    assert len(figure.axes) == 2
    first = figure.axes[0].containers[0]
    x, y = (np.asarray(values, float) for values in first.lines[0].get_data())
    folds = np.array([task.values[f"hico_{rate}"]["accuracy"][:, 0] for rate in ("010", "050", "100")])
    np.testing.assert_allclose(x, [0.1, 0.5, 1.0])
    np.testing.assert_allclose(y, 100 * folds.mean(axis=1))
    bars = np.array([segment[:, 1] for segment in first.lines[2][0].get_segments()])
    half = 100 * folds.std(axis=1, ddof=1)
    np.testing.assert_allclose(bars, np.stack([y - half, y + half], axis=1))
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [100 * task.summaries["scratch"]["accuracy"].mean]


def test_with_one_fold_the_bars_are_the_spread_over_seeds():
    points = [np.array([[0.2, 0.4, 0.3]]), np.array([[0.5, 0.5, 0.8]])]
    metric = ReportedMetric("f1", "F1", percent=True)
    curves = {"Plus": [(x, {"f1": summarise_folds(values)}) for x, values in zip((200, 400), points)]}
    bars = position_figure(curves, [metric], "Steps").axes[0].containers[0].lines[2][0].get_segments()
    expected = [100 * np.array([v.mean() - v.std(ddof=1), v.mean() + v.std(ddof=1)]) for v in points]
    np.testing.assert_allclose([segment[:, 1] for segment in bars], expected)


@pytest.mark.parametrize(
    ("positions", "scale"), [((8, 16, 32, 64), "log"), ((0, 0.1, 1), "linear"), ((0.5, 0.6, 0.7), "linear")]
)
def test_steps_of_a_factor_lie_at_equal_distances(study: Path, positions: tuple[float, ...], scale: str):
    found = collect_study(study)
    task = analyse_task(found, "image_set", 5)
    figure = position_figure({"": [(x, task.summaries["scratch"]) for x in positions]}, task.metrics[:1], "Number")
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [f"{x:g}" for x in positions]
    assert not figure.legends  # one curve without a name


def test_one_position_is_no_curve(tmp_path: Path):
    methods = {"scratch": {"title": "Scratch"}, "hico_100": {"title": "HiCo", "position": 1.0}}
    found = collect_study(make_image_study(tmp_path, methods=methods))
    assert position_curves(found, analyse_task(found, "image_set", 5)) == {}


def test_the_page_has_the_curves_and_the_tables(study: Path):
    page = write_report(study, n_resamples=20).read_text(encoding="utf-8")
    assert "Accuracy, F1 over label rate" in page and "Images: scores of each class" in page
    assert "SYNTHETIC images; 1,200 images, 24 groups" in page
    assert "A picture is left out" not in page
    assert (study / "tables/image_set_classes.csv").is_file() and (study / "tables/image_set.md").is_file()
