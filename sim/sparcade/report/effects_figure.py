"""Main effects as a picture: a line of panels for each metric, a panel for each factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparcade.report.axis import COLOURS, INK, MARKERS, clean, value_axis
from sparcade.report.svg import plain
from sparcade.sweep.effects import swings

_Numbers = npt.NDArray[np.float64]
_MOST_FACTORS = 5
_MOST_METRICS = 4
_MOST_TICKS = 8
_LONGEST_LABEL = 14
#: Numbers that are all above 0 and span at least this factor stand on a log2 scale.
_DOUBLINGS = 8.0


def draw_effects(effects: pd.DataFrame) -> Figure | None:
    """Means as lines, quartiles as bands, extremes as thin lines; None where no factor varies.

    Shown are the factors that move any metric most. Up to six workloads are colours; with more than one, values are
    shares of the mean of their workload: workloads of any size compare.

    Parameters
    ----------
    effects : as `main_effects` gives them.
    """
    names, metrics = _moving(effects), list(dict.fromkeys(effects["metric"]))[:_MOST_METRICS]
    if not names:
        return None
    size = (max(5.5, 2.5 * len(names) + 0.8), 2.2 * len(metrics) + 0.9)
    figure = Figure(figsize=size, dpi=100, layout="constrained", facecolor="none")
    grid = figure.subplots(len(metrics), len(names), squeeze=False, sharey="row")
    workloads = list(dict.fromkeys(effects["workload"]))[: len(COLOURS)]
    for line, metric in zip(grid, metrics, strict=True):
        mine = effects[effects["metric"] == metric]
        shares = _shares(mine) if len(workloads) > 1 else mine
        for axes, factor in zip(line, names, strict=True):
            _draw_panel(axes, shares[shares["factor"] == factor], workloads)
            clean(axes)
            axes.tick_params("x", labelbottom=metric == metrics[-1])
        if len(workloads) > 1:
            line[0].set_ylabel(plain(f"{metric} / mean"), fontsize=9)
        else:
            value_axis(line[0], "y", metric, mine[["min", "max"]].to_numpy(float).ravel())
        line[0].yaxis.label.set_color(INK)
    for axes, factor in zip(grid[-1], names, strict=True):
        axes.set_xlabel(plain(factor), fontsize=9, color=INK)
    if len(workloads) > 1:
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _moving(effects: pd.DataFrame) -> list[str]:
    """The factors that move any metric most, in their order."""
    largest = swings(effects).groupby("factor", sort=False)["swing"].max().sort_values(ascending=False, kind="stable")
    moving = largest[largest > 0] if (largest > 0).any() else largest
    names = set(moving.index[:_MOST_FACTORS])
    return [str(name) for name in dict.fromkeys(effects["factor"]) if name in names]


def _shares(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects of one metric as shares of the mean of their workload."""
    whole = effects[effects["factor"] == "workload"].set_index("workload")["mean"].abs()
    statistics = ["mean", "min", "q25", "median", "q75", "max"]
    return effects.assign(**effects[statistics].div(effects["workload"].map(whole).replace(0.0, np.nan), axis=0))


def _draw_panel(axes: Axes, table: pd.DataFrame, workloads: list[str]) -> None:
    numeric = table["at"].notna().all()
    values = list(dict.fromkeys(table["value"]))
    places = {value: float(place) for place, value in enumerate(values)}
    if numeric:
        places = dict(zip(table["value"], table["at"].astype(float), strict=True))
    for index, workload in enumerate(workloads):
        mine = table[table["workload"] == workload]
        x = mine["value"].map(places).to_numpy(float)
        colour, marker = COLOURS[index], MARKERS[index]
        low, first, third, high = (mine[name].to_numpy(float) for name in ("min", "q25", "q75", "max"))
        _bars(axes, x, low, high, color=colour, linewidth=0.8, alpha=0.6)
        _bars(axes, x, first, third, color=colour, linewidth=5, alpha=0.35)
        axes.plot(
            x, mine["mean"].to_numpy(float), color=colour, marker=marker, ms=4, mew=0, lw=1.3, label=plain(workload)
        )
    ticks = np.array([places[value] for value in values])
    if numeric and ticks.min() > 0 and ticks.max() >= _DOUBLINGS * ticks.min():
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
    if not numeric or len(values) <= _MOST_TICKS:
        shown = [value if len(value) <= _LONGEST_LABEL else f"{value[: _LONGEST_LABEL - 1]}…" for value in values]
        axes.set_xticks(ticks, [plain(value) for value in shown])
        if sum(map(len, shown)) > 2 * _LONGEST_LABEL:
            axes.tick_params("x", rotation=45)
    if not numeric:
        axes.set_xlim(-0.5, len(values) - 0.5)


def _bars(axes: Axes, x: _Numbers, low: _Numbers, high: _Numbers, **style: Any) -> None:
    """Vertical bars as one broken line: small in an SVG."""
    gaps = np.full(len(x), np.nan)
    y = np.column_stack([low, high, gaps]).ravel()
    axes.plot(np.repeat(x, 3), y, solid_capstyle="butt", **style)
