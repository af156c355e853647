"""The points of a sweep in pairs of objectives, the front in front."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparcade.report.axis import COLOURS, GREY, INK, clean, value_axis
from sparcade.report.svg import plain
from sparcade.sweep.table import pareto_front

_MOST_PAIRS = 3
_MOST_WORKLOADS = 3
#: Layers with more points than this are drawn as an image within the SVG.
_MOST_VECTORS = 300
_FRONT = COLOURS[0]


def draw_pareto(frame: pd.DataFrame, front: pd.DataFrame, objectives: Mapping[str, str]) -> Figure:
    """A line of panels for each of up to three workloads: up to three pairs of objectives.

    With one objective a panel shows its values in order.

    Parameters
    ----------
    frame : the finished points.
    front : those that no other of their workload beats.
    """
    pairs = [dict(pair) for pair in itertools.combinations(objectives.items(), 2)][:_MOST_PAIRS]
    workloads = list(dict.fromkeys(frame["workload"]))[:_MOST_WORKLOADS]
    wide, high = max(1, len(pairs)), len(workloads)
    size = (4.3 * wide if wide > 1 else 5.5, 3.3 * high + 0.5)
    figure = Figure(figsize=size, dpi=100, layout="constrained", facecolor="none")
    for line, workload in zip(figure.subplots(high, wide, squeeze=False), workloads, strict=True):
        mine, ahead = frame[frame["workload"] == workload], front[front["workload"] == workload]
        for axes, shown in zip(line, pairs or [dict(objectives)], strict=True):
            draw = _draw_pair if pairs else _draw_ranks
            draw(axes, mine, ahead, shown)
            clean(axes)
        if high > 1:
            line[0].set_title(plain(workload), fontsize=10, loc="left", color=INK)
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=4, color=GREY, label="all points"),
        Line2D([], [], linestyle="", marker="o", markersize=5, color=_FRONT, label="front in all objectives"),
        Line2D([], [], color=_FRONT, linewidth=1.0, label="front in the two alone"),
    ]
    figure.legend(
        handles=handles[: 3 if pairs else 2],
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
        labelcolor=INK,
    )
    return figure


def _draw_pair(axes: Axes, frame: pd.DataFrame, front: pd.DataFrame, pair: dict[str, str]) -> None:
    x, y = pair
    _scatter(axes, frame[x], frame[y], color=GREY, s=9)
    _scatter(axes, front[x], front[y], color=_FRONT, s=20, zorder=3)
    edge = pareto_front(frame, pair).sort_values(x, kind="stable")
    where: Literal["post", "pre"] = "post" if pair[x] == "min" else "pre"
    axes.step(edge[x].to_numpy(float), edge[y].to_numpy(float), where=where, color=_FRONT, linewidth=1.0, zorder=2)
    value_axis(axes, "x", x, frame[x])
    value_axis(axes, "y", y, frame[y])
    axes.set_xlabel(f"{axes.get_xlabel()}  {'←' if pair[x] == 'min' else '→'} better")
    axes.set_ylabel(f"{axes.get_ylabel()}  {'←' if pair[y] == 'min' else '→'} better")


def _draw_ranks(axes: Axes, frame: pd.DataFrame, front: pd.DataFrame, objective: dict[str, str]) -> None:
    ((name, direction),) = objective.items()
    ranked = frame[name].dropna().sort_values(ascending=direction == "min", kind="stable")
    ranks = pd.Series(range(1, len(ranked) + 1), ranked.index)
    _scatter(axes, ranks, ranked, color=GREY, s=9)
    _scatter(axes, ranks[front.index], front[name], color=_FRONT, s=20, zorder=3)
    axes.set_xlabel("points, best first", fontsize=9)
    value_axis(axes, "y", name, ranked)


def _scatter(axes: Axes, x: pd.Series[Any], y: pd.Series[Any], *, color: str, s: float, zorder: float = 1) -> None:
    """Points; one that lacks a value has no place."""
    places = pd.DataFrame({"x": x, "y": y}).astype("Float64").dropna().to_numpy(float)
    axes.scatter(
        places[:, 0],
        places[:, 1],
        color=color,
        s=s,
        zorder=zorder,
        linewidths=0,
        rasterized=len(places) > _MOST_VECTORS,
    )
