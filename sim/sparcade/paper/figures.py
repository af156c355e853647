"""Pictures of the comparisons: paper and ours side by side, told apart by colour and by hatch or marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sparcade.paper.comparison import Row
from sparcade.report.axis import COLOURS, GREY, INK, MARKERS, clean
from sparcade.report.svg import plain

PAPER, OURS = COLOURS[0], COLOURS[1]
#: Bars that span more than this factor stand on a logarithmic scale.
_WIDE = 30.0
Points = Mapping[str, Sequence[tuple[float, float]]]


def draw_bars(rows: Sequence[Row], label: str) -> Figure:
    """A pair of bars for each row that has both numbers; ours with its range where it has one."""
    pairs = [row for row in rows if row.ratio is not None]
    figure = Figure(figsize=(max(6.0, 0.55 * len(pairs) + 2), 4.2), layout="constrained")
    axes = figure.add_subplot()
    at = np.arange(len(pairs))
    theirs, ours = (np.array([float(value) for value in column]) for column in _columns(pairs))
    axes.bar(at - 0.2, theirs, 0.38, color=PAPER, label="paper")
    axes.bar(at + 0.2, ours, 0.38, color=OURS, hatch="//", edgecolor="white", linewidth=0, label="ours")
    for x, row in zip(at, pairs, strict=True):
        if row.low is not None and row.high is not None:
            axes.vlines(x + 0.2, row.low, row.high, color=INK, linewidth=1.2)
    both = np.concatenate([theirs, ours])
    if len(both) and both.min() > 0 and both.max() > _WIDE * both.min():
        axes.set_yscale("log")
    axes.set_xticks(at, [plain(_short(row.name)) for row in pairs], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_ylabel(plain(label))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    clean(axes)
    return figure


def draw_lines(paper: Points, ours: Points, x: str, y: str, *, log2: bool = False) -> Figure:
    """Curves: the paper's solid with filled markers, ours dashed with open ones."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(paper.items()):
        axes.plot(*zip(*points, strict=True), color=COLOURS[index], marker=MARKERS[index], label=plain(name))
    for index, (name, points) in enumerate(ours.items(), len(paper)):
        style = {"linestyle": "--", "marker": MARKERS[index % 6], "markerfacecolor": "none"}
        axes.plot(*zip(*points, strict=True), color=COLOURS[index % 6], label=plain(name), **style)  # type: ignore[arg-type]
    if log2:
        axes.set_xscale("log", base=2)
        ticks = sorted({point[0] for points in (*paper.values(), *ours.values()) for point in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(plain(x))
    axes.set_ylabel(plain(y))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    clean(axes)
    return figure


def draw_roofline(points: Points, marks: Mapping[str, bool], *, bandwidth: float, roof: float) -> Figure:
    """Operations per byte against TFLOPS under the two roofs, both axes logarithmic.

    Parameters
    ----------
    points : (operations per byte, TFLOPS) by name.
    marks : by name, whether it is the paper's.
    bandwidth : [GB/s]; roof : [TFLOPS].
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    x = np.array([0.3, roof * 1000 / bandwidth, 200.0])
    axes.plot(x, np.minimum(x * bandwidth / 1000, roof), color=GREY, label=f"{bandwidth:g} GB/s, {roof:g} TFLOPS")
    for index, (name, each) in enumerate(points.items()):
        theirs = marks[name]
        axes.plot(
            *zip(*each, strict=True),
            linestyle="none",
            marker=MARKERS[index % 6],
            color=PAPER if theirs else OURS,
            markerfacecolor=PAPER if theirs else "none",
            markersize=8 if len(each) == 1 else 4,
            label=plain(name),
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per DRAM byte")
    axes.set_ylabel("TFLOPS, executed operations")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    clean(axes)
    return figure


def _columns(rows: Sequence[Row]) -> tuple[list[float | str], list[float | str]]:
    return [row.paper or 0.0 for row in rows], [row.ours or 0.0 for row in rows]


def _short(name: str) -> str:
    """A row's name as a label, without what all of them share."""
    return name.split("/speedup")[0].removeprefix("factor_").removeprefix("power_").replace("_", " ")
