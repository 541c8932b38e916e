# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A small study of HiCo on an image set with the shipped configurations, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.data.image_set_factory import make_image_set

OPTIONS = {
    "methods": ["lfs_frozen", "hico", "hico_heads"],
    "folds": [0],
    "pretrain_options": {"max_epochs": 1, "batch_size": 4, "size": 32},
    "downstream_options": {"max_epochs": 1, "batch_size": 8, "size": 32},
}


def bundle(run_id: str, root: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """``python -m monai.bundle run`` of the study."""
    words = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file"]
    words += ["['configs/studies/hico_methods.json','configs/presets/hico_study_cpu.json']"]
    given = {"dataset_dir": root / "set/images.json", "output_dir": root / "study", **OPTIONS, **options}
    for name, value in given.items():
        words += [f"--{name}", str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_rows_on_an_image_set_end_in_a_report(tmp_path: Path):
    make_image_set(tmp_path / "set")
    done = bundle("study", tmp_path, workers=2)
    assert done.returncode == 0, done.stdout + done.stderr
    study = tmp_path / "study"
    cells = {path.parent.relative_to(study).parts[:2] for path in study.glob("*/*/fold0-seed0/cell.json")}
    rows = {("image_set", method) for method in ("lfs_frozen", "hico", "hico_heads")}
    assert cells == rows | {("pretrain", "hico")}  # one pretraining for two rows
    # Whom the pretraining says that it has seen, against whom the rows say that they tested.
    seen = set(json.loads((study / "pretrain/hico/fold0-seed0/model.json").read_text())["subjects"])
    for _, method in rows:
        results = json.loads((study / f"image_set/{method}/fold0-seed0/results.json").read_text())
        tested = set(results["subjects"]["test"])
        assert results["task"] == "image_set" and results["details"]["protocol"] == "clean"
        assert len(seen) == 5 and len(tested) == 5 and not seen & tested
        start = results["settings"]["initialisation"]
        assert start is None if method == "lfs_frozen" else start.endswith("pretrain/hico/fold0-seed0/model.pt")
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "scores of each class" in page and "upright: recall %" in page and "A picture is left out" not in page

    table = bundle("plan", tmp_path)
    assert "4 cells: 4 done. Nothing is left." in table.stdout
    with open(tmp_path / "set/g0_0.png", "ab") as file:
        file.write(b"changed")
    other = bundle("study", tmp_path)
    assert other.returncode == 1
    assert "the images were others" in other.stderr and "Traceback" not in other.stderr
