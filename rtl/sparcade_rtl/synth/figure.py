"""Area, depth, delay and power over the lanes, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from sparcade_rtl.synth.sweep import Row

_COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#d69e2e", "#90cdf4", "#a0aec0", "#1a202c")
_Series = dict[tuple[str, int], list[Row]]


def draw_synthesis(rows: Iterable[Row]) -> Figure:
    """One line per block and score width; without OpenSTA its panels stay away."""
    series: _Series = {}
    for row in rows:
        series.setdefault((row.block, row.params.score_bits), []).append(row)
    timed = all(row.synthesis.timing for lines in series.values() for row in lines)
    figure = Figure(figsize=(10, 6.4 if timed else 3.4), layout="constrained")
    axes = figure.subplots(2 if timed else 1, 2).flatten()
    _panel(axes[0], series, lambda row: row.synthesis.gates.nand2, "area of logic and flip-flops [NAND2]", log=True)
    _panel(axes[1], series, lambda row: row.synthesis.gates.longest.depth, "depth [cells]")
    if timed:
        _panel(axes[2], series, _path_ns, "slowest path [ns]")
        _panel(axes[3], series, _power_mw, "power [mW]", log=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _path_ns(row: Row) -> float:
    return row.synthesis.timing.path_ns if row.synthesis.timing else 0.0


def _power_mw(row: Row) -> float:
    return row.synthesis.timing.power_mw if row.synthesis.timing else 0.0


def _panel(axes: Axes, series: _Series, value: Callable[[Row], float], title: str, *, log: bool = False) -> None:
    for ((block, bits), rows), index in zip(series.items(), range(len(series)), strict=True):
        lanes = [row.params.lanes for row in rows]
        colour = _COLOURS[index % len(_COLOURS)]
        axes.plot(lanes, [value(row) for row in rows], "o-", ms=4, color=colour, label=f"{block}, {bits} bit")
    lanes = sorted({row.params.lanes for rows in series.values() for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lanes, [str(count) for count in lanes])
    if log:
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(0, 1.1 * max(value(row) for rows in series.values() for row in rows))
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("lanes")
    axes.spines[["top", "right"]].set_visible(False)
