# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The parts of the report page as HTML: one file, no script, nothing fetched; light, dark and on paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from monai_usspeech.studies.table_format import ReportCell, ReportTable

__all__ = ["html_box", "html_details", "html_facts", "html_figure", "html_list", "html_page", "html_pre",
           "html_section", "html_table"]  # fmt: skip

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5a6675; --line: #d9dfe6; --paper: #ffffff; --tint: #f4f6f9;
  --accent: #1f5a8a; --best: #e3eff8; --warn: #fff4d6; --warn-line: #d9a514; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --soft: #9ba7b4; --line: #343d48; --paper: #14191f;
  --tint: #1c232b; --accent: #7db8e8; --best: #1d3850; --warn: #3a2f10; --warn-line: #b98d1c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, nav { max-width: 76rem; margin: 0 auto; padding: 0 1.5rem; }
main { padding-bottom: 4rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.4rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; max-width: 62rem; }
.lead { color: var(--soft); font-size: 1.05rem; }
nav { margin-top: 1.25rem; font-size: .92rem; }
nav a { display: inline-block; margin: 0 1.1rem .25rem 0; }
a { color: var(--accent); text-underline-offset: .15em; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; padding: 0; }
.facts div { background: var(--tint); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem; }
.facts dt { font-size: .78rem; color: var(--soft); }
.facts dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
.box { border: 1px solid var(--line); border-left: .3rem solid var(--accent); background: var(--tint);
  border-radius: .35rem; padding: .6rem 1rem; margin: 1rem 0; }
.box.warn { background: var(--warn); border-color: var(--warn-line); }
.box p { margin: .2rem 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; font-weight: 600; padding: .6rem .85rem; caption-side: top; }
th, td { padding: .5rem .7rem; text-align: right; white-space: nowrap; vertical-align: baseline; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
thead th { white-space: normal; vertical-align: bottom;
  border-bottom: 2px solid var(--line); font-weight: 600; color: var(--soft); font-size: .85rem; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody th { font-weight: 600; }
td small { display: block; color: var(--soft); font-size: .78rem; white-space: pre; }
td.best { background: var(--best); }
.words th, .words td { text-align: left; white-space: normal; min-width: 7rem; }
.words td small { white-space: pre-line; }
details caption { position: absolute; width: 1px; height: 1px; padding: 0; overflow: hidden; clip-path: inset(50%); }
.notes { font-size: .86rem; color: var(--soft); margin: .4rem 0 1.5rem; padding-left: 1.1rem; max-width: 62rem; }
figure { margin: 1rem 0 1.75rem; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: .5rem;
  padding: .4rem; }
figcaption { font-size: .86rem; color: var(--soft); max-width: 62rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); gap: 0 1.5rem; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; padding: 0 .9rem; }
summary { cursor: pointer; padding: .5rem 0; font-weight: 600; }
pre { overflow-x: auto; background: var(--tint); border-radius: .35rem; padding: .75rem 1rem; font-size: .8rem;
  line-height: 1.45; }
footer { color: var(--soft); font-size: .86rem; margin-top: 3rem; }
@media print { :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --tint: #fff; --best: #eee;
  --warn: #fff; }
  body { font-size: 10.5pt; } nav { display: none; } h2, h3 { break-after: avoid; } pre { white-space: pre-wrap; }
  figure, tr { break-inside: avoid; } .scroll { overflow: visible; border: 0; } table { font-size: 8pt; }
  th, td { padding: .25rem .4rem; white-space: normal; } th:first-child { position: static; } }
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
$head
</header>
<nav aria-label="Sections">$links</nav>
<main>
$body
<footer>$foot</footer>
</main>
</body>
</html>
""")


def html_page(title: str, head: str, sections: Sequence[tuple[str, str]], foot: str) -> str:
    """The whole page.

    Args:
        title: plain text.
        head: HTML under the title.
        sections: heading (plain text) and HTML of each section; an empty one is left out.
        foot: plain text of the last line.
    """
    kept = [(heading, body) for heading, body in sections if body]
    links = " ".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading, _ in kept)
    body = "\n".join(html_section(heading, content) for heading, content in kept)
    return _PAGE.substitute(
        title=escape(title), style=_STYLE, head=head, links=links, body=body, foot=escape(foot)
    )  # fmt: skip


def html_section(heading: str, body: str) -> str:
    """A section that the list of sections can lead to."""
    return f'<section id="{_anchor(heading)}">\n<h2>{escape(heading)}</h2>\n{body}\n</section>'


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "section"


def html_table(table: ReportTable) -> str:
    """A table with its caption, headers for screen readers, and the notes under it."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0].text)}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in table.rows
    )
    kind = ' class="words"' if table.words else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table{kind}>\n'
        f"<caption>{escape(table.title)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
        f"</table></div>\n{html_list(table.notes, 'notes')}"
    )


def _cell(cell: ReportCell) -> str:
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    if cell.best:
        return f'<td class="best"><strong>{escape(cell.text)}</strong>{detail}</td>'
    return f"<td>{escape(cell.text)}{detail}</td>"


def html_list(lines: Iterable[str], kind: str = "") -> str:
    """Plain sentences as a list; nothing when there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{items}</ul>" if items else ""


def html_figure(png: bytes, alt: str, caption: str) -> str:
    """A PNG inside the page.

    Args:
        png: the file's bytes.
        alt: what the picture shows, for those who cannot see it.
        caption: under the picture.
    """
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def html_box(lines: Sequence[str], warn: bool = False) -> str:
    """Sentences set apart, the first in bold."""
    first, *rest = (escape(line) for line in lines)
    paragraphs = "".join(f"<p>{line}</p>" for line in rest)
    return f'<div class="box{" warn" if warn else ""}" role="note"><p><strong>{first}</strong></p>{paragraphs}</div>'


def html_facts(facts: Mapping[str, str]) -> str:
    """A row of labelled short values."""
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{entries}</dl>'


def html_details(summary: str, body: str) -> str:
    """HTML that is folded away until asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def html_pre(text: str) -> str:
    """Text as it stands: a configuration, a command."""
    return f"<pre>{escape(text)}</pre>"
