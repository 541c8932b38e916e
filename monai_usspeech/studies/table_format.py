# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A table as plain text, and as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ReportCell", "ReportTable", "rows_csv", "table_csv", "table_markdown"]


@dataclass(frozen=True)
class ReportCell:
    """One cell: what is read first, what stands small beside it, and whether it is the best of its column.

    ``detail`` may have several lines; in Markdown and CSV they stand behind one another.
    """

    text: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class ReportTable:
    """A table.

    Attributes:
        key: the name of its files.
        title: above it.
        columns: the headings; the first column names the rows.
        rows: cells, as many as columns.
        notes: sentences below it.
        words: whether the cells are words, to be set left, not numbers.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[ReportCell, ...], ...]
    notes: tuple[str, ...] = ()
    words: bool = False


def table_markdown(table: ReportTable) -> str:
    """The table as Markdown, with its title and notes."""

    def text(cell: ReportCell) -> str:
        shown = f"**{cell.text}**" if cell.best else cell.text
        return _cell_escape(f"{shown} ({_one_line(cell.detail)})" if cell.detail else shown)

    lines = [f"## {table.title}", "", "| " + " | ".join(map(_cell_escape, table.columns)) + " |"]
    lines.append("|---|" + "---:|" * (len(table.columns) - 1))
    lines.extend("| " + " | ".join(text(cell) for cell in row) + " |" for row in table.rows)
    return "\n".join([*lines, "", *(f"{note}\n" for note in table.notes)])


def table_csv(table: ReportTable) -> str:
    """The table as CSV, cells as they are read."""
    rows = [[f"{c.text} ({_one_line(c.detail)})" if c.detail else c.text for c in row] for row in table.rows]
    return rows_csv([table.columns, *rows])


def rows_csv(rows: Sequence[Sequence[object]]) -> str:
    """Rows as CSV text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _one_line(detail: str) -> str:
    return detail.replace("\n", "; ")


def _cell_escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
