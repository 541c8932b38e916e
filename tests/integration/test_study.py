# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A small study with the shipped configurations, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store

OPTIONS = {
    "methods": ["random", "ours"],
    "tasks": ["standard_plane", "retrieval"],
    "pretrain_options": {"max_epochs": 1, "batch_size": 4, "size": 32},
    "downstream_options": {"max_epochs": 1, "size": 32},
}


def bundle(run_id: str, root: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """``python -m monai.bundle run`` of the study."""
    words = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file"]
    words += ["['configs/studies/initialisation.json','configs/presets/study_cpu.json']"]
    for name, value in {"dataset_dir": root / "store", "output_dir": root / "study", **OPTIONS, **options}.items():
        words += [f"--{name}", str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_two_rows_on_one_fold_end_in_a_report(tmp_path: Path):
    make_store(tmp_path / "store", n_scans=6, seconds=16.0, size=40, planes=True)
    done = bundle("study", tmp_path, workers=2)
    assert done.returncode == 0, done.stdout + done.stderr
    study = tmp_path / "study"
    assert (study / "report.html").is_file()
    cells = {path.parent.relative_to(study).parts[:2] for path in study.glob("*/*/fold0-seed0/cell.json")}
    expected = {("standard_plane", "random"), ("pretrain", "ours"), ("standard_plane", "ours"), ("retrieval", "ours")}
    assert cells == expected
    # What the pretraining says that it has seen, against what the tasks say that they tested.
    seen = set(json.loads((study / "pretrain/ours/fold0-seed0/model.json").read_text())["subjects"])
    for task in ("standard_plane", "retrieval"):
        results = json.loads((study / task / "ours/fold0-seed0/results.json").read_text())
        tested = set(results["subjects"]["test"])
        assert len(seen) == 4 and len(tested) == 2 and not seen & tested
        assert all(value is None or 0 <= value for value in results["metrics"].values())

    table = bundle("plan", tmp_path)
    assert "4 cells: 4 done. Nothing is left." in table.stdout
    again = bundle("study", tmp_path)
    assert again.returncode == 0 and " of 4, " not in again.stdout  # no cell was run

    other = bundle("study", tmp_path, downstream_options={"max_epochs": 2, "size": 32})
    assert other.returncode == 1
    assert "max_epochs was 1 and is 2" in other.stderr and "Traceback" not in other.stderr
