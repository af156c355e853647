"""What a sweep is after: its objectives, the Pareto fronts in them, and the best points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from sparcade.sweep.definition import Sweep
from sparcade.sweep.scoring import Direction
from sparcade.sweep.table import pareto_front

#: Of a sweep that states none.
DEFAULT_OBJECTIVES: dict[str, Direction] = {
    "cycles": "min",
    "energy_total_joules": "min",
    "bytes_moved": "min",
    "output_cosine": "max",
}
#: The point of a front that is nearest to the best of every objective at once.
COMPROMISE = "compromise"


def objectives_of(sweep: Sweep, frame: pd.DataFrame) -> dict[str, Direction]:
    """The objectives of a sweep, or the default ones; those that no point has a value of are left out."""
    return {
        name: direction
        for name, direction in (sweep.objectives or DEFAULT_OBJECTIVES).items()
        if frame[name].notna().any()
    }


def pareto_fronts(frame: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Rows that no other row of the same workload beats (`pareto_front`), in the order of the frame.

    Cycles and energies of different workloads do not compete: each workload has a front of its own, in the objectives
    that it has values of (a workload without its trace has no output error).
    """
    fronts = [pareto_front(group, present) for group, present in _groups(frame, objectives)]
    return pd.concat(fronts).sort_index() if fronts else frame.head(0)


def best_points(frame: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """For each workload the best row in each objective, and the compromise.

    Ties go to the better row in the other objectives, in their order, then to the earlier one. The compromise is the
    row of the front with the least Euclidean distance to the ideal point, after each objective is scaled to 0 at its
    best and 1 at its worst value on the front (Zeleny, "Compromise programming", 1973). It depends on the front's
    extremes: a place to start reading, not an optimum.

    Returns
    -------
    The rows, with two columns in front: `best` (an objective or "compromise"), `equals` (rows as good there).
    """
    rows = [frame.head(0)]
    names: list[str] = []
    equals: list[int] = []
    for group, present in _groups(frame, objectives):
        for name in present:
            order = [name, *(other for other in present if other != name)]
            ranked = group.sort_values(
                order, ascending=[present[each] == "min" for each in order], kind="stable", na_position="last"
            )
            rows.append(ranked.head(1))
            names.append(name)
            equals.append(int((group[name] == ranked[name].iloc[0]).sum()))
        front = pareto_front(group, present)
        if len(present) > 1 and len(front):
            distances = _distances(front, present)
            rows.append(front.iloc[[int(distances.argmin())]])
            names.append(COMPROMISE)
            equals.append(int((distances == distances.min()).sum()))
    table = pd.concat(rows)
    table.insert(0, "best", pd.Series(names, table.index, dtype="string"))
    table.insert(1, "equals", equals)
    return table


def _groups(frame: pd.DataFrame, objectives: Mapping[str, str]) -> Iterator[tuple[pd.DataFrame, dict[str, str]]]:
    """Rows of each workload and the objectives that it has values of; a name that is no column stays, to be refused."""
    for _, group in frame.groupby("workload", sort=False):
        present = {
            name: direction for name, direction in objectives.items() if name not in group or group[name].notna().any()
        }
        if present:
            yield group, present


def _distances(front: pd.DataFrame, objectives: Mapping[str, str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    squares = np.zeros(len(front))
    for name, direction in objectives.items():
        costs = front[name].to_numpy(float) * (1 if direction == "min" else -1)
        span = np.ptp(costs)
        if span:
            squares += ((costs - costs.min()) / span) ** 2
    return np.sqrt(squares)
