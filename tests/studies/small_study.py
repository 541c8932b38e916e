# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A study whose cells are a program that takes milliseconds: it writes the product, or does what it is told to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.data.store_factory import make_store

# Told by files in the folder "orders" beside the study's: "<stage>-<method>" holding "fail", "nothing" or "sleep".
PROGRAM = r"""
import ast, json, os, pathlib, sys, time
words = sys.argv[1:]
given = {word[2:]: words[place + 1] for place, word in enumerate(words) if word.startswith("--")}
folder = pathlib.Path(given["output_dir"])
stage, method, cell = folder.parts[-3:]
order = folder.parents[3] / "orders" / f"{stage}-{method}"
order = order.read_text() if order.is_file() else ""
with open(folder.parents[3] / "calls.txt", "a") as calls:
    calls.write(f"{stage}/{method}/{cell}\n")
print("threads", os.environ.get("OMP_NUM_THREADS"), "device", os.environ.get("CUDA_VISIBLE_DEVICES"))
if order == "fail":
    print("warming up\nerror: the probe fell down.\n 50%|#####     | 1/2")
    raise SystemExit(3)
if order == "sleep":
    (folder / "asleep").touch()
    time.sleep(60)
if order != "nothing" and stage == "pretrain":
    (folder / "model.pt").write_bytes(b"weights")
elif order != "nothing":
    start = given["initialisation"]
    assert start == "$None" or pathlib.Path(start).is_file(), start
    (folder / "results.json").write_text(json.dumps({"metrics": {"f1": 0.5}}))
"""

PRETRAIN = {
    "dataset_dir": "store",
    "output_dir": "out",
    "seed": 0,
    "initialisation": None,
    "exclude_subjects": None,
    "subjects": None,
    "alpha": 1.0,
    "num_workers": 0,
    "keep_steps": None,
    "run": [],
}
DOWNSTREAM = {
    **{name: None for name in ("dataset_dir", "output_dir", "method", "initialisation")},
    **{name: 0 for name in ("fold", "n_folds", "split_seed", "seed", "num_workers")},
    "mode": "finetune",
    "learning_rate": 0.1,
    "network_def": {"backbone": "small"},
    "run": [],
    "evaluating": [],
}


def make_files(root: Path, n_subjects: int = 6) -> Path:
    """A store, the configuration files of the cells, and the program that runs them, in one folder."""
    make_store(root / "store", n_scans=n_subjects, seconds=2.0, fps=4.0, size=8, speech=False)
    for name, content in {
        "train.json": PRETRAIN,
        "video.json": {"alpha": 0.0},
        "ours.json": {"alpha": 2.0},
        "task.json": DOWNSTREAM,
    }.items():
        (root / name).write_text(json.dumps(content))
    (root / "program.py").write_text(PROGRAM)
    return root


def program(root: Path) -> tuple[str, str]:
    """What runs a cell of this study."""
    return sys.executable, str(root / "program.py")


def settings(root: Path, **changed: Any) -> dict[str, Any]:
    """The study: three methods, two of them pretrained, and two tasks."""
    return {
        "name": "small",
        "dataset_dir": str(root / "store"),
        "output_dir": str(root / "study"),
        "n_folds": 3,
        "folds": [0, 1, 2],
        "seeds": [0, 1],
        "pretrain": ["train.json"],
        "all_methods": {
            "random": {"title": "Rand.Init."},
            "video": {"pretrain": ["video.json"]},
            "ours": {"pretrain": ["ours.json"], "options": {"network_def#backbone": "large"}},
        },
        "all_tasks": {
            "planes": {"configs": ["task.json"]},
            "retrieval": {"configs": ["task.json"], "run": "evaluating", "methods": ["ours"]},
        },
        **changed,
    }


def calls(root: Path) -> list[str]:
    """The cells that the program has been started for, in order."""
    path = root / "calls.txt"
    return path.read_text().split() if path.is_file() else []


def order(root: Path, stage: str, method: str, what: str) -> None:
    """Tell the program what to do for the cells of one stage and method."""
    (root / "orders").mkdir(exist_ok=True)
    (root / "orders" / f"{stage}-{method}").write_text(what)
