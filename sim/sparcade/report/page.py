"""The report as one self-contained HTML page: the summary and the pictures of a run."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console

from sparcade.evaluation import Evaluation
from sparcade.report.html import html_page
from sparcade.report.terminal import print_summary

_WIDTH = 100  # characters of the summary


def write_page(path: Path, evaluation: Evaluation, result: dict[str, Any], pictures: list[Path]) -> None:
    """Write the page; `pictures` are SVG files, embedded as they are."""
    shape, arch = evaluation.run.workload.shape, evaluation.run.arch
    console = Console(record=True, file=io.StringIO(), width=_WIDTH, markup=False, highlight=False)
    print_summary(console, evaluation, result, [])
    texts = (picture.read_text(encoding="utf-8") for picture in pictures)
    pictures_html = "\n".join(text[text.index("<svg") :] for text in texts)
    page = html_page(
        f"{shape.name}: {shape.policy} on {arch.name}",
        f"<pre>{escape(console.export_text())}</pre>\n{pictures_html}",
    )
    path.write_text(page, encoding="utf-8")
