"""The page: counts of the classes, the fixed checks, then each table with its picture; as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from sparcade.paper.comparison import MEANINGS, Kind, Row, Table, counts, digits
from sparcade.report.html import html_figure, html_page, html_table
from sparcade.version import MODEL_VERSION, PACKAGE_VERSION

TITLE = "Sparcade beside the paper"
_ABOUT = (
    "Every number that SpAtten (Wang, Zhang, Han, HPCA 2021, arXiv 2012.09852v3) printed, drew or implies, beside "
    "that of our own runs. Each is in one class; what we could not compare stands here too."
)
#: What applies to more than one table (uarch.md 7 and 8).
TRAPS = (
    "**No latency is printed per benchmark.** The targets are implied: GPU time over speedup. One benchmark, "
    "gpt2-medium-wikitext2, has a released schedule; the seven other GPT-2 sets and all of BERT have none, so their "
    "token, head and bit choices are ours (docs/workloads.md). None was fitted to a latency.",
    "**Speedups over GPU and CPU rest on the paper's own measurements**, 2020 frameworks far above a roofline. They "
    "are inputs here, not results.",
    "**The reductions of DRAM mix a baseline of 32-bit words with pruning**, count K and V only, and for GPT-2 only "
    "generation; the prompt is not timed in the paper, nor here.",
    "**TFLOPS count executed operations in Fig. 18 and dense-equivalent ones in Table III**: its 360 GOP/s exceed the "
    "256 GOP/s of the hardware; A3 is credited with one operation per multiplier, SpAtten with two.",
    "**GPT-2 is not bound by DRAM**, although the paper calls it so: 0.43 TFLOPS at 2.1 op/B are 40 % of the "
    "bandwidth. In our model local V top-k bounds it, as it does in the authors' own latency model.",
    "**What was not published cannot be reproduced**: fine-tuned weights, sentence lengths, bits and schedules per "
    "benchmark, the application of Fig. 19, over what the power is averaged.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page shows."""

    tables: Sequence[Table]
    checks: Sequence[Row]
    left_out: str = ""  #: by --quick

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [row for table in self.tables for row in table.rows]


def markdown(page: Page) -> str:
    """The page as Markdown, beside the files it refers to."""
    parts = [f"# {TITLE}", _ABOUT]
    if page.left_out:
        parts.append(f"**Quick: {page.left_out} were left out.**")
    parts.append(
        f"Written by `sparcade paper{' --quick' if page.left_out else ''}`, sparcade {PACKAGE_VERSION}, "
        f"model {MODEL_VERSION}."
    )
    parts += ["## Classes", _markdown_table(_class_frame(page)), "## Fixed checks"]
    parts += [_markdown_table(_check_frame(page.checks)), "## Read this first", _bullets(TRAPS)]
    for table in page.tables:
        parts += [f"## {table.title}", *table.notes, _class_line(table)]
        shown, hidden = _split(table.rows)
        if shown:
            parts.append(_markdown_table(_frame(shown)))
        if hidden:
            parts.append(_bullets(hidden))
        if table.draw is not None:
            parts.append(f"![{table.title}]({table.key}.svg)")
        parts.append(f"All rows: [{table.key}.csv]({table.key}.csv).")
    return "\n\n".join(part for part in parts if part) + "\n"


def html(page: Page, figures: dict[str, Figure]) -> str:
    """The page in one file."""
    parts = [f"<p>{escape(_ABOUT)}</p>"]
    if page.left_out:
        parts.append(f'<p class="bad">Quick: {escape(page.left_out)} were left out.</p>')
    parts += ["<h2>Classes</h2>", html_table(_class_frame(page)), "<h2>Fixed checks</h2>"]
    parts += [html_table(_check_frame(page.checks)), "<h2>Read this first</h2>", _html_bullets(TRAPS)]
    for table in page.tables:
        parts += [f"<h2>{escape(table.title)}</h2>", *(f"<p>{escape(note)}</p>" for note in table.notes)]
        parts.append(f'<p class="note">{escape(_class_line(table))}</p>')
        if table.key in figures:
            parts.append(html_figure(figures[table.key], table.key, table.title))
        shown, hidden = _split(table.rows)
        if shown:
            parts.append(html_table(_frame(shown), rest=f"{table.key}.csv"))
        if hidden:
            parts.append(_html_bullets(hidden))
    parts.append(
        f'<p class="note">sparcade {PACKAGE_VERSION}, model {MODEL_VERSION}. All rows of a table: its CSV file.</p>'
    )
    return html_page(TITLE, "\n".join(parts))


def _split(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows to show, and a line for each reason why others have nothing to show."""
    shown = [row for row in rows if row.ours is not None]
    hidden: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.ours is None:
            reason = MEANINGS[row.kind] if row.kind is Kind.LEFT_OUT else row.comment
            hidden[row.kind.value, reason] = hidden.get((row.kind.value, reason), 0) + 1
    lines = [f"{count} more, {kind}: {reason}" for (kind, reason), count in hidden.items()]
    return shown, lines


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    ranged = any(row.low is not None for row in rows)
    records = []
    for before, row in zip([None, *rows], rows, strict=False):
        record = {"number": row.name, "unit": row.unit, "paper": digits(row.paper), "ours": digits(row.ours)}
        if ranged:
            record["range"] = "" if row.low is None else f"{digits(row.low)} to {digits(row.high)}"
        record["ratio"] = "" if row.ratio is None else f"{row.ratio:.3f}"
        record["class"] = _class(row)
        record["comment"] = "as above" if before and row.comment and row.comment == before.comment else row.comment
        records.append(record)
    return pd.DataFrame(records)


def _class(row: Row) -> str:
    if not row.counted:
        return f"({row.kind.value})" if row.kind in (Kind.REPRODUCED, Kind.DIFFERS, Kind.CALIBRATED) else ""
    within = f" ({row.tolerance:.3g})" if row.tolerance is not None and row.kind is Kind.REPRODUCED else ""
    return f"{row.kind.value}{within}"


def _class_line(table: Table) -> str:
    found = {kind: count for kind, count in counts(table.rows).items() if count}
    return "; ".join(f"{kind.value}: {count}" for kind, count in found.items()) + ("." if found else "")


def _class_frame(page: Page) -> pd.DataFrame:
    found = counts(page.rows)
    shown = [kind for kind in Kind if found[kind] or kind is not Kind.LEFT_OUT]
    records = [{"class": kind.value, "numbers": found[kind], "means": MEANINGS[kind]} for kind in shown]
    total = {"class": "all", "numbers": sum(found.values()), "means": "a class in brackets in a table is not counted"}
    return pd.DataFrame([*records, total])


def _check_frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "check": row.name,
                "unit": row.unit,
                "target": digits(row.paper),
                "ours": digits(row.ours),
                "ratio": "" if row.ratio is None else f"{row.ratio:.4f}",
                "tolerance": f"{100 * (row.tolerance or 0):g} %",
                "holds": told(row.holds),
            }
            for row in rows
        ]
    )


def told(holds: bool | None) -> str:
    """The result of a check as a word."""
    return "left out" if holds is None else "yes" if holds else "no"


def _markdown_table(frame: pd.DataFrame) -> str:
    rows = [[str(name) for name in frame.columns], *frame.astype(str).to_numpy().tolist()]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(frame.columns), *lines[1:]])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _html_bullets(lines: Sequence[str]) -> str:
    items = []
    for line in lines:
        strong, mark, rest = line.removeprefix("**").partition("**") if line.startswith("**") else ("", "", line)
        items.append(f"<li>{f'<b>{escape(strong)}</b>' if mark else ''}{escape(rest)}</li>")
    return f"<ul>{''.join(items)}</ul>"
