"""Main effects: how a metric moves with one setting, over all values of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from sparcade.errors import unknown_name
from sparcade.sweep.expression import number

#: A numeric factor with more values than this is divided into `_BINS` intervals of equal width.
_MOST_VALUES = 16
_BINS = 8
_COLUMNS = ["metric", "factor", "workload", "value", "at", "points", "mean", "min", "q25", "median", "q75", "max"]


def factors(frame: pd.DataFrame) -> list[str]:
    """What varies between the finished points: the workload; arch, policy and axes that vary within a workload."""
    done = _done(frame)
    columns = list(map(str, frame.columns))
    groups = [group for _, group in done.groupby("workload", sort=False)]
    varied = [
        name for name in columns[1 : columns.index("status")] if any(len(group[name].unique()) > 1 for group in groups)
    ]
    return ["workload", *varied] if len(groups) > 1 else varied


def is_grid(frame: pd.DataFrame) -> bool:
    """Whether the finished points of each workload are every combination of its values, each once."""
    names = [name for name in factors(frame) if name != "workload"]
    return all(
        len(group) == math.prod(len(group[name].unique()) for name in names)
        and not (names and group.duplicated(names).any())
        for _, group in _done(frame).groupby("workload", sort=False)
    )


def main_effects(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Distribution of each metric at each value of each factor, per workload, over the finished points.

    On a full grid (`is_grid`) every value of a factor meets the same values of the others: a difference of two means is
    the effect of the factor alone, averaged over the others. In a sampled sweep, or where constraints, failures or an
    unfinished sweep leave gaps, the others differ by chance or by design between two values, and the difference of
    means holds their effect too. Either way a mean hides interactions: the quartiles show how much the others matter.

    Returns
    -------
    One row per metric, factor, workload and value: metric, factor, workload, value (text; an interval for a numeric
    factor of more than 16 values), at (number, middle of an interval, NaN for a text), points (with a value of the
    metric), mean, min, q25, median, q75, max (quartiles interpolated linearly).

    Raises
    ------
    ConfigError
        For a metric that the sweep does not have.
    """
    columns = list(map(str, frame.columns))
    known = columns[columns.index("error") + 1 :]
    for metric in metrics:
        if metric not in known:
            raise unknown_name(f"there is no metric {metric!r}", metric, known, where="main effects")
    done = _done(frame)
    levels = {factor: _levels(done[factor]) for factor in factors(frame)}
    tables = []
    for metric in metrics:
        values = done[metric].astype("Float64").astype(float)
        for factor, (codes, labels, middles) in levels.items():
            tables.append(
                _effect(values, done["workload"], codes, labels, middles).assign(metric=metric, factor=factor)
            )
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_COLUMNS)
    return table[_COLUMNS]


def swings(effects: pd.DataFrame) -> pd.DataFrame:
    """How far each factor moves each metric: (largest - least mean) / |mean of means|, the largest of all workloads.

    Returns
    -------
    metric, factor, swing; the largest swing of a metric first. The workload itself is left out.
    """
    means = effects[effects["factor"] != "workload"].groupby(["metric", "factor", "workload"], sort=False)["mean"]
    swing = (means.max() - means.min()) / means.mean().abs()
    table = swing.replace(np.inf, np.nan).groupby(["metric", "factor"], sort=False).max().rename("swing").reset_index()
    order = {name: place for place, name in enumerate(dict.fromkeys(table["metric"]))}
    place = table["metric"].map(order)
    return table.iloc[np.lexsort((-table["swing"].fillna(-1.0), place))].reset_index(drop=True)


def _done(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["status"] == "done"]


def _effect(
    values: pd.Series[float],
    workloads: pd.Series[str],
    codes: np.ndarray[Any, Any],
    labels: list[str],
    middles: list[float],
) -> pd.DataFrame:
    """The distribution of values in each workload at each level: workloads as they come, levels in order."""
    rows = []
    for workload in workloads.unique():
        for code, (label, middle) in enumerate(zip(labels, middles, strict=True)):
            part = values[(workloads == workload).to_numpy(bool) & (codes == code)].dropna()
            if len(part):
                low, first, median, third, high = part.quantile([0.0, 0.25, 0.5, 0.75, 1.0])
                rows.append((workload, label, middle, len(part), part.mean(), low, first, median, third, high))
    return pd.DataFrame(rows, columns=_COLUMNS[2:])


def _levels(column: pd.Series[Any]) -> tuple[np.ndarray[Any, Any], list[str], list[float]]:
    """The level of each row, and the text and number of each level; numbers in rising order, texts as they come."""
    seen = list(pd.unique(column))
    numbers = [
        float("nan") if pd.isna(value) or isinstance(value, bool | np.bool_) else number(value) for value in seen
    ]
    if any(isinstance(value, str) or np.isnan(value) for value in numbers):
        place = {value: code for code, value in enumerate(seen)}
        return (
            np.array([place[value] for value in column]),
            [_text(value) for value in seen],
            [float("nan")] * len(seen),
        )
    if len(seen) <= _MOST_VALUES:
        rising = sorted(range(len(seen)), key=lambda index: numbers[index])
        place = {seen[index]: code for code, index in enumerate(rising)}
        codes = np.array([place[value] for value in column])
        return codes, [_text(seen[index]) for index in rising], [float(numbers[index]) for index in rising]
    values = np.array([number(value) for value in column], float)
    edges = np.linspace(values.min(), values.max(), _BINS + 1)
    codes = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, _BINS - 1)
    labels = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return codes, labels, [float(middle) for middle in (edges[:-1] + edges[1:]) / 2]


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)
