"""The report of a sweep: a page, two pictures and three tables, in a folder that is replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from sparcade._files import new_folder, refuse_foreign
from sparcade.errors import SweepError
from sparcade.report.effects_figure import draw_effects
from sparcade.report.pareto_figure import draw_pareto
from sparcade.report.svg import save_png
from sparcade.report.sweep_page import sweep_page
from sparcade.report.sweep_report import SweepReport

PAGE = "report.html"
_NAMES = frozenset((PAGE, "pareto.png", "effects.png", "pareto.csv", "effects.csv", "best.csv"))
Format = Literal["html", "csv", "png"]


def check_sweep_report(folder: Path) -> None:
    """Raise a `ConfigError` now if the report could not take the place of the folder later."""
    refuse_foreign(folder, marker=PAGE, owns=_NAMES.__contains__)


def write_sweep_report(report: SweepReport, folder: Path) -> list[Path]:
    """Write all files atomically; returns them. There is no picture of what has no values."""
    figures = {"pareto.png": _pareto(report), "effects.png": draw_effects(report.effects)}
    with new_folder(folder, marker=PAGE, owns=_NAMES.__contains__) as fresh:
        page = sweep_page(report, pareto=figures["pareto.png"], effects=figures["effects.png"])
        (fresh / PAGE).write_text(page, encoding="utf-8")
        for name, figure in figures.items():
            if figure is not None:
                save_png(figure, fresh / name)
        for name, table in {"pareto": report.front, "effects": report.effects, "best": report.best}.items():
            (fresh / f"{name}.csv").write_text(_csv(table), encoding="utf-8")
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]


def write_format(report: SweepReport, kind: Format, path: Path) -> None:
    """Write one file: the page, all points as CSV, or the picture of the front."""
    pareto = None if kind == "csv" else _pareto(report)
    if kind == "csv":
        path.write_text(_csv(report.frame), encoding="utf-8")
    elif kind == "html":
        page = sweep_page(report, pareto=pareto, effects=draw_effects(report.effects))
        path.write_text(page, encoding="utf-8")
    elif pareto is not None:
        save_png(pareto, path)
    else:
        raise SweepError(
            "there is no picture of the sweep",
            where=report.name,
            expected="a point with a value of an objective",
            got=report.headline,
            remedy="see why the points failed: sparcade report FOLDER --format html",
        )


def _pareto(report: SweepReport) -> Figure | None:
    return draw_pareto(report.done, report.front, report.objectives) if report.objectives else None


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")
