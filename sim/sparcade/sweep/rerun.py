"""Points of a table, found again one by one: a table of 100,000 need not be resolved to rerun ten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from sparcade.errors import SweepError
from sparcade.sweep.axes import Axis, Value
from sparcade.sweep.definition import Sweep
from sparcade.sweep.points import Point, points_of
from sparcade.sweep.table import plain


def point_of(sweep: Sweep, row: Mapping[Any, Any]) -> Point:
    """The point of a row of the table, resolved alone.

    Raises
    ------
    SparcadeError
        When its workload or files are not there, or are not what they were.
    """
    axes = tuple(Axis(name=axis.name, values=(_value(axis, row[axis.name]),)) for axis in sweep.axes)
    alone = replace(
        sweep,
        workloads=(row["workload"],),
        archs=(row["arch"],),
        policies=(None if pd.isna(row["policy"]) else row["policy"],),
        method="grid",
        axes=axes,
        constraints=(),
    )
    (point,) = points_of(alone)
    if point.key != row["key"]:
        raise SweepError(
            "a point of the sweep is another one now",
            where=", ".join(f"{name} = {value}" for name, value in point.values.items()),
            expected=f"key {row['key'][:12]}, as in the table",
            got=f"{point.key[:12]}: its workload, arch or policy has changed since",
            remedy="run the sweep again",
        )
    return point


def _value(axis: Axis, cell: Any) -> Value:
    """The value of an axis that stands in a cell; a column of several types holds texts."""
    shown = "" if pd.isna(cell) else str(cell)
    for value in axis.values:
        if (cell is not pd.NA and plain(value) == cell) or str(plain(value)) == shown:
            return value
    return float(cell)
