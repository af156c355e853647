"""Design-space sweeps: points, executors, resume, Pareto front. The package can be called: `sparcade.sweep(...)`."""

from __future__ import annotations

import sys
import types
from typing import Any

from sparcade.sweep.definition import Sweep, load_sweep
from sparcade.sweep.effects import factors, is_grid, main_effects, swings
from sparcade.sweep.objectives import best_points, objectives_of, pareto_fronts
from sparcade.sweep.points import Point, points_of
from sparcade.sweep.progress import Progress, progress_line
from sparcade.sweep.rerun import point_of
from sparcade.sweep.run import SweepResult, run_sweep
from sparcade.sweep.table import pareto_front, read_sweep

__all__ = [
    "Point",
    "Progress",
    "Sweep",
    "SweepResult",
    "best_points",
    "factors",
    "is_grid",
    "load_sweep",
    "main_effects",
    "objectives_of",
    "pareto_front",
    "pareto_fronts",
    "point_of",
    "points_of",
    "progress_line",
    "read_sweep",
    "run_sweep",
    "swings",
]


class _Callable(types.ModuleType):
    """Python binds a package to its name in the parent: `sparcade.sweep` is this module, and a call is `run_sweep`."""

    def __call__(self, *args: Any, **kwargs: Any) -> SweepResult:
        return run_sweep(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
