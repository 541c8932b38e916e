# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Another MONAI project uses the installed package from a configuration of its own, and nothing else of ours."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.data.media_factory import make_video
from tests.preparation.scan_files import FPS, SIZE, fan_frames, speech_wave

N_CLIPS = 6

# `python -m monai.bundle`, with a list of every file that the process opens.
WATCHED = """
import atexit, runpy, sys
opened = set()
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
atexit.register(lambda: open("opened.txt", "w").write("\\n".join(sorted(opened))))
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The package, installed by pip from a copy of what it is built from into a folder of its own."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "monai_usspeech", source / "monai_usspeech", ignore=shutil.ignore_patterns("*.pyc"))
    # Where setuptools can make a wheel as it is, pip need not fetch another one.
    able = importlib.util.find_spec("wheel") or int(version("setuptools").split(".")[0]) >= 71
    options = ["--no-build-isolation"] if able else []
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *options, "--target", str(folder / "site")]
    done = subprocess.run([*pip, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    return folder / "site"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The other project: its configuration, and clips with a piece of speech each."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(REPOSITORY / "tests/integration/foreign_project/train.json", folder)
    (folder / "data").mkdir()
    for number in range(N_CLIPS):
        make_video(folder / f"data/{number}.mp4", fps=FPS, size=SIZE, frames=fan_frames(number, 12))
        np.save(folder / f"data/{number}.npy", speech_wave(number, 1.0)[0])
    return folder


@pytest.mark.slow
def test_a_project_that_only_installed_the_package_trains(installed: Path, project: Path):
    command = [sys.executable, "-c", WATCHED, "run", "training", "--config_file", "train.json"]
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    assert f"package {installed / 'monai_usspeech/__init__.py'}" in done.stdout
    opened = (project / "opened.txt").read_text().splitlines()
    assert "train.json" in opened and any(name.startswith(str(installed)) for name in opened)  # the watch sees files
    ours = [str(REPOSITORY / part) for part in ("bundle", "configs", "monai_usspeech")]
    assert [name for name in opened if name.startswith(tuple(ours))] == []

    rows = list(csv.reader((project / "out/metrics.csv").open()))
    assert rows[0][0] == "recall" and 0 <= float(rows[0][1]) <= 1
    (final,) = (project / "out").glob("*final*.pt")
    weights = torch.load(final, weights_only=True)
    assert all(value.isfinite().all() for value in weights.values())
