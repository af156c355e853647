"""One self-contained HTML page: style, header, light and dark, tables that sort and filter, embedded figures.

Every report is made of these parts. No request leaves the page, and nothing in it depends on when or where it was
written. `html_page(title, html_parts({"Title of a part": html, ...}))` is a page with its contents on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from numbers import Integral, Real
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sparcade.report.axis import INK
from sparcade.report.svg import svg_text

#: Cells of a table on a page, at most; the rest is in the files beside it.
_MOST_CELLS = 9_000
#: A table with more rows than this has a box to filter by.
_FEW = 8
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: light-dark(#1a202c, #e2e8f0); --paper: light-dark(#fff, #171c26);
  --line: light-dark(#d5dbe5, #364153); --soft: light-dark(#f3f5f9, #212938); --pale: light-dark(#566275, #9aa8bd);
  --bad: light-dark(#b83214, #ff9b7d); }}
:root[data-theme=light] {{ color-scheme: light; }}
:root[data-theme=dark] {{ color-scheme: dark; }}
* {{ box-sizing: border-box; }}
body {{ font: 15px/1.45 sans-serif; max-width: 1280px; margin: 0 auto; padding: 1em 1em 3em; color: var(--ink);
  background: var(--paper); }}
header {{ display: flex; align-items: start; justify-content: space-between; gap: 1em; }}
h1 {{ font-size: 1.5em; margin: .3em 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15em; margin: 2em 0 .5em; }}
p, li {{ max-width: 75em; overflow-wrap: anywhere; }}
pre, code {{ font: 13px/1.3 "DejaVu Sans Mono", monospace; }}
pre {{ overflow-x: auto; }}
code {{ overflow-wrap: anywhere; user-select: all; }}
svg {{ max-width: 100%; height: auto; margin: 1em 0; }}
button, input {{ font: inherit; color: inherit; background: var(--soft); border: 1px solid var(--line);
  border-radius: 4px; padding: .25em .6em; }}
figure {{ margin: 1em 0; }}
.scroll {{ overflow-x: auto; }}
figure svg {{ min-width: 620px; margin: 0; font-family: sans-serif; }}
dd {{ margin: 0 0 .7em 1em; }}
figcaption, .note {{ color: var(--pale); font-size: .9em; }}
.bad {{ color: var(--bad); }}
table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25em .6em; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }}
th {{ white-space: nowrap; background: var(--soft); position: sticky; top: 0; }}
th button {{ all: unset; cursor: pointer; font-weight: bold; }}
section > input {{ margin: .4em 0; }}
th button:focus-visible {{ outline: 2px solid; }}
th[aria-sort=ascending] button::after {{ content: " ▲"; }}
th[aria-sort=descending] button::after {{ content: " ▼"; }}
.n {{ text-align: right; white-space: nowrap; }}
td {{ white-space: nowrap; }}
td.long {{ min-width: 22em; white-space: pre-wrap; overflow-wrap: anywhere; }}
.tall {{ max-height: 34em; overflow: auto; }}
nav {{ display: flex; flex-wrap: wrap; gap: .2em 1em; margin: .5em 0 1.5em; font-size: .9em; }}
nav a {{ color: inherit; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .6em; margin: 1em 0; }}
.tile {{ background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .6em .8em; }}
.tile b {{ display: block; font-size: 1.35em; font-weight: 600; font-variant-numeric: tabular-nums; }}
.tile span {{ display: block; color: var(--pale); font-size: .85em; overflow-wrap: anywhere; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26em), 1fr)); gap: 0 2em; }}
details {{ margin: .8em 0; }}
summary {{ cursor: pointer; }}
section > h3 {{ font-size: 1em; margin: 1.5em 0 .4em; }}
</style>
</head>
<body>
<header><h1>{title}</h1><button id="theme" type="button">light / dark</button></header>
{body}
<script>
const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
document.getElementById("theme").onclick = () =>
  root.dataset.theme = (root.dataset.theme || (dark.matches ? "dark" : "light")) == "dark" ? "light" : "dark";
const value = (row, column) => row.cells[column].textContent;
const number = text => text == "" ? NaN : Number(text.replaceAll(",", ""));
function compare(a, b, sign) {{
  if ((a == "") != (b == "")) return a == "" ? 1 : -1;
  const difference = number(a) - number(b);
  return sign * (isNaN(difference) ? a.localeCompare(b) : difference);
}}
for (const table of document.querySelectorAll("table.sorts")) {{
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.onclick = () => {{
    const sign = head.ariaSort == "ascending" ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.ariaSort = sign > 0 ? "ascending" : "descending";
    rows.sort((a, b) => compare(value(a, column), value(b, column), sign));
    table.tBodies[0].append(...rows);
  }});
  const box = table.closest("section")?.querySelector("input[type=search]");
  if (box) box.addEventListener("input", () => {{
    const words = box.value.toLowerCase().split(/\\s+/);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  }});
}}
</script>
</body>
</html>
"""


def html_page(title: str, body: str) -> str:
    """A page; `title` is text, `body` is HTML."""
    return _PAGE.format(title=escape(title), body=body)


def html_parts(parts: Mapping[str, str]) -> str:
    """Parts of a page with their titles, and links to them on top; a part without HTML is left out."""
    there = {title: html for title, html in parts.items() if html}
    names = {title: re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") for title in there}
    links = "".join(f'<a href="#{names[title]}">{escape(title)}</a>' for title in there)
    texts = (
        f'<section id="{names[title]}"><h2>{escape(title)}</h2>\n{html}</section>' for title, html in there.items()
    )
    return "\n".join((f'<nav aria-label="contents">{links}</nav>', *texts))


def html_tiles(tiles: Iterable[tuple[str, str, str]]) -> str:
    """Headline numbers: what it is, the number with its unit, and a note."""
    texts = (
        f'<div class="tile"><span>{escape(what)}</span><b>{escape(number)}</b><span>{escape(note)}</span></div>'
        for what, number, note in tiles
    )
    return f'<div class="tiles">{"".join(texts)}</div>'


def html_list(texts: Iterable[str]) -> str:
    """A list of plain texts."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def html_command(command: str) -> str:
    """A command to copy."""
    return f"<pre><code>{escape(command)}</code></pre>"


def html_table(frame: pd.DataFrame, *, titles: Mapping[str, str] | None = None, rest: str = "", most: int = 500) -> str:
    """A table that sorts by a click on a column's title, and filters when it is long.

    Numbers have thousands separators and six digits. A table of more than 9,000 cells or `most` rows is cut, and says
    so.

    Parameters
    ----------
    titles : texts for columns.
    rest : where the rows are that a long table leaves out, such as "pareto.csv".
    """
    most = min(most, max(20, _MOST_CELLS // max(1, len(frame.columns))))
    part, cut = frame.head(most), len(frame) > most
    columns = {str(name): part[name].tolist() for name in part.columns}
    heads = "".join(
        f'<th scope="col"{_kind(values)}><button type="button">{escape((titles or {}).get(name, name))}</button></th>'
        for name, values in columns.items()
    )
    rows = "\n".join(f"<tr>{''.join(map(_cell, values))}</tr>" for values in zip(*columns.values(), strict=True))
    parts = ['<input type="search" placeholder="filter rows" aria-label="filter rows">'] if len(part) > _FEW else []
    parts += (
        [f'<p class="note">The first {most:,} of {len(frame):,} rows; the rest: {escape(rest)}.</p>'] if cut else []
    )
    table = f"<table class=sorts><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"
    return f'<section>{"".join(parts)}\n<div class="scroll tall" tabindex="0">{table}</div></section>'


def html_figure(figure: Figure, name: str, caption: str) -> str:
    """A figure; its ink is that of the page, its ids begin with `name`, its lengths have two decimals."""
    svg = svg_text(figure, letters="none")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # nothing refers to them
    svg = re.sub(r"font-family: [^;]*;|( transform=\"rotate\(-0 [^)]*\)\")|(?<=\d\.\d\d)\d+", "", svg)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL).replace(INK, "currentColor")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(name)}"', 1)
    return f'<figure><div class="scroll" tabindex="0">{svg}</div><figcaption>{escape(caption)}</figcaption></figure>'


def shown(value: Any) -> str:
    """A value as text: thousands separators, six digits, nothing for a missing one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return "" if value is None or value is pd.NA else str(value)
    if isinstance(value, Integral):
        return f"{value:,}"
    return "" if value != value else f"{float(value):,.6g}"


def _kind(values: list[Any]) -> str:
    return " class=n" if any(isinstance(value, Real) for value in values) else ""


def _cell(value: Any) -> str:
    text = shown(value)
    kind = " class=long" if len(text) > 60 else _kind([value])
    return f"<td{kind}>{escape(text)}</td>"
