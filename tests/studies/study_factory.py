# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A finished study without any network: MADE-UP predictions, written as the runs of a study write theirs."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.handlers.curves import draw_curves
from monai_usspeech.handlers.figures import new_figure, save_figure
from monai_usspeech.handlers.saliency_results import SALIENCY_SCORES
from monai_usspeech.metrics import compute_retrieval_scores, confusion_matrix_of, scores_from_confusion

METHODS = {
    "random": {"title": "Random", "note": "no pretraining"},
    "video": {"title": "Video", "pretrain": ["video.json"], "note": "frame order alone"},
    "ours": {"title": "Ours", "pretrain": ["ours.json"], "note": "all terms, speech filter"},
}
SKILL = {"random": 0.45, "video": 0.6, "ours": 0.75}
TASKS = {
    "standard_plane": {"title": "Standard plane detection, fine-tuned"},
    "gaze_saliency": {"title": "Gaze saliency"},
    "retrieval": {"title": "Video and speech retrieval", "methods": ["video", "ours"]},
}
ROOT = 12345  # of every random number here


def random_of(*words: Any) -> np.random.RandomState:
    """A generator for a place in the study, the same in every process."""
    return np.random.RandomState([ROOT, *(ord(letter) for letter in "/".join(map(str, words)))])


def write_cell_files(folder: Path, results: dict[str, Any], state: str = "done") -> None:
    """The records of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"state": state, "seconds": 75.0, "command": ["python", "-m", "monai.bundle", "run", "run"], "error": ""}
    (folder / "cell.json").write_text(json.dumps(record))
    (folder / "config.json").write_text(json.dumps({"seed": int(folder.name[-1]), "learning_rate": 0.001}))
    (folder / "results.json").write_text(json.dumps({"format": 1, "versions": {"torch": "2.0"}, **results}))


def write_csv_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A CSV file with a header."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_plane_cell(
    folder: Path, subject: Sequence[str], label: np.ndarray, predicted: np.ndarray, classes: Sequence[str] = PLANES
) -> None:
    """A plane run with these predictions."""
    confusion = confusion_matrix_of(predicted, label, len(classes))
    scores = scores_from_confusion(confusion)
    metrics = {name: float(getattr(scores, name)) for name in ("precision", "recall", "f1", "accuracy")}
    tested = sorted(set(subject))
    counts = {"frames": len(label), "scans": len(tested), "subjects": len(tested)}
    subjects = {"train": ["t0", "t1"], "validation": ["v0"], "test": tested}
    details = {"classes": list(classes), "confusion": confusion.tolist()}
    write_cell_files(
        folder,
        {"task": "standard_plane", "metrics": metrics, "counts": counts, "subjects": subjects, "details": details},
    )
    rows = [(s, s, t, classes[a], classes[b], 0.5) for t, (s, a, b) in enumerate(zip(subject, label, predicted))]
    write_csv_rows(folder / "predictions.csv", ("subject", "scan", "time", "label", "predicted", "confidence"), rows)


def write_gaze_cell(folder: Path, subject: Sequence[str], scores: dict[str, np.ndarray]) -> None:
    """A saliency run with these per-frame scores, NaN = undefined."""
    metrics = {n: float(np.nanmean(v)) if np.isfinite(v).any() else None for n, v in scores.items()}
    counts = {"frames": len(subject), "scans": len(set(subject)), "subjects": len(set(subject))}
    write_cell_files(folder, {"task": "gaze_saliency", "metrics": metrics, "counts": counts, "subjects": {}})
    rows = [
        (name, name, i, 3, *("" if np.isnan(scores[n][i]) else repr(float(scores[n][i])) for n in SALIENCY_SCORES))
        for i, name in enumerate(subject)
    ]
    write_csv_rows(folder / "frames.csv", ("subject", "scan", "time", "fixations", *SALIENCY_SCORES), rows)


def write_image_cell(
    folder: Path, group: Sequence[str], label: np.ndarray, predicted: np.ndarray, classes: Sequence[str], **details: Any
) -> None:
    """A run on an image set with these predictions."""
    write_plane_cell(folder, group, label, predicted, classes)
    results = json.loads((folder / "results.json").read_text())
    results |= {"task": "image_set", "details": {**results["details"], **details}}
    (folder / "results.json").write_text(json.dumps(results))


def make_image_study(study: Path, protocol: dict[str, str] | None = None, **changes: Any) -> Path:
    """A study of an image set in which methods differ in their label rate: two folds, one seed, made-up predictions.

    Args:
        study: the folder to make.
        protocol: of the methods by key; ``"clean"`` for the others.
        changes: laid over ``study.json``.
    """
    methods: dict[str, dict[str, Any]] = {"scratch": {"title": "Scratch"}}
    for series, base in (("HiCo", 0.55), ("USCL", 0.4)):
        for rate in (0.1, 0.5, 1.0):
            entry = {"title": f"{series} {rate}", "position": rate, "series": series, "skill": base + 0.3 * rate**0.5}
            methods[f"{series.lower()}_{round(100 * rate):03d}"] = entry
    data = {"store": "/data/set.json", "names": ["SYNTHETIC images"], "images": 1200, "groups": 24, "sha256": "0"}
    plan = {"methods": methods, "tasks": {"image_set": {"title": "Images"}}, "data": data, "folds": [0, 1]}
    write_plan(study, **{"seeds": [0], "n_folds": 2, "position_title": "Label rate", **plan, **changes})
    for method, entry in methods.items():
        for fold in range(2):
            label = random_of("images", fold).choice(3, size=240, p=[0.3, 0.2, 0.5])
            random = random_of("guess", method, fold)
            right = random.uniform(size=240) < entry.get("skill", 0.35) + 0.03 * random.standard_normal()
            guess = np.where(right, label, random.randint(0, 3, 240))
            group = [f"v{fold}{number // 20}" for number in range(240)]
            kind = {"protocol": (protocol or {}).get(method, "clean")}
            folder = study / "image_set" / method / f"fold{fold}-seed0"
            write_image_cell(folder, group, label, guess, ("covid", "pneumonia", "regular"), **kind)
    return study


def write_plan(study: Path, **changes: Any) -> None:
    """``study.json``."""
    plan = {
        "name": "Initialisations",
        "description": "A made-up study: every number here comes from a random generator, not from a network.",
        "methods": METHODS,
        "tasks": TASKS,
        "folds": [0, 1, 2],
        "seeds": [0, 1],
        "n_folds": 3,
        "versions": {"monai_usspeech": "0", "torch": "2.0"},
        "data": {"store": "/data/store", "names": ["SYNTHETIC phantom"], "scans": 18, "subjects": 18, "hours": 4.5},
        **changes,
    }
    study.mkdir(parents=True, exist_ok=True)
    (study / "study.json").write_text(json.dumps(plan))


def make_study(study: Path, subjects_per_fold: int = 6, pictures: bool = True, **changes: Any) -> Path:
    """A whole study folder: three methods, three tasks, three folds, two seeds.

    Args:
        study: the folder to make.
        subjects_per_fold: test subjects of each fold.
        pictures: also write example frames, curves and Grad-CAM pictures.
        changes: laid over ``study.json``.
    """
    write_plan(study, **changes)
    for method in METHODS:
        for fold in range(3):
            subjects = [f"p{fold}{number}" for number in range(subjects_per_fold)]
            for seed in range(2):
                place = f"{method}/fold{fold}-seed{seed}"
                _plane_cell(study / "standard_plane" / place, method, subjects, seed)
                _gaze_cell(study / "gaze_saliency" / place, method, subjects, fold, pictures)
                if method != "random":
                    _retrieval_cell(study / "retrieval" / place, method, subjects, fold)
                    _pretraining_cell(study / "pretrain" / place, method, pictures and fold == seed == 0)
                if pictures and fold == seed == 0:
                    _picture(study / "standard_plane" / place / "grad_cam.png", f"Grad-CAM, {method}")
    return study


def _plane_cell(folder: Path, method: str, subjects: Sequence[str], seed: int) -> None:
    owner, labels, guesses = [], [], []
    for subject in subjects:
        label = random_of("label", subject).choice(14, size=80, p=[0.04] * 13 + [0.48])
        random = random_of("guess", method, subject, seed)
        right = random.uniform(size=80) < SKILL[method] + 0.1 * random.standard_normal()
        owner += [subject] * 80
        labels.append(label)
        guesses.append(np.where(right, label, random.randint(0, 14, 80)))
    write_plane_cell(folder, owner, np.concatenate(labels), np.concatenate(guesses))


def _gaze_cell(folder: Path, method: str, subjects: Sequence[str], fold: int, pictures: bool) -> None:
    random, skill = random_of("gaze", method, folder.name), SKILL[method]
    owner = np.repeat(subjects, 40)
    means = dict(zip(SALIENCY_SCORES, (4 - 2 * skill, 4 * skill, 0.5 + skill / 2, 0.45 + skill / 2, 0.4 + skill / 3,
                                skill / 2, skill / 2, skill / 2)))  # fmt: skip
    shift = np.repeat(0.1 * random_of("shift", method, fold).standard_normal(len(subjects)), 40)
    scores = {n: mean * (1 + shift + 0.2 * random.standard_normal(len(owner))) for n, mean in means.items()}
    scores["shuffled_auc"][::7] = np.nan
    write_gaze_cell(folder, owner.tolist(), scores)
    if not pictures:
        return
    frames = random_of("frames", fold)
    images = np.stack([gaussian_filter(frames.uniform(0, 1, (96, 96)), 3) for _ in range(4)])
    images = (255 * (images - images.min()) / np.ptp(images)).astype(np.uint8)
    fixations = np.zeros((4, 64, 64), bool)
    for example in range(4):
        fixations[example, frames.randint(16, 48, 3), frames.randint(16, 48, 3)] = True
    target = np.stack([gaussian_filter(f.astype(float), 3) for f in fixations])
    noise = np.stack([gaussian_filter(random.uniform(0, 1, (64, 64)), 5) for _ in range(4)]) ** 4
    prediction = skill * target / target.sum((1, 2), keepdims=True)
    prediction += (1 - skill) * noise / noise.sum((1, 2), keepdims=True)
    names = np.array([f"{subjects[example % len(subjects)]} at {example} s" for example in range(4)])
    np.savez(folder / "examples.npz", images=images, fixations=fixations, target=target.astype(np.float32),
             prediction=prediction.astype(np.float32), names=names)  # fmt: skip


def _retrieval_cell(folder: Path, method: str, subjects: Sequence[str], fold: int) -> None:
    random, n = random_of("retrieval", method, folder.name), 10 * len(subjects)
    plane = random_of("planes", fold).randint(0, 14, n)
    centres = random_of("centres").standard_normal((14, 16))
    video = centres[plane] + 0.8 * random.standard_normal((n, 16))
    speech = video + 2 * (1.1 - SKILL[method]) * random.standard_normal((n, 16))
    metrics = compute_retrieval_scores(torch.from_numpy(video), torch.from_numpy(speech))
    counts = {"n": n, "frames": n, "scans": len(subjects), "subjects": len(subjects)}
    write_cell_files(folder, {"task": "retrieval", "metrics": metrics, "counts": counts, "subjects": {}})
    owner = np.repeat(subjects, 10)
    np.savez(folder / "embeddings.npz", video=video.astype(np.float32), speech=speech.astype(np.float32),
             plane=plane, subject=owner, scan=owner, time=np.arange(n))  # fmt: skip


def history_rows(place: str, method: str) -> list[dict[str, Any]]:
    """What a pretraining writes as it goes: of ``fold1-seed0``, of ``ours`` with one number more."""
    more = {"accuracy_cls": 0.5 + 0.01 * int(place[-1])} if method == "ours" else {}
    last = {"kind": "epoch", "epoch": 2, "accuracy_ord": 0.2 + 0.1 * int(place[4]), **more}
    return [{**last, "epoch": 1, "accuracy_ord": 0.0}, last, {**last, "kind": "iteration", "accuracy_ord": 1.0}]


def _pretraining_cell(folder: Path, method: str, pictures: bool) -> None:
    folder.mkdir(parents=True)
    record = {"state": "done", "seconds": 600.0, "command": ["python", "-m", "monai.bundle", "run", "training"]}
    (folder / "cell.json").write_text(json.dumps(record))
    (folder / "config.json").write_text(json.dumps({"alpha": 1.0}))
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in history_rows(folder.name, method)))
    if pictures:
        random = random_of("curve", method)
        rows: list[dict[str, Any]] = [
            {"epoch": e, "loss": 5 * 0.9**e + 0.1 * random.uniform(), "accuracy_ord": 0.1 + 0.01 * e}
            for e in range(1, 20)
        ]
        draw_curves(rows, folder / "curves.png")
        _picture(folder / "pairs.png", f"sampled pairs, {method}")


def _picture(path: Path, text: str) -> None:
    figure = new_figure(5, 2)
    figure.text(0.5, 0.5, f"{text} (made up)", ha="center")
    save_figure(figure, path)
