"""The report of a sweep: a page, two pictures and three tables, in a folder that is replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sparcade._files import new_folder, refuse_foreign
from sparcade.report.effects_figure import draw_effects
from sparcade.report.formats import frame_records
from sparcade.report.pareto_figure import draw_pareto
from sparcade.report.svg import save_png
from sparcade.report.sweep_page import sweep_page
from sparcade.report.sweep_report import SweepReport

PAGE = "report.html"
_NAMES = frozenset((PAGE, "pareto.png", "effects.png", "pareto.csv", "effects.csv", "best.csv"))


def check_sweep_report(folder: Path) -> None:
    """Raise a `ConfigError` now if the report could not take the place of the folder later."""
    refuse_foreign(folder, marker=PAGE, owns=_NAMES.__contains__)


def write_sweep_report(report: SweepReport, folder: Path) -> list[Path]:
    """Write all files atomically; returns them. There is no picture of what has no values."""
    figures = {"pareto.png": SweepPages(report).picture(), "effects.png": draw_effects(report.effects)}
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


class SweepPages:
    """The report of a sweep as `formats` knows it."""

    def __init__(self, report: SweepReport) -> None:
        self.report = report

    def page(self) -> str:
        """The page."""
        return sweep_page(self.report, pareto=self.picture(), effects=draw_effects(self.report.effects))

    def table(self) -> pd.DataFrame:
        """All points."""
        return self.report.frame

    def values(self) -> list[dict[str, Any]]:
        """All points."""
        return frame_records(self.report.frame)

    def brief(self) -> dict[str, pd.DataFrame]:
        """Best points and the front."""
        report = self.report
        if not report.objectives:
            return {f"Sweep {report.name}: {report.headline}": report.failed[["key", "error"]]}
        best = report.columns(report.best, "command")
        best.insert(0, "best", report.best["best"])
        return {
            f"Sweep {report.name}: {report.headline}": best,
            "Pareto front": report.columns(report.front),
        }

    def picture(self) -> Figure | None:
        """The front."""
        report = self.report
        return draw_pareto(report.done, report.front, report.objectives) if report.objectives else None


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")
