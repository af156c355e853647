"""The folder of a sweep: synth.csv, synth.md and a picture, replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sparcade._files import new_folder, refuse_foreign
from sparcade_rtl.synth.figure import draw_synthesis
from sparcade_rtl.synth.page import page_text
from sparcade_rtl.synth.sweep import Row, Sweep
from sparcade_rtl.synth.table import csv_text

_TABLE, _PAGE, _SVG, _PNG = "synth.csv", "synth.md", "synth.svg", "synth.png"
_NAMES = frozenset((_TABLE, _PAGE, _SVG, _PNG))


def check_folder(folder: Path) -> None:
    """Raise a `ConfigError` now if the report could not take the place of the folder later."""
    refuse_foreign(folder, marker=_TABLE, owns=_NAMES.__contains__)


def write_report(folder: Path, sweep: Sweep, rows: Iterable[Row], command: str) -> None:
    """Write the report of a sweep atomically; `command` says how it was made."""
    rows = tuple(rows)
    with new_folder(folder, marker=_TABLE, owns=_NAMES.__contains__) as fresh:
        (fresh / _TABLE).write_text(csv_text(rows), encoding="utf-8")
        (fresh / _PAGE).write_text(page_text(sweep, rows, command), encoding="utf-8")
        draw_synthesis(rows, fresh / _SVG, fresh / _PNG)
