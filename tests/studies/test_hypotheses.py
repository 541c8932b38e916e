# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Hypotheses: read with care, written down before any result, and judged by both intervals."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.analysis import analyse_task
from monai_usspeech.studies.collect import collect_study
from monai_usspeech.studies.command import plan_study, report_study, run_study
from monai_usspeech.studies.hypotheses import changed_hypotheses, read_hypotheses
from monai_usspeech.studies.hypothesis_table import hypothesis_csv, hypothesis_lines, hypothesis_table
from monai_usspeech.studies.report import write_report
from monai_usspeech.studies.seed_interval import contains, seed_difference
from monai_usspeech.studies.settings import StudyMethod, StudyTask
from monai_usspeech.studies.study_file import write_study
from monai_usspeech.studies.verdicts import judge_hypotheses, verdict
from tests.studies.small_study import make_files, program, settings
from tests.studies.study_factory import make_study

NAN = float("nan")
METHODS = {name: StudyMethod(name) for name in ("random", "video", "ours", "plus")}
TASKS = {
    "standard_plane_probe": StudyTask("standard_plane_probe"),
    "retrieval": StudyTask("retrieval", methods=("video", "ours")),
    "own": StudyTask("own"),
}
GOOD = {
    "statement": "Speech helps.",
    "task": "standard_plane_probe",
    "metric": "f1",
    "better": "ours",
    "worse": "video",
}


@pytest.mark.parametrize(("folds", "seeds"), [(1, 2), (1, 5), (3, 4)])
def test_the_interval_over_seeds_is_that_of_the_paired_t_test(folds: int, seeds: int):
    random = np.random.RandomState(folds + seeds)
    values, reference = random.uniform(size=(2, folds, seeds))
    found = seed_difference(values, reference)
    oracle = ttest_rel(values.mean(axis=0), reference.mean(axis=0)).confidence_interval(0.95)
    assert found.interval == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert found.mean == pytest.approx((values - reference).mean()) and found.n_seeds == seeds


def test_a_seed_counts_when_it_has_every_fold_that_counts():
    values = np.array([[1.0, 4.0, 2.0], [3.0, NAN, 6.0], [NAN, NAN, 5.0]])
    reference = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, NAN]])
    found = seed_difference(values, reference)  # the last fold has no pair; the second seed lacks the second fold
    oracle = ttest_rel([2.0, 4.0], [0.0, 1.0]).confidence_interval(0.95)
    assert (found.mean, found.n_seeds) == (2.5, 2) and found.interval == pytest.approx(tuple(oracle))
    assert seed_difference(values[:, :1], reference[:, :1]).interval is None
    assert seed_difference(np.array([[1.0, 1.0]]), np.array([[0.5, 0.5]])).interval == (0.5, 0.5)
    nothing = seed_difference(np.full((1, 2), NAN), np.zeros((1, 2)))
    assert math.isnan(nothing.mean) and (nothing.interval, nothing.n_seeds) == (None, 0)
    with pytest.raises(ValueError, match="one shape"):
        seed_difference(values, reference[:2])


def test_the_interval_over_seeds_holds_the_truth_as_often_as_it_says():
    random, covered = np.random.RandomState(0), 0
    for _ in range(1000):
        found = seed_difference(random.standard_normal((2, 4)) + 0.3, np.zeros((2, 4)))
        covered += contains(found.interval, 0.3)
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize(
    ("seeds", "subjects", "margin", "word", "reason"),
    [
        ((0.1, 0.3), (0.05, 0.4), 0.0, "holds", ""),
        ((0.1, 0.3), (0.05, 0.4), 0.05, "not resolved", "the interval over test subjects contains the margin"),
        ((0.1, 0.3), (0.06, 0.4), 0.05, "holds", ""),
        ((-0.1, 0.3), (0.05, 0.4), 0.0, "not resolved", "the interval over seeds contains 0"),
        ((0.0, 0.3), (0.05, 0.4), 0.0, "not resolved", "the interval over seeds contains 0"),
        ((-0.1, 0.3), (-0.2, 0.4), 0.0, "not resolved", "the intervals over seeds and test subjects contain 0"),
        ((-0.3, -0.1), (-0.4, -0.2), 0.0, "fails", ""),
        ((0.01, 0.02), (-0.4, 0.03), 0.05, "fails", ""),
        ((0.1, 0.3), (-0.4, -0.2), 0.0, "not resolved", "the two intervals lie on different sides of 0"),
        (None, (0.1, 0.2), 0.0, "not resolved", "fewer than 2 seeds"),
        ((0.1, 0.2), None, 0.0, "not resolved", "no interval over test subjects"),
    ],
)
def test_the_verdict_by_hand(seeds, subjects, margin: float, word: str, reason: str):
    assert verdict(seeds, subjects, margin) == (word, reason)


def test_hypotheses_are_read_in_their_order():
    read = read_hypotheses({"H2": {**GOOD, "margin": 1}, "H1": {**GOOD, "task": "own", "metric": "x"}}, METHODS, TASKS)
    assert list(read) == ["H2", "H1"] and read["H2"].margin == 1.0 and read["H1"].margin == 0.0
    assert read_hypotheses(None, METHODS, TASKS) == {}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": "standard_plane_prob"}, r'hypotheses: H1: task: .* Did you mean "standard_plane_probe"\?'),
        ({"metric": "f2"}, r'H1: metric: nothing defines "f2"\. Did you mean "f1"\?'),
        ({"better": "our"}, r'H1: better: nothing defines "our"\. Did you mean "ours"\?'),
        ({"worse": "vido"}, r'H1: worse: .* Did you mean "video"\?'),
        ({"worse": "ours"}, "better and worse are both ours"),
        ({"task": "retrieval", "metric": "video_to_speech_r1", "worse": "plus"}, "retrieval is not for plus"),
        ({"marign": 0.1}, r'no key "marign"\. Did you mean "margin"\?'),
        ({"margin": -0.1}, "margin: is -0.1; give a number from 0 on"),
        ({"margin": True}, "margin: is True"),
        ({"statement": " "}, "statement: is ' '; give a word"),
        ({"metric": None}, "metric: is None; give a word"),
    ],
)
def test_what_a_hypothesis_cannot_be_is_one_sentence(changed: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        read_hypotheses({"H1": {**GOOD, **changed}}, METHODS, TASKS)
    for broken in ([], {"a b": GOOD}, {"H1": "better"}):
        with pytest.raises(InputError, match="^hypotheses: "):
            read_hypotheses(broken, METHODS, TASKS)


def test_changes_are_named():
    one, other = {"a": {"x": 1, "y": 2}, "b": {"x": 1}}, {"a": {"x": 3, "y": 4}, "c": {"x": 1}}
    assert changed_hypotheses(one, other) == ["b was taken out", "c is new", "a has another x and y"]
    assert changed_hypotheses(one, json.loads(json.dumps(one))) == []


CLAIM = {"statement": "s", "task": "planes", "metric": "f1", "better": "ours", "worse": "random"}


def test_they_are_written_down_first_and_stay_as_they_are(tmp_path: Path):
    root = make_files(tmp_path, n_subjects=3)

    def write(hypotheses: Any, **changed: Any) -> dict[str, Any]:
        given = settings(root, folds=[0], seeds=[0], hypotheses=hypotheses, **changed)
        plan = plan_study(given, [root])
        return json.loads(write_study(plan.study, plan.data, plan.held_out, plan.subjects).read_text())

    first = write({"H1": CLAIM})
    assert first["hypotheses"] == {"H1": {"name": "H1", "margin": 0.0, **CLAIM}} and first["registered"]
    second = write({"H1": {**CLAIM, "margin": 0.1}})  # nothing is known yet
    result = root / "study/planes/random/fold0-seed0/results.json"
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    more = write({"H1": {**CLAIM, "margin": 0.1}}, methods=["video"])
    assert list(more["methods"]) == ["random", "video", "ours"] and more["registered"] == second["registered"]
    for changed, said in (
        ({"H1": CLAIM}, "H1 has another margin"),
        ({}, "H1 was taken out"),
        ({"H1": {**CLAIM, "margin": 0.1}, "H2": CLAIM}, "H2 is new"),
    ):
        with pytest.raises(InputError, match=f"are others now: {said}. Choose another output_dir"):
            write(changed)


def test_the_study_and_the_report_end_with_the_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = make_files(tmp_path, n_subjects=3)
    given = settings(root, folds=[0], seeds=[0], hypotheses={"H1": CLAIM}, methods=["random", "ours"])
    run_study(given, [root], program(root))
    said = "H1  not resolved  s\n                    ours against Rand.Init.: planes, f1 ↑\n"
    printed = capsys.readouterr().out
    assert said in printed and "(fewer than 2 seeds)" in printed
    report_study(given)
    assert said in capsys.readouterr().out
    run_study({**given, "methods": ["video"], "seeds": [0, 1]}, [root], program(root))  # more of all is no change
    assert "seeds" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="^study: .*H1 has another worse"):
        run_study({**given, "hypotheses": {"H1": {**CLAIM, "worse": "video"}}}, [root], program(root))


def claims(**entries: dict[str, Any]) -> dict[str, Any]:
    return {name: {"name": name, "statement": f"{name} is so.", "margin": 0.0, **entry}
            for name, entry in entries.items()}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, three folds, made-up predictions: ours is best, and the smaller KL is the better one."""
    planes = {"task": "standard_plane", "metric": "f1"}
    hypotheses = claims(
        H2={**planes, "better": "ours", "worse": "video"},
        H1={"task": "gaze_saliency", "metric": "kl", "better": "ours", "worse": "random"},
        H0={"task": "gaze_saliency", "metric": "kl", "better": "random", "worse": "ours"},
        H4={**planes, "better": "plus", "worse": "ours"},
        H5={"task": "frames", "metric": "f1", "better": "ours", "worse": "video"},
        H6={"task": "retrieval", "metric": "video_to_speech_median_rank", "better": "ours", "worse": "video"},
    )
    folder = tmp_path_factory.mktemp("study") / "s"
    return make_study(folder, subjects_per_fold=6, pictures=False, hypotheses=hypotheses)


def test_each_is_judged_by_its_own_numbers(study: Path):
    found = collect_study(study)
    analyses = {task: analyse_task(found, task, 200) for task in found.tasks}
    verdicts = {item.hypothesis.name: item for item in judge_hypotheses(found, analyses)}
    assert list(verdicts) == ["H2", "H1", "H0", "H4", "H5", "H6"]
    f1 = {method: analyses["standard_plane"].values[method]["f1"] for method in ("ours", "video")}
    oracle = ttest_rel(f1["ours"].mean(axis=0), f1["video"].mean(axis=0)).confidence_interval(0.95)
    assert verdicts["H2"].seeds.interval == pytest.approx((oracle.low, oracle.high))
    assert verdicts["H2"].seeds.mean == pytest.approx((f1["ours"] - f1["video"]).mean())
    kl = {method: analyses["gaze_saliency"].values[method]["kl"] for method in ("ours", "random")}
    assert verdicts["H1"].seeds.mean == pytest.approx((kl["random"] - kl["ours"]).mean())  # turned round
    assert verdicts["H1"].seeds.mean > 0 and verdicts["H1"].word == "holds"
    assert verdicts["H0"].word == "fails"
    ends = analyses["gaze_saliency"].difference_intervals["ours"]["kl"]  # ours minus random, from the same draws
    assert ends is not None and verdicts["H1"].subjects == pytest.approx((-ends[1], -ends[0]))
    assert (verdicts["H4"].word, verdicts["H4"].reason) == ("not run", "plus takes no part")
    assert (verdicts["H5"].word, verdicts["H5"].reason) == ("not run", "the task frames takes no part")
    assert (verdicts["H6"].word, verdicts["H6"].reason) == ("not resolved", "no interval over test subjects")


def test_while_runs_are_missing_nothing_is_decided(study: Path, tmp_path: Path):
    part = Path(shutil.copytree(study, tmp_path / "s"))
    shutil.rmtree(part / "gaze_saliency/ours/fold2-seed1")
    found = collect_study(part)
    judged = judge_hypotheses(found, {task: analyse_task(found, task, 20) for task in found.tasks})
    assert (judged[1].word, judged[1].reason) == ("not resolved", "1 of 12 runs are missing")
    assert judged[1].seeds.n_seeds == 1  # what there is is shown all the same
    shutil.rmtree(part / "gaze_saliency/ours")
    found = collect_study(part)
    judged = judge_hypotheses(found, {task: analyse_task(found, task, 20) for task in found.tasks})
    assert (judged[1].word, judged[1].reason) == ("not resolved", "6 of 12 runs are missing")


def test_the_table_is_on_the_page_in_files_and_in_the_terminal(study: Path):
    told: list[str] = []
    page = write_report(study, n_resamples=50, tell=told.append).read_text(encoding="utf-8")
    assert page.index("<h2>Hypotheses") < page.index("<h2>Standard plane")
    order = [line[2:4] for line in told[0].splitlines() if line[2] == "H"]
    assert order == ["H2", "H1", "H0", "H4", "H5", "H6"] and max(map(len, told[0].splitlines())) <= 100
    assert "holds         H1 is so." in told[0] and "not run       H4 is so." in told[0]
    markdown = (study / "tables" / "hypotheses.md").read_text(encoding="utf-8")
    assert "| H1 | H1 is so. | Ours against Random (Gaze saliency, KL ↓)" in markdown and "**holds**" in markdown
    rows = list(csv.DictReader(io.StringIO((study / "tables" / "hypotheses_numbers.csv").read_text())))
    assert [row["verdict"] for row in rows][1:] == ["holds", "fails", "not run", "not run", "not resolved"]
    assert float(rows[1]["seed_low"]) < float(rows[1]["difference"]) < float(rows[1]["seed_high"])
    assert rows[3]["difference"] == rows[3]["subject_low"] == ""


def test_without_hypotheses_there_is_no_table(study: Path):
    assert hypothesis_table(collect_study(study), []) is None
    assert hypothesis_csv([]).count("\n") == 1


def test_a_margin_is_told(study: Path):
    found = collect_study(study)
    entry = {"task": "standard_plane", "metric": "f1", "better": "ours", "worse": "random", "margin": 0.9}
    plan = {**found.plan, "hypotheses": claims(H1=entry)}
    found = type(found)(**{**vars(found), "plan": plan})
    judged = judge_hypotheses(found, {"standard_plane": analyse_task(found, "standard_plane", 50)})
    table = hypothesis_table(found, judged)
    assert table is not None and "F1 % ↑, margin 90.0" in hypothesis_lines(table)
    assert judged[0].seeds.mean > 0 and judged[0].word == verdict(judged[0].seeds.interval, judged[0].subjects, 0.9)[0]
    assert judged[0].word != "holds"
