# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What became of a study's hypotheses: holds, fails, not resolved, or not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monai_usspeech.studies.analysis import TaskAnalysis
from monai_usspeech.studies.collect import CollectedStudy
from monai_usspeech.studies.hypotheses import StudyHypothesis
from monai_usspeech.studies.reported_metrics import ReportedMetric
from monai_usspeech.studies.seed_interval import SeedDifference, contains, seed_difference

__all__ = ["HypothesisVerdict", "judge_hypotheses", "verdict"]

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class HypothesisVerdict:
    """A hypothesis with what was found.

    Attributes:
        hypothesis: what was claimed.
        word: ``"holds"``, ``"fails"``, ``"not resolved"`` or ``"not run"``.
        reason: why it is not resolved or not run; empty otherwise.
        metric: how its numbers are shown; None when it has none.
        seeds: better minus worse, turned round where smaller is better, with the interval over seeds.
        subjects: the interval of the same difference over test subjects.
    """

    hypothesis: StudyHypothesis
    word: str
    reason: str = ""
    metric: ReportedMetric | None = None
    seeds: SeedDifference = SeedDifference(float("nan"), None, 0)
    subjects: Interval = None


def verdict(seeds: Interval, subjects: Interval, margin: float = 0.0) -> tuple[str, str]:
    """The word that two intervals of a difference allow, and the reason where they decide nothing.

    A hypothesis holds when both intervals lie above the margin, and fails when both lie below it.

    Args:
        seeds: over seeds.
        subjects: over test subjects.
        margin: what the difference has to exceed.
    """
    if seeds is None:
        return "not resolved", "fewer than 2 seeds"
    if subjects is None:
        return "not resolved", "no interval over test subjects"
    both = {"seeds": seeds, "test subjects": subjects}
    if all(low > margin for low, _ in both.values()):
        return "holds", ""
    if all(high < margin for _, high in both.values()):
        return "fails", ""
    what = "the margin" if margin else "0"
    open_ones = [name for name, interval in both.items() if contains(interval, margin)]
    if not open_ones:
        return "not resolved", f"the two intervals lie on different sides of {what}"
    plural = len(open_ones) > 1
    said = " and ".join(open_ones)
    return "not resolved", f"the interval{'s' if plural else ''} over {said} contain{'' if plural else 's'} {what}"


def judge_hypotheses(study: CollectedStudy, analyses: Mapping[str, TaskAnalysis]) -> list[HypothesisVerdict]:
    """The verdicts on the hypotheses in ``study.json``, in their order.

    While runs of either method are missing the verdict is left open, whatever the others say: which runs are there may
    depend on what they found.

    Args:
        study: the study.
        analyses: its tasks by key.
    """
    entries = study.plan.get("hypotheses") or {}
    return [_judge(StudyHypothesis(**{**entry, "name": name}), study, analyses) for name, entry in entries.items()]


def _judge(claim: StudyHypothesis, study: CollectedStudy, analyses: Mapping[str, TaskAnalysis]) -> HypothesisVerdict:
    task = analyses.get(claim.task)
    if task is None:
        return HypothesisVerdict(claim, "not run", f"the task {claim.task} takes no part")
    absent = next((method for method in (claim.better, claim.worse) if method not in task.done), None)
    if absent is not None:
        return HypothesisVerdict(claim, "not run", f"{absent} takes no part")
    runs = [task.done[method] for method in (claim.better, claim.worse)]
    missing, planned = sum(all_ - done for done, all_ in runs), sum(all_ for _, all_ in runs)
    metric = next((metric for metric in task.metrics if metric.key == claim.metric), None)
    if metric is None and missing < planned:
        return HypothesisVerdict(claim, "not resolved", f"no run has measured {claim.metric}")
    if metric is None or missing == planned or not all(done for done, _ in runs):
        return HypothesisVerdict(claim, "not resolved", f"{missing} of {planned} runs are missing", metric)
    better, worse = (claim.better, claim.worse) if metric.better == "up" else (claim.worse, claim.better)
    seeds = seed_difference(task.values[better][metric.key], task.values[worse][metric.key])
    subjects = task.subject_difference(better, worse).get(metric.key)
    word, reason = verdict(seeds.interval, subjects, claim.margin)
    if missing:
        word, reason = "not resolved", f"{missing} of {planned} runs are missing"
    elif not np.isfinite(seeds.mean):
        reason = "no pair of runs with a score"
    return HypothesisVerdict(claim, word, reason, metric, seeds, subjects)
