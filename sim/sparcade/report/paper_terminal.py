"""The summary of `sparcade paper`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sparcade.paper.comparison import Kind, counts, digits
from sparcade.paper.page import Page, told


def print_paper(console: Console, page: Page, files: Sequence[Path]) -> None:
    """Counts of the classes, the fixed checks, and where the page is."""
    found = counts(page.rows)
    classes = Table("class", "numbers")
    classes.columns[1].justify = "right"
    for kind in Kind:
        if found[kind]:
            classes.add_row(kind.value, f"{found[kind]:,}")
    console.print(classes)
    checks = Table("fixed check", "unit", "target", "ours", "ratio", "tolerance", "holds")
    for row in page.checks:
        share = "" if row.ratio is None else f"{row.ratio:.4f}"
        tolerance = f"{100 * (row.tolerance or 0):g} %"
        checks.add_row(row.name, row.unit, digits(row.paper), digits(row.ours), share, tolerance, told(row.holds))
    console.print(checks)
    if page.left_out:
        console.print(f"quick: {page.left_out} were left out")
    for path in files:
        if path.suffix in (".md", ".html"):
            console.print(str(path))
