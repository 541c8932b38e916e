# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.collect import collect_study
from tests.studies.study_factory import make_study, write_plan


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("study") / "s", subjects_per_fold=2, pictures=False)


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


def test_every_planned_cell_is_there_and_no_other(study: Path):
    (study / "standard_plane" / "dropped" / "fold0-seed0").mkdir(parents=True)  # of a method that is no longer planned
    found = collect_study(study)
    expected = {(t, m, f, s) for t in found.tasks for m in found.methods for f in range(3) for s in range(2)}
    expected -= {("retrieval", "random", f, s) for f in range(3) for s in range(2)}  # the plan gives it other methods
    assert set(found.cells) == expected and not found.unfinished()
    assert len(found.pretraining) == 2 * 3 * 2 and all(cell.finished for cell in found.pretraining.values())
    assert [found.task_kind(task) for task in found.tasks] == ["standard_plane", "gaze_saliency", "retrieval"]


def test_cells_that_are_not_done_say_why(study: Path):
    cells = study / "standard_plane" / "ours"
    shutil.rmtree(cells / "fold0-seed0")
    (cells / "fold1-seed0" / "cell.json").write_text('{"state": "failed", "error": "out of memory"}')
    (cells / "fold2-seed0" / "cell.json").unlink()  # removed when a run starts anew: older results do not count
    (cells / "fold0-seed1" / "results.json").write_text('{"metrics": ')
    (cells / "fold1-seed1" / "results.json").write_text("[]")
    (cells / "fold2-seed1" / "results.json").unlink()
    found = {(c.fold, c.seed): c for c in collect_study(study).unfinished()}
    assert {key: cell.state for key, cell in found.items()} == {
        (0, 0): "missing",
        (1, 0): "failed",
        (2, 0): "unfinished",
        (0, 1): "unreadable",
        (1, 1): "unreadable",
        (2, 1): "unreadable",
    }
    assert found[1, 0].note == "out of memory" and "results.json" in found[0, 1].note
    assert all(np.isnan(cell.metric("f1")) for cell in found.values())


def test_before_anything_has_finished_the_key_tells_what_a_task_is(tmp_path: Path):
    tasks: dict[str, dict] = {"standard_plane_probe": {}, "my_task": {}}
    write_plan(tmp_path, methods={"a": {}, "b": {}}, tasks=tasks, folds=[2], seeds=[7])
    (tmp_path / "standard_plane_probe" / "b" / "fold2-seed7").mkdir(parents=True)
    found = collect_study(tmp_path)
    assert (found.folds, found.seeds, found.reference, found.title("a")) == ((2,), (7,), "a", "a")
    assert [cell.state for cell in found.cells.values()] == ["missing", "unfinished", "missing", "missing"]
    assert [found.task_kind(task) for task in found.tasks] == ["standard_plane", "my_task"]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"methods": {}}, "methods"),
        ({"tasks": ["planes"]}, "tasks"),
        ({"folds": 3}, "folds"),
        ({"seeds": []}, "seeds"),
        ({"reference": "us"}, '"us"'),
    ],
)
def test_a_plan_without_meaning_is_refused(tmp_path: Path, changes: dict, told: str):
    write_plan(tmp_path, **changes)
    with pytest.raises(InputError, match=told):
        collect_study(tmp_path)


def test_a_folder_without_a_study_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"study\.json: no such file; run the study first"):
        collect_study(tmp_path)
