"""What a sweep's folder says: `SweepReport`, the tables that its page, pictures and summary show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sparcade.errors import SparcadeError, SweepError
from sparcade.sweep.definition import Sweep
from sparcade.sweep.effects import factors, is_grid, main_effects, swings
from sparcade.sweep.objectives import best_points, objectives_of, pareto_fronts
from sparcade.sweep.rerun import point_of
from sparcade.sweep.scoring import Direction
from sparcade.sweep.table import read_definition, read_sweep, unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """The results of a sweep, as tables."""

    name: str  #: of the folder
    sweep: Sweep
    frame: pd.DataFrame  #: as `read_sweep` gives it
    missing: int  #: points without a result yet
    skipped: int  #: points that another beats in every objective, not computed
    objectives: dict[str, Direction]
    factors: list[str]  #: what varies
    grid: bool  #: whether the finished points are a full grid (`is_grid`)
    front: pd.DataFrame  #: of each workload (`pareto_fronts`)
    best: pd.DataFrame  #: `best_points`, with the column `command`
    effects: pd.DataFrame  #: `main_effects` of the objectives
    swings: pd.DataFrame  #: of the effects

    @property
    def done(self) -> pd.DataFrame:
        """Finished points."""
        return self.frame[self.frame["status"] == "done"]

    @property
    def failed(self) -> pd.DataFrame:
        """Points that failed, with their error."""
        return self.frame[self.frame["status"] == "failed"]

    @property
    def headline(self) -> str:
        """How many points there are of each status."""
        total = len(self.frame) + self.missing + self.skipped
        others = {"failed": len(self.failed), "missing": self.missing, "skipped (dominated)": self.skipped}
        parts = [f"{count:,} {status}" for status, count in others.items() if count]
        return ", ".join([f"{len(self.done):,} of {total:,} points done", *parts])

    def columns(self, table: pd.DataFrame, *more: str) -> pd.DataFrame:
        """A table's columns that matter: what varies, the objectives, and those named."""
        named = [name for name in (*self.objectives, *more) if name not in self.factors]
        return table[[*self.factors, *dict.fromkeys(named)]]


def read_report(folder: Path) -> SweepReport:
    """Read and analyse a sweep's folder.

    Raises
    ------
    ConfigError
        When the folder holds no sweep.
    SweepError
        When no point of it is finished.
    """
    sweep, frame = read_definition(folder), read_sweep(folder)
    if frame.empty:
        raise SweepError(
            "no point of the sweep is finished",
            where=str(folder),
            expected="results of this version of the model",
            got="none",
            remedy="run 'sparcade sweep' first; a new version of the model computes all points again",
        )
    missing, skipped = unfinished(folder)
    objectives = objectives_of(sweep, frame)
    best = best_points(frame, objectives)
    best["command"] = pd.array([_command(sweep, row) for row in best.to_dict("records")], dtype="string")
    effects = main_effects(frame, list(objectives))
    return SweepReport(
        name=folder.resolve().name,
        sweep=sweep,
        frame=frame,
        missing=missing,
        skipped=skipped,
        objectives=objectives,
        factors=factors(frame),
        grid=is_grid(frame),
        front=pareto_fronts(frame, objectives),
        best=best,
        effects=effects,
        swings=swings(effects),
    )


def _command(sweep: Sweep, row: Mapping[Any, Any]) -> str:
    """The command of a point; a comment where its files are elsewhere or changed."""
    try:
        return point_of(sweep, row).command
    except SparcadeError as error:
        return f"# {error.what} ({error.got}); {error.remedy}"
