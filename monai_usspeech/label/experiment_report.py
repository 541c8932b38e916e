# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the experiment on strategies found, as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_usspeech.data.files import atomic_file, write_json
from monai_usspeech.handlers.figures import new_figure, save_figure
from monai_usspeech.label.experiment_numbers import summarise_strategies
from monai_usspeech.studies.table_format import ReportCell, ReportTable, table_csv, table_markdown

__all__ = ["write_strategy_report"]

_COLUMNS = 4


def write_strategy_report(
    folder: str | Path,
    results: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str],
    reference: str = "random",
    target_share: float = 0.9,
    title: str = "Which clip to label next",
) -> dict[str, Any]:
    """Write ``results.json``, ``table.md``, ``table.csv`` and ``curves.png``.

    Args:
        folder: where; it must exist.
        results, titles, reference, target_share: see
            :func:`~monai_usspeech.label.experiment_numbers.summarise_strategies`.
        title: above the table.

    Returns:
        What is in ``results.json``.
    """
    summary = {"format": 1, "synthetic": True, **summarise_strategies(results, titles, reference, target_share)}
    labels = results[0]["curves"][reference]["labels"]
    table = _table(summary, labels, title)
    for name, text in (("table.md", table_markdown(table)), ("table.csv", table_csv(table))):
        with atomic_file(Path(folder) / name, "w") as file:
            file.write(text)
    _draw(results, summary, Path(folder) / "curves.png")
    write_json(Path(folder) / "results.json", summary)
    return summary


def _table(summary: Mapping[str, Any], labels: Sequence[int], title: str) -> ReportTable:
    share, to = summary["target_share"], summary["strategies"][summary["reference"]]["title"]
    columns = (
        "strategy",
        f"mean F1, {labels[0]} to {labels[-1]} clips",
        f"less {to}",
        f"clips to {share:.0%} of the F1 with all",
        f"less {to}",
        f"F1 with {labels[-1]} clips",
    )
    rows = []
    for name, one in summary["strategies"].items():
        rows.append(
            (
                ReportCell(one["title"]),
                _shown(one["area"], 3, best=name == summary["best"]),
                _shown_difference(one["area"]["difference"], 3, name == summary["reference"]),
                _shown(one["labels"], 0),
                _shown_difference(one["labels"]["difference"], 0, name == summary["reference"]),
                _shown(one["last"], 3),
            )
        )
    full, seeds = summary["full_f1"], len(summary["seeds"])
    notes = (
        "SYNTHETIC scans; the planes are those of the phantom, and the annotator makes no mistakes.",
        summary["verdict"],
        f"F1 is the macro mean over planes of a linear probe on test frames; with all {summary['pool'][0]['clips']}"
        f" clips labelled it is {full['mean']:.3f}. In brackets: standard deviation over {seeds} seeds.",
        f"Differences are paired by seed, with the 95 % interval of Student's t; a seed changes the pretraining, the"
        f" clips labelled at the start and chance, not the scans. {len(rows) - 1} comparisons are made, none is"
        " corrected for.",
        "A seed that does not reach the aim is left out of the number of clips, and counted behind it.",
    )
    return ReportTable("strategies", title, columns, tuple(rows), notes)


def _shown(spread: Mapping[str, Any], digits: int, best: bool = False) -> ReportCell:
    missing = sum(value is None for value in spread["by_seed"])
    details = [] if spread["sd"] is None else [f"{spread['sd']:.{digits}f}"]
    if missing:
        details.append(f"not reached by {missing} of {len(spread['by_seed'])}")
    text = "not reached" if spread["mean"] is None else f"{spread['mean']:.{digits}f}"
    return ReportCell(text, "; ".join(details) if spread["mean"] is not None else "", best)


def _shown_difference(difference: Mapping[str, Any], digits: int, is_reference: bool) -> ReportCell:
    if is_reference or difference["mean"] is None:
        return ReportCell("-")
    text = f"{difference['mean']:+.{digits}f}"
    if difference["interval"] is None:
        return ReportCell(text, "one seed")
    low, high = difference["interval"]
    word = "" if difference["resolved"] else ", not resolved"
    return ReportCell(text, f"{low:+.{digits}f} to {high:+.{digits}f}{word}")


def _draw(results: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], path: Path) -> None:
    """A panel for each strategy: its mean curve with the spread over seeds, that of the reference in grey."""
    names = list(summary["strategies"])
    lines = -(-len(names) // _COLUMNS)
    figure = new_figure(3.1 * min(_COLUMNS, len(names)), 2.6 * lines + 0.4)
    curves = {name: np.array([one["curves"][name]["f1"] for one in results]) for name in names}
    labels = results[0]["curves"][names[0]]["labels"]
    aim = summary["target_share"] * summary["full_f1"]["mean"]
    low = min(float(rows.min()) for rows in curves.values())
    high = max(aim, *(float(rows.max()) for rows in curves.values()))
    reference = curves[summary["reference"]].mean(axis=0)
    for place, name in enumerate(names, start=1):
        axes, rows = figure.add_subplot(lines, min(_COLUMNS, len(names)), place), curves[name]
        mean = rows.mean(axis=0)
        axes.axhline(aim, color="#8a8a8a", linestyle=":", linewidth=1)
        axes.plot(labels, reference, color="#8a8a8a", linewidth=1.2, linestyle="--")
        axes.plot(labels, mean, color="#1f5a8a", linewidth=1.6)
        if len(rows) > 1:
            spread = rows.std(axis=0, ddof=1)
            axes.fill_between(labels, mean - spread, mean + spread, color="#1f5a8a", alpha=0.2, linewidth=0)
        axes.set_ylim(low - 0.02, high + 0.03)
        axes.set_title(summary["strategies"][name]["title"], fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if place > len(names) - _COLUMNS:
            axes.set_xlabel("labelled clips", fontsize=8)
        if (place - 1) % _COLUMNS == 0:
            axes.set_ylabel("macro F1", fontsize=8)
    to = summary["strategies"][summary["reference"]]["title"]
    figure.suptitle(
        f"SYNTHETIC scans: mean over {len(results)} seeds, band one standard deviation; dashed: {to}; dotted: the aim",
        fontsize=9,
    )
    save_figure(figure, path)
