"""The report as one self-contained HTML page: the summary and the pictures of a run."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console

from sparcade.evaluation import Evaluation
from sparcade.report.terminal import print_summary

_WIDTH = 100  # characters of the summary
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px sans-serif; max-width: 1250px; margin: 2em auto; padding: 0 1em; color: #1a202c; background: #fff; }}
pre {{ font: 13px/1.25 "DejaVu Sans Mono", monospace; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; margin: 1em 0; }}
</style>
<h1>{title}</h1>
<pre>{summary}</pre>
{pictures}
</html>
"""


def write_page(path: Path, evaluation: Evaluation, result: dict[str, Any], pictures: list[Path]) -> None:
    """Write the page; `pictures` are SVG files, embedded as they are."""
    shape, arch = evaluation.run.workload.shape, evaluation.run.arch
    console = Console(record=True, file=io.StringIO(), width=_WIDTH, markup=False, highlight=False)
    print_summary(console, evaluation, result, [])
    texts = (picture.read_text(encoding="utf-8") for picture in pictures)
    page = _PAGE.format(
        title=escape(f"{shape.name}: {shape.policy} on {arch.name}"),
        summary=escape(console.export_text()),
        pictures="\n".join(text[text.index("<svg") :] for text in texts),
    )
    path.write_text(page, encoding="utf-8")
