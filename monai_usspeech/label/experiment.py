# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which strategy needs the fewest labels? Tried on SYNTHETIC scans whose planes are known.

For each seed a network is pretrained on scans of its own, without labels. Clips of other scans are the pool: some are
labelled at the start, and each strategy chooses further ones, round by round. After each round a linear probe on the
frames of the labelled clips is tested on scans of a third store. Nothing of the pool's or the test scans' labels is
used to choose but the labels that were asked for.

What is done stays: a seed has its result in a file, a pretraining goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_usspeech.data.files import InputError, changed_values, nearest_name, read_json, write_json
from monai_usspeech.data.store import ScanStore
from monai_usspeech.engines.configuration import software_versions
from monai_usspeech.label.experiment_data import PoolClip, StoreReader
from monai_usspeech.label.experiment_pretraining import pretraining_cells, run_pretraining
from monai_usspeech.label.experiment_report import write_strategy_report
from monai_usspeech.label.experiment_rounds import RoundSettings, fit_probe, label_in_rounds, probe_f1
from monai_usspeech.label.model_files import load_pretrained
from monai_usspeech.label.selection import CandidateClip, choose_clip
from monai_usspeech.studies.lock import folder_lock
from monai_usspeech.studies.plan import PROGRAM

__all__ = ["compare_strategies", "report_strategies", "run_seed"]

_FORMAT = 1
_STRATEGY_KEYS = ("title", "strategy", "weights")


def compare_strategies(
    output_dir: str,
    pretrain_dir: str,
    pool_dir: str,
    dataset_dir: str,
    pretrain: Mapping[str, Any],
    strategies: Mapping[str, Mapping[str, Any]],
    rounds: Mapping[str, Any],
    seeds: Sequence[int] = (0,),
    clip_seconds: float = 10.0,
    interval: float = 0.8,
    target_share: float = 0.9,
    reference: str = "random",
    title: str = "Which clip to label next",
    workers: int = 1,
    program: Sequence[str] = PROGRAM,
    folders: Sequence[str | Path] | None = None,
) -> dict[str, Any]:
    """Run what is left of the experiment and report. This is the run id ``study``.

    Args:
        output_dir: where everything goes.
        pretrain_dir: scans that the network is pretrained on, without labels.
        pool_dir: scans to label, with speech; others than those.
        dataset_dir: scans to test on; others than those.
        pretrain: ``method``, a name; ``files``, configurations; ``values`` over them.
        strategies: by name, ``title``, and ``strategy`` and ``weights`` as in
            :func:`~monai_usspeech.label.selection.choose_clip`.
        rounds: see :class:`~monai_usspeech.label.experiment_rounds.RoundSettings`.
        seeds: of pretraining, start and chance.
        clip_seconds: length of a clip of the pool.
        interval: seconds from one labelled or tested frame to the next.
        target_share: the aim is this share of the F1 with all labels.
        reference: the strategy that others are compared with.
        title: of the report.
        workers: pretrainings at a time.
        program: what runs a pretraining.
        folders: where configurations are looked for after the current directory; default: the folders above the file
            that was named on the command line.

    Returns:
        What is in ``results.json``.

    Raises:
        InputError: for something given that cannot be used.
        SystemExit: when a pretraining failed, or was interrupted.
    """
    settings = RoundSettings.read(rounds)
    _check_strategies(strategies, reference)
    cells = pretraining_cells(output_dir, pretrain_dir, pretrain, seeds, folders)
    pool, test = _stores(pretrain_dir, pool_dir, dataset_dir)
    decides = _plain(
        {
            "strategies": {name: _choice(one) for name, one in strategies.items()},
            "rounds": dict(vars(settings)),
            "clip_seconds": clip_seconds,
            "interval": interval,
            "pretrain": {"method": pretrain.get("method"), "values": dict(pretrain.get("values") or {})},
            "pool": {"scans": [scan.id for scan in pool]},
            "test": {"scans": [scan.id for scan in test]},
        }
    )
    results = {seed: _known_result(output_dir, seed, decides) for seed in seeds}
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    with folder_lock(Path(output_dir) / "study.lock"):
        run_pretraining(cells, workers, program)
        for seed, cell in zip(seeds, cells):
            if results[seed] is None:
                weights = cell.folder / cell.product
                found = run_seed(weights, pool, test, strategies, settings, seed, clip_seconds, interval)
                write_json(_result_file(output_dir, seed), {"format": _FORMAT, "settings": decides, **found})
    return report_strategies(output_dir, seeds, strategies, target_share, reference, title)


def run_seed(
    weights: Path,
    pool: ScanStore,
    test: ScanStore,
    strategies: Mapping[str, Mapping[str, Any]],
    settings: RoundSettings,
    seed: int,
    clip_seconds: float,
    interval: float,
) -> dict[str, Any]:
    """All strategies with one pretrained network.

    Args:
        weights: of the network.
        pool, test, strategies, settings, seed, clip_seconds, interval: see :func:`compare_strategies`.

    Returns:
        ``curves`` by strategy, ``full_f1`` with the labels of the whole pool, what the pool is, and the seconds taken.
    """
    began = time.monotonic()
    reader = StoreReader(*load_pretrained(weights), interval=interval)
    clips, frames = reader.clips(pool, clip_seconds), reader.frames(test)
    read = time.monotonic()
    features, labels = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("features", "labels"))
    full = probe_f1(fit_probe(features, labels, settings), *frames)
    print(f"seed {seed}: {len(clips)} clips, F1 {full:.3f} with all labels", flush=True)
    curves = {}
    for name, one in strategies.items():
        curve = label_in_rounds(clips, frames, _choice(one), settings, seed)
        curves[name] = curve.to_json()
        print(f"seed {seed}: {name}: F1 {', '.join(f'{value:.3f}' for value in curve.f1)}", flush=True)
    return {
        "seed": seed,
        "full_f1": full,
        "pool": _pool_facts(clips),
        "test_frames": len(frames[1]),
        "curves": curves,
        "seconds": {"reading": round(read - began, 1), "labelling": round(time.monotonic() - read, 1)},
        "versions": software_versions(),
    }


def report_strategies(
    output_dir: str,
    seeds: Sequence[int],
    strategies: Mapping[str, Mapping[str, Any]],
    target_share: float = 0.9,
    reference: str = "random",
    title: str = "Which clip to label next",
) -> dict[str, Any]:
    """Report the seeds that are done. This is the run id ``report``.

    Args:
        output_dir, seeds, strategies, target_share, reference, title: see :func:`compare_strategies`.

    Returns:
        What is in ``results.json``.

    Raises:
        InputError: when none is done.
    """
    files = [file for seed in seeds if (file := _result_file(output_dir, seed)).is_file()]
    if not files:
        raise InputError(f"{output_dir}: no seed is done; run the id study first.")
    titles = {name: str(one.get("title", name)) for name, one in strategies.items()}
    results = [read_json(file) for file in files]
    report = write_strategy_report(output_dir, results, titles, reference, target_share, title)
    print(f"{report['verdict']}\nReport: {Path(output_dir) / 'table.md'}, curves.png, results.json")
    return report


def _check_strategies(strategies: Mapping[str, Mapping[str, Any]], reference: str) -> None:
    probe = [CandidateClip("a", None, 0.1), CandidateClip("b", None, 0.2)]
    for name, one in strategies.items():
        for key in one:
            if key not in _STRATEGY_KEYS:
                raise InputError(f'strategies: {name}: no key "{key}".{nearest_name(key, _STRATEGY_KEYS)}')
        try:
            choose_clip(probe, **_choice(one))
        except InputError as error:
            raise InputError(f"strategies: {name}: {error}") from None
    if reference not in strategies:
        raise InputError(f'reference: no strategy "{reference}".{nearest_name(reference, strategies)}')


def _choice(one: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a choice."""
    return {"strategy": "mixed", **{name: one[name] for name in ("strategy", "weights") if name in one}}


def _stores(pretrain_dir: str, pool_dir: str, dataset_dir: str) -> tuple[ScanStore, ScanStore]:
    learned, pool, test = (ScanStore(folder) for folder in (pretrain_dir, pool_dir, dataset_dir))
    for one, name in ((learned, "pretrain_dir"), (pool, "pool_dir")):
        both = sorted(set(one.subjects) & set(test.subjects))
        if both:
            raise InputError(
                f"{name}: {one.root} has {len(both)} of the test subjects, such as {both[0]}; name others."
            )
    return pool, test


def _result_file(output_dir: str, seed: int) -> Path:
    return Path(output_dir) / f"seed{seed}.json"


def _known_result(output_dir: str, seed: int, decides: Mapping[str, Any]) -> dict[str, Any] | None:
    path = _result_file(output_dir, seed)
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != _FORMAT or not isinstance(found.get("settings"), dict):
        raise InputError(f"{path}: not a result that this version reads; remove it to compute the seed anew.")
    changed = changed_values(found["settings"], decides)
    if changed:
        raise InputError(
            f"{path}: made with other settings: {'; '.join(changed)[:400]}. Choose another output_dir, or remove the"
            " file to compute the seed anew."
        )
    return found


def _pool_facts(clips: Sequence[PoolClip]) -> dict[str, Any]:
    heard = [clip.speech for clip in clips if clip.speech.affinity is not None]
    margins = [one.margin for one in heard if one.margin is not None]
    return {
        "clips": len(clips),
        "frames": sum(len(clip.labels) for clip in clips),
        "with_affinity": len(heard),
        "affinity": float(np.mean([one.affinity for one in heard])) if heard else None,
        "margin": float(np.mean(margins)) if margins else None,
    }


def _plain(content: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(content))
