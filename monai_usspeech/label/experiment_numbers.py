# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From learning curves to numbers: how high they are, when they reach an aim, how sure their differences are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.seed_interval import contains, seed_difference

__all__ = ["curve_area", "labels_to_reach", "summarise_strategies"]


def curve_area(labels: Sequence[int], scores: Sequence[float]) -> float:
    """Mean height of a learning curve between its ends: the area under its straight lines over its width."""
    x, y = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def labels_to_reach(labels: Sequence[int], scores: Sequence[float], target: float) -> float:
    """Number of labels at which a curve's straight lines first reach a target; NaN when they never do.

    A curve that begins above the target counts as its first number.
    """
    if scores[0] >= target:
        return float(labels[0])
    for place in range(1, len(scores)):
        low, high = scores[place - 1], scores[place]
        if high >= target:
            step = labels[place] - labels[place - 1]
            return float(labels[place - 1] + step * (target - low) / (high - low))
    return float("nan")


def summarise_strategies(
    results: Sequence[Mapping[str, Any]], titles: Mapping[str, str], reference: str, target_share: float
) -> dict[str, Any]:
    """Numbers of all strategies over seeds, and a verdict.

    Args:
        results: of :func:`~monai_usspeech.label.experiment.run_seed`, one a seed.
        titles: of the strategies.
        reference: the strategy that the others are compared with, seed by seed.
        target_share: the aim is this share of a seed's F1 with all labels.

    Returns:
        ``strategies`` by name: ``area``, ``labels`` (to reach the aim) and ``last`` (F1 at the end), each with mean,
        standard deviation and values of the seeds, and ``difference`` of the first two to the reference; ``best``, by
        mean area; ``verdict``, in words. A number that is not known is null.

    Raises:
        InputError: when a seed lacks a strategy.
    """
    for one in results:
        missing = sorted(set(titles) - set(one["curves"]))
        if missing:
            raise InputError(f"seed {one['seed']}: has no curve of {missing[0]}; compute the seed anew.")
    numbers = {name: _of_seeds(name, results, target_share) for name in titles}
    found: dict[str, Any] = {}
    for name, title in titles.items():
        found[name] = {"title": title}
        for key, values in numbers[name].items():
            found[name][key] = _spread(values)
            if key != "last":
                found[name][key]["difference"] = _difference(values, numbers[reference][key])
    best = max(titles, key=lambda name: found[name]["area"]["mean"])
    equals = [
        name
        for name in titles
        if name != best and not _difference(numbers[best]["area"], numbers[name]["area"])["resolved"]
    ]
    return {
        "reference": reference,
        "target_share": target_share,
        "seeds": [one["seed"] for one in results],
        "full_f1": _spread(np.array([one["full_f1"] for one in results])),
        "pool": [one["pool"] for one in results],
        "strategies": found,
        "best": best,
        "not_resolved_from_best": equals,
        "verdict": _verdict(found, best, reference, equals),
    }


def _of_seeds(name: str, results: Sequence[Mapping[str, Any]], share: float) -> dict[str, np.ndarray]:
    """``area``, ``labels`` and ``last`` of a strategy, float64 ``[seeds]``."""
    curves = [(one["curves"][name]["labels"], one["curves"][name]["f1"], share * one["full_f1"]) for one in results]
    return {
        "area": np.array([curve_area(labels, f1) for labels, f1, _ in curves]),
        "labels": np.array([labels_to_reach(*curve) for curve in curves]),
        "last": np.array([f1[-1] for _, f1, _ in curves]),
    }


def _spread(values: np.ndarray) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    return {
        "mean": float(known.mean()) if len(known) else None,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "by_seed": [float(value) if np.isfinite(value) else None for value in values],
    }


def _difference(values: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    found = seed_difference(values[None], reference[None])
    return {
        "mean": None if not found.n_seeds else found.mean,
        "interval": None if found.interval is None else list(found.interval),
        "resolved": found.interval is not None and not contains(found.interval),
        "seeds": found.n_seeds,
    }


def _verdict(found: Mapping[str, Any], best: str, reference: str, equals: Sequence[str]) -> str:
    of_best, to = found[best], found[reference]["title"]
    said = f"Highest mean F1 over the labels: {of_best['title']} ({of_best['area']['mean']:.3f})."
    if best == reference:
        return f"{said} No strategy is above {to}."
    difference = of_best["area"]["difference"]
    if difference["interval"] is None:
        said += f" That is {difference['mean']:+.3f} to {to}, of one seed: not resolved."
    else:
        low, high = difference["interval"]
        word = "resolved" if difference["resolved"] else "not resolved"
        said += f" Its difference to {to} is {difference['mean']:+.3f} [{low:+.3f}, {high:+.3f}]: {word}."
    if equals:
        said += f" Not resolved from it: {', '.join(found[name]['title'] for name in equals)}."
    return said
