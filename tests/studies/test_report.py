# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.report import write_report
from tests.studies.study_factory import METHODS, TASKS, make_study, write_plan

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """What a report page holds, and whether its tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("study") / "s", subjects_per_fold=2)


@pytest.fixture(scope="module")
def page(whole: Path) -> Page:
    path = write_report(whole, n_resamples=50)
    assert path == whole / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_else(page: Page):
    assert not page.of("script") and not page.of("link")
    sources = [image["src"] or "" for image in page.of("img")]
    # Per-run dots of three tasks, confusion, 3 Grad-CAMs, overlays, embeddings, 2 curves, 2 batches of pairs.
    assert len(sources) == 3 + 1 + 3 + 1 + 1 + 2 + 2
    for source in sources:
        assert source.startswith("data:image/png;base64,")
        assert base64.b64decode(source.split(",", 1)[1], validate=True).startswith(b"\x89PNG")
    assert all(image["alt"] for image in page.of("img"))
    assert "A picture is left out" not in page.words


def test_the_page_can_be_read_without_eyes(page: Page):
    tables = len(page.of("table"))
    assert tables >= 9 and len(page.of("caption")) == tables
    assert all(cell.get("scope") in ("col", "row") for cell in page.of("th"))
    assert page.of("html") == [{"lang": "en"}]
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {(link["href"] or "")[1:] for link in page.of("a")} == targets


def test_synthetic_data_are_called_so_before_any_number(page: Page):
    assert page.words.index("Synthetic data.") < page.words.index("Runs finished")
    assert page.words.index("Runs finished") < page.words.index("Standard plane detection, fine-tuned: scores")


def test_it_holds_what_makes_it_again(page: Page):
    for text in ("monai_usspeech 0", "p00, p01", "python -m monai.bundle run training", '"learning_rate": 0.001',
                 "Configuration of pretrain/ours/fold0-seed0", '"n_folds": 3'):  # fmt: skip
        assert text in page.words


def test_tables_are_also_files(whole: Path, page: Page):
    names = {path.name for path in (whole / "tables").iterdir()}
    parts = {"", "_intervals", "_differences"}
    expected = {f"{t}{part}.{e}" for t in TASKS for part in parts for e in ("md", "csv")}
    expected |= {f"{name}.{e}" for name in ("standard_plane_classes", "pretrain") for e in ("md", "csv")}
    expected |= {f"{t}_numbers.csv" for t in TASKS}
    assert names == expected
    first = (whole / "tables" / "standard_plane.md").read_text(encoding="utf-8")
    ours = next(line for line in first.splitlines() if line.startswith("| Ours"))
    mean = re.search(r"\*\*([\d.]+ ± [\d.]+)\*\*", ours)
    assert mean is not None and mean[1] in page.words


def test_how_the_pretext_tasks_ended_is_told(whole: Path, page: Page):
    """Means and spreads over runs of each last epoch, worked out by hand from the factory's: 3 folds, 2 seeds."""
    rows = list(csv.reader((whole / "tables" / "pretrain.csv").read_text().splitlines()))
    order, correspondence = "Frame-order accuracy, % (chance 8.33)", "Correspondence accuracy, % (chance 50)"
    assert rows == [["Method", order, correspondence, "Runs"],
                    ["Video", "30.0 (± 8.9)", "–", "6"],
                    ["Ours", "30.0 (± 8.9)", "50.5 (± 0.5)", "6"]]  # fmt: skip
    assert order in page.words


def test_a_history_that_was_cut_off_counts_up_to_there(tmp_path: Path):
    study = make_study(tmp_path, 1, pictures=False)
    for path in (study / "pretrain/video").glob("*/history.jsonl"):
        path.write_text(path.read_text() + '{"kind": "epoch", "accuracy_o')
    (study / "pretrain/ours/fold0-seed0/history.jsonl").unlink()
    write_report(study, n_resamples=20)
    rows = list(csv.reader((study / "tables" / "pretrain.csv").read_text().splitlines()))
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
        ("Video", "30.0 (± 8.9)", "6"),
        ("Ours", "32.0 (± 8.4)", "5"),
    ]


def test_the_same_cells_give_the_same_page(whole: Path, page: Page, tmp_path: Path):
    def body(path: Path) -> str:
        return re.sub(r"<footer>.*?</footer>", "", path.read_text(encoding="utf-8"))

    study = Path(shutil.copytree(whole, tmp_path / "s"))
    assert body(write_report(study, n_resamples=50)) == body(whole / "report.html")
    assert [path.name for path in study.iterdir() if path.name.startswith(".")] == []  # no half-written file


def test_names_are_escaped(tmp_path: Path):
    evil = '<script>alert("x")</script> & co'
    methods = {**METHODS, "ours": {"title": evil, "note": evil}}
    tasks = {"standard_plane": {"title": evil}}
    study = make_study(tmp_path, 1, pictures=False, name=evil, methods=methods, tasks=tasks, description=evil)
    (study / "standard_plane" / "video" / "fold0-seed0" / "cell.json").write_text(json.dumps({"state": evil}))
    page = Page(write_report(study, n_resamples=20).read_text(encoding="utf-8"))
    assert not page.of("script") and page.words.count(evil) >= 7


def test_a_pretraining_that_other_rows_start_from_is_shown(tmp_path: Path):
    """Only rows with ``pretrain_of`` take part: the curves are drawn, under the name of the pretraining."""
    part = {"title": "Half way", "pretrain": ["ours.json"], "pretrain_of": "ours", "weights": "model_step9.pt"}
    tasks = {"standard_plane": TASKS["standard_plane"]}
    study = make_study(tmp_path, 2, tasks=tasks)
    (study / "standard_plane" / "ours").rename(study / "standard_plane" / "half")
    write_plan(study, methods={"random": METHODS["random"], "half": part}, tasks=tasks)
    words = Page(write_report(study, n_resamples=20).read_text(encoding="utf-8")).words
    assert "Training curves, ours (fold 0, seed 0)." in words and "Training curves, video" not in words
    assert "that of ours, model_step9.pt" in words and "12 of 12" in words


def test_missing_runs_are_named(tmp_path: Path):
    tasks = {name: TASKS[name] for name in ("standard_plane", "gaze_saliency")}
    study = make_study(tmp_path, 2, pictures=False, tasks=tasks)
    shutil.rmtree(study / "standard_plane" / "video" / "fold2-seed1")
    failed = {"state": "failed", "error": "CUDA out of memory"}
    (study / "gaze_saliency" / "ours" / "fold0-seed0" / "cell.json").write_text(json.dumps(failed))
    words = Page(write_report(study, n_resamples=20).read_text(encoding="utf-8")).words
    assert "2 of 36 runs are not finished." in words and "34 of 36" in words
    assert "standard_plane/video/fold2-seed1: missing" in words
    assert "gaze_saliency/ours/fold0-seed0: failed (CUDA out of memory)" in words
    assert "5 of 6" in words


def test_a_study_of_which_nothing_has_run_has_a_page(tmp_path: Path):
    write_plan(tmp_path, data={})
    words = Page(write_report(tmp_path).read_text(encoding="utf-8")).words
    assert "48 of 48 runs are not finished." in words and "No run of this task has finished." in words
    assert "Synthetic data." not in words and "does not say" in words


def test_a_broken_picture_is_left_out_with_a_word(tmp_path: Path):
    tasks = {name: TASKS[name] for name in ("standard_plane", "gaze_saliency")}
    study = make_study(tmp_path, 2, tasks=tasks)
    (study / "gaze_saliency" / "ours" / "fold0-seed0" / "examples.npz").write_bytes(b"PK half a file")
    (study / "standard_plane" / "ours" / "fold0-seed0" / "grad_cam.png").write_bytes(b"half")
    page = Page(write_report(study, n_resamples=20).read_text(encoding="utf-8"))
    assert page.words.count("A picture is left out") == 2
    assert len(page.of("img")) == 2 + 1 + 2 + 4  # dots, confusion, Grad-CAM, pretraining


@pytest.mark.parametrize("folds, seeds", [([0], [0, 1]), ([0, 1, 2], [0]), ([0], [0])])
def test_runs_of_one_fold_or_of_one_seed_are_drawn_too(tmp_path: Path, folds: list[int], seeds: list[int]):
    tasks = {"standard_plane": TASKS["standard_plane"]}
    study = make_study(tmp_path, 2, pictures=False, tasks=tasks, folds=folds, seeds=seeds)
    page = Page(write_report(study, n_resamples=20).read_text(encoding="utf-8"))
    assert "A picture is left out" not in page.words
    assert any("of every run, by method" in (image["alt"] or "") for image in page.of("img"))


def test_a_task_without_scores_has_its_picture_alone(tmp_path: Path):
    study = make_study(tmp_path, 2, pictures=False, tasks={"retrieval": TASKS["retrieval"]})
    for path in study.glob("retrieval/*/*/results.json"):
        results = json.loads(path.read_text())
        path.write_text(json.dumps({**results, "metrics": dict.fromkeys(results["metrics"])}))
    page = Page(write_report(study, n_resamples=20).read_text(encoding="utf-8"))
    assert not list((study / "tables").glob("retrieval*")) and "R@1" not in page.words
    assert len(page.of("img")) == 1 and "t-SNE" in page.words


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="study.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_browser_is_opened_only_when_asked_and_there_is_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    write_plan(tmp_path)
    write_report(tmp_path, open_in_browser=True)
    monkeypatch.setenv("DISPLAY", ":0")
    write_report(tmp_path)
    assert opened == []
    path = write_report(tmp_path, open_in_browser=True)
    assert opened == [path.resolve().as_uri()]
