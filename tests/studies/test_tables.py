# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.studies.analysis import analyse_task
from monai_usspeech.studies.class_tables import class_table
from monai_usspeech.studies.collect import collect_study
from monai_usspeech.studies.reported_metrics import ReportedMetric
from monai_usspeech.studies.table_format import ReportCell, ReportTable, table_csv, table_markdown
from monai_usspeech.studies.tables import difference_table, interval_table, numbers_csv, score_table
from tests.studies.study_factory import make_study, write_cell_files, write_plan


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("study") / "s", subjects_per_fold=3, pictures=False)


def known(folder: Path, values: dict[str, list[list[float]]], **plan: object) -> Path:
    """A plane study whose F1 values are given: method to [folds][seeds]."""
    n_folds, n_seeds = np.shape(next(iter(values.values())))
    methods = {name: {"title": name.upper()} for name in values}
    tasks = {"standard_plane": {}}
    write_plan(folder, methods=methods, tasks=tasks, folds=list(range(n_folds)), seeds=list(range(n_seeds)), **plan)
    for method, rows in values.items():
        for fold, row in enumerate(rows):
            for seed, f1 in enumerate(row):
                metrics = {"precision": 0.5, "recall": 0.25, "f1": f1, "accuracy": None}
                counts = {"frames": 10, "scans": 3, "subjects": 2}
                content = {"task": "standard_plane", "metrics": metrics, "counts": counts}
                write_cell_files(folder / "standard_plane" / method / f"fold{fold}-seed{seed}", content)
    return folder


def row_of(table: ReportTable, name: str) -> dict[str, ReportCell]:
    (row,) = (row for row in table.rows if row[0].text == name)
    return dict(zip(table.columns, row))


def test_means_and_spreads_by_hand(tmp_path: Path):
    found = collect_study(known(tmp_path, {"a": [[0.5, 0.7], [0.6, 0.6]], "b": [[0.7, 0.7], [0.8, 0.9]]}))
    task = analyse_task(found, "standard_plane", 10)
    table = score_table(found, task)
    a, b = row_of(table, "A"), row_of(table, "B")
    # Fold means of a: 60 and 60; of b: 70 and 85. Seeds: a 2 * 0.1^2 / 2, b 2 * 0.05^2 / 2.
    assert a["F1 % ↑"] == ReportCell("60.0 ± 0.0", "seeds ± 10.0")
    assert b["F1 % ↑"] == ReportCell(f"77.5 ± {100 * 0.15 / math.sqrt(2):.1f}", "seeds ± 5.0", best=True)
    assert a["Accuracy % ↑"] == ReportCell("–") and a["Runs"].text == "4 of 4"
    assert a["Precision % ↑"].best and b["Precision % ↑"].best  # a tie has two bests
    assert any("20 frames, 6 scans, 4 subjects; summed over 2 folds" in note for note in table.notes)
    difference = difference_table(found, task)
    assert difference is not None and len(difference.rows) == 1
    shown = row_of(difference, "B")  # pairs: +20, +0, +20, +30
    assert shown["F1 % ↑"].text == f"+17.5 ± {np.std([20, 0, 20, 30], ddof=1):.1f}" and shown["Pairs"].text == "0–4"
    assert interval_table(found, task) is None and class_table(found, task, PLANES) is None  # no per-frame files


@pytest.mark.parametrize(
    "values, cell, note",
    [
        ([[0.5]], ReportCell("50.0"), "One run per method"),
        ([[0.5, 0.7]], ReportCell("60.0", "seeds ± 14.1"), "One fold"),
        ([[0.5], [0.7]], ReportCell("60.0 ± 14.1"), "one seed"),
    ],
)
def test_no_spread_is_made_from_one_value(tmp_path: Path, values: list, cell: ReportCell, note: str):
    found = collect_study(known(tmp_path, {"a": values}))
    task = analyse_task(found, "standard_plane", 10)
    table = score_table(found, task)
    assert row_of(table, "A")["F1 % ↑"] == cell and note in table.notes[0]
    assert difference_table(found, task) is None  # alone: nothing to compare, nothing is best


def test_differences_of_one_pair_have_no_spread(tmp_path: Path):
    found = collect_study(known(tmp_path, {"a": [[0.5]], "b": [[0.4]]}))
    table = difference_table(found, analyse_task(found, "standard_plane", 10))
    assert table is not None and row_of(table, "B")["F1 % ↑"] == ReportCell("−10.0")


def test_what_is_not_resolved_is_called_so(tmp_path: Path):
    values = {"a": [[0.5, 0.5, 0.5]], "b": [[0.6, 0.7, 0.65]], "c": [[0.4, 0.6, 0.7]]}
    found = collect_study(known(tmp_path, values))
    task = analyse_task(found, "standard_plane", 10)
    table = difference_table(found, task)
    assert table is not None
    for name in ("b", "c"):
        low, high = ttest_rel(values[name][0], values["a"][0]).confidence_interval(0.95)
        shown = row_of(table, name.upper())["F1 % ↑"].detail.split("\n")
        assert shown[0] == f"seeds [{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−")
        assert shown[1:] == (["not resolved"] if low <= 0 <= high else [])
    assert row_of(table, "C")["F1 % ↑"].detail.endswith("not resolved")  # and b is: both kinds are here
    assert not row_of(table, "B")["F1 % ↑"].detail.endswith("not resolved")
    assert any("Not resolved: an interval contains 0" in note for note in table.notes)
    assert "; not resolved)" in table_markdown(table) and "; not resolved)" in table_csv(table)
    rows = {(r["method"], r["metric"]): r for r in csv.DictReader(io.StringIO(numbers_csv(found, task)))}
    assert [rows[name, "f1"]["resolved"] for name in "abc"] == ["", "", "no"]  # of b the subjects are not known
    assert float(rows["b", "f1"]["seed_low"]) < float(rows["b", "f1"]["seed_difference"]) == pytest.approx(0.15)
    assert rows["b", "f1"]["seeds"] == "3" and rows["b", "accuracy"]["seed_low"] == ""


def test_one_interval_that_contains_zero_is_enough(study: Path):
    found = collect_study(study)
    for key in ("standard_plane", "gaze_saliency"):
        task = analyse_task(found, key, 200)
        table = difference_table(found, task)
        assert table is not None
        rows = csv.DictReader(io.StringIO(numbers_csv(found, task)))
        resolved = {row["metric"]: row["resolved"] for row in rows if row["method"] == "ours"}
        for metric in task.metrics:
            cell = row_of(table, "Ours")[metric.heading]
            assert resolved[metric.key] == ("no" if cell.detail.endswith("not resolved") else "yes")
            ends = [task.seed_differences["ours"][metric.key].interval, task.difference_intervals["ours"][metric.key]]
            assert [line.split(" ")[0] for line in cell.detail.split("\n")[:2]] == ["seeds", "subjects"]
            assert cell.detail.endswith("not resolved") == any(low <= 0 <= high for low, high in filter(None, ends))


def test_no_best_is_marked_while_runs_are_missing(tmp_path: Path):
    found = known(tmp_path, {"a": [[0.5], [0.6]], "b": [[0.7], [0.8]]})
    shutil.rmtree(tmp_path / "standard_plane" / "a" / "fold1-seed0")
    found = collect_study(found)
    table = score_table(found, analyse_task(found, "standard_plane", 10))
    assert not any(cell.best for row in table.rows for cell in row)
    assert "No best is marked while runs are missing." in table.notes
    assert row_of(table, "A")["Runs"].text == "1 of 2"


def test_smaller_is_better_where_it_is(study: Path):
    found = collect_study(study)
    table = score_table(found, analyse_task(found, "gaze_saliency", 20))
    assert table.columns[:7] == ("Method", "KL ↓", "NSS ↑", "AUC (Judd) ↑", "CC ↑", "SIM ↑", "AUC (exact) ↑")
    kl = {row[0].text: float(row[1].text.split(" ")[0]) for row in table.rows}
    assert [row[0].text for row in table.rows if row[1].best] == [min(kl, key=lambda name: kl[name])]


def test_few_subjects_are_said_to_be_few(study: Path, tmp_path: Path):
    assert not any("too few" in note for note in _notes(study))
    few = make_study(tmp_path, subjects_per_fold=1, pictures=False)  # three in all
    assert any("Only 3 test subjects: too few" in note for note in _notes(few))


def _notes(study: Path) -> tuple[str, ...]:
    found = collect_study(study)
    table = interval_table(found, analyse_task(found, "standard_plane", 20))
    assert table is not None
    return table.notes


def test_intervals_hold_their_score(study: Path):
    found = collect_study(study)
    for key in found.tasks:
        table = interval_table(found, analyse_task(found, key, 200))
        assert table is not None
        for cell in (cell for row in table.rows for cell in row[1:]):
            low, high = (float(part.replace("−", "-")) for part in cell.detail.strip("[]").split(", "))
            assert low <= float(cell.text) <= high and (low < high or key == "retrieval")


def test_every_plane_has_its_row_and_support(study: Path):
    found = collect_study(study)
    table = class_table(found, analyse_task(found, "standard_plane", 20), PLANES)
    assert table is not None and [row[0].text for row in table.rows] == list(PLANES)
    assert sum(int(row[-1].text.replace(",", "")) for row in table.rows) == 3 * 3 * 80


def test_numbers_are_shown_with_sign_and_dash():
    kl, f1 = ReportedMetric("kl", "KL", "down"), ReportedMetric("f1", "F1", percent=True)
    assert (kl.show(1.23456), kl.show(-0.5, sign=True), kl.show(float("nan"))) == ("1.235", "−0.500", "–")
    assert (f1.show(0.7256), f1.show(0.01, sign=True), f1.heading, kl.heading) == ("72.6", "+1.0", "F1 % ↑", "KL ↓")


def test_markdown_and_csv_hold_the_same_cells():
    rows = ((ReportCell("a|b"), ReportCell("1.0 ± 0.1", "seeds ± 0.2", best=True)),)
    table = ReportTable("t", "Title", ("Method", "F1, %"), rows, ("A note.",))
    assert table_markdown(table) == (
        "## Title\n\n| Method | F1, % |\n|---|---:|\n| a\\|b | **1.0 ± 0.1** (seeds ± 0.2) |\n\nA note.\n"
    )
    assert list(csv.reader(io.StringIO(table_csv(table)))) == [["Method", "F1, %"], ["a|b", "1.0 ± 0.1 (seeds ± 0.2)"]]


def test_the_numbers_file_is_exact(study: Path):
    found = collect_study(study)
    task = analyse_task(found, "standard_plane", 100)
    rows = {(r["method"], r["metric"]): r for r in csv.DictReader(io.StringIO(numbers_csv(found, task)))}
    assert len(rows) == 3 * 4
    row, values = rows["ours", "f1"], task.values["ours"]["f1"]
    assert float(row["mean"]) == pytest.approx(values.mean(), abs=1e-15)
    assert float(row["sd_folds"]) == pytest.approx(values.mean(axis=1).std(ddof=1), abs=1e-15)
    assert float(row["difference"]) == pytest.approx((values - task.values["random"]["f1"]).mean(), abs=1e-15)
    assert float(row["pooled_low"]) < float(row["pooled"]) < float(row["pooled_high"])
    assert rows["random", "f1"]["difference"] == ""  # the reference has none
