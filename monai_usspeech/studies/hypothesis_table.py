# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The table of a study's hypotheses: for the page, as numbers, and for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from monai_usspeech.studies.collect import CollectedStudy
from monai_usspeech.studies.table_format import ReportCell, ReportTable, rows_csv
from monai_usspeech.studies.table_notes import task_title
from monai_usspeech.studies.verdicts import HypothesisVerdict

__all__ = ["hypothesis_csv", "hypothesis_lines", "hypothesis_table"]

_COLUMNS = ("Hypothesis", "Statement", "Compared", "Difference", "Over seeds", "Over test subjects", "Verdict")
_WIDTH = 100  # of a line in the terminal


def hypothesis_table(study: CollectedStudy, verdicts: Sequence[HypothesisVerdict]) -> ReportTable | None:
    """Statement, difference, its two intervals, and the verdict, in the order written; None without hypotheses."""
    if not verdicts:
        return None
    since = str(study.plan.get("registered") or "")
    notes = [
        "Written down" + (f" on {since}" if since else "") + ", before there was any result.",
        "Difference: mean over seeds of the mean over folds, better minus worse; where smaller values are better it is"
        " turned round, so that a positive one always speaks for the hypothesis. Percent metrics are in percentage"
        " points.",
        "Over seeds: 95 % interval (Student's t) of the paired differences, folds averaged first. Over test subjects:"
        " 95 % interval of the difference of the pooled scores, subjects drawn with replacement.",
        "Holds: both intervals lie above the margin (0 where none is given). Fails: both lie below it. Not resolved:"
        " anything else, and while runs are missing. The intervals are not corrected for the number of hypotheses.",
    ]
    rows = tuple(_row(study, found) for found in verdicts)
    return ReportTable("hypotheses", "Hypotheses", _COLUMNS, rows, tuple(notes), words=True)


def _row(study: CollectedStudy, found: HypothesisVerdict) -> tuple[ReportCell, ...]:
    claim, metric = found.hypothesis, found.metric
    better, worse = study.title(claim.better), study.title(claim.worse)
    task = task_title(study, claim.task) if claim.task in study.tasks else claim.task
    margin = f"\nmargin {metric.show(claim.margin) if metric else claim.margin}" if claim.margin else ""
    where = f"{task}, {metric.heading if metric else claim.metric}"
    difference, over_seeds, over_subjects = "–", "–", "–"
    if metric is not None and np.isfinite(found.seeds.mean):
        difference = metric.show(found.seeds.mean, sign=True)
        over_seeds, over_subjects = (
            "–" if ends is None else f"[{metric.show(ends[0], True)}, {metric.show(ends[1], True)}]"
            for ends in (found.seeds.interval, found.subjects)
        )
    seeds = f"{found.seeds.n_seeds} seed{'' if found.seeds.n_seeds == 1 else 's'}" if found.seeds.n_seeds else ""
    return (
        ReportCell(claim.name),
        ReportCell(claim.statement),
        ReportCell(f"{better} against {worse}", where + margin),
        ReportCell(difference),
        ReportCell(over_seeds, seeds),
        ReportCell(over_subjects),
        ReportCell(found.word, found.reason, found.word == "holds"),
    )


def hypothesis_csv(verdicts: Sequence[HypothesisVerdict]) -> str:
    """Every number in full precision, one hypothesis a row; empty: undefined."""
    head = ("hypothesis,statement,task,metric,better,worse,margin,difference,seeds,seed_low,seed_high,subject_low,"
            "subject_high,verdict,reason")  # fmt: skip
    rows: list[list[object]] = [list(head.split(","))]
    for found in verdicts:
        claim, seeds = found.hypothesis, found.seeds
        numbers = [seeds.mean, seeds.n_seeds, *(seeds.interval or ("", "")), *(found.subjects or ("", ""))]
        shown = ["" if isinstance(n, float) and not np.isfinite(n) else n for n in numbers]
        rows.append([claim.name, claim.statement, claim.task, claim.metric, claim.better, claim.worse, claim.margin,
                     *shown, found.word, found.reason])  # fmt: skip
    return rows_csv(rows)


def hypothesis_lines(table: ReportTable) -> str:
    """The table for a terminal: of each hypothesis its verdict and statement, what was compared, and the numbers."""
    wide = max(len(row[0].text) for row in table.rows)
    verdict_wide = max(len(row[-1].text) for row in table.rows)
    lines = [f"{table.title}:"]
    for name, statement, compared, difference, seeds, subjects, word in table.rows:
        indent = " " * (wide + verdict_wide + 6)
        head = f"  {name.text:{wide}}  {word.text:{verdict_wide}}  "
        lines += textwrap.wrap(statement.text, _WIDTH, initial_indent=head, subsequent_indent=indent)
        lines.append(f"{indent}{compared.text}: " + compared.detail.replace("\n", ", "))
        if difference.text != "–":
            lines.append(f"{indent}{difference.text}; over seeds {seeds.text}, over test subjects {subjects.text}")
        if word.detail:
            lines.append(f"{indent}({word.detail})")
    return "\n".join(lines)
