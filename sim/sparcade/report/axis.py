"""Axes of figures: labels with units, scales, colours that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import EngFormatter, FuncFormatter, NullLocator

from sparcade.report.svg import plain
from sparcade.sweep.metrics import METRICS

#: Ink of texts and lines; a page may replace it by its own.
INK = "#1a202c"
#: Points that are not in front; readable on white and on black.
GREY = "#a0aec0"
#: Okabe and Ito's palette without black and yellow (https://jfly.uni-koeln.de/color/), and a marker for each.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
_UNITS = ("cycles", "s", "J", "bytes", "bits", "x", "GB/s", "TOPS")
#: A range over more than this factor is drawn on a logarithmic scale.
_WIDE = 20.0


def unit_of(metric: str) -> str:
    """The unit of a metric, "" for a share, a cosine or a derived metric."""
    word = METRICS.get(metric, "").split(" ")[0].rstrip(",")
    return word if word in _UNITS else ""


def label_of(metric: str) -> str:
    """A metric with its unit, and whether it is open loop."""
    note = "open loop" if "open loop" in METRICS.get(metric, "") else unit_of(metric)
    return f"{metric} [{note}]" if note and note != metric else metric


def value_axis(axes: Axes, which: Literal["x", "y"], metric: str, values: Iterable[Any]) -> None:
    """Label an axis with its metric; logarithmic where the values span more than a factor of 20."""
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_label_text(plain(label_of(metric)), fontsize=9)
    found = np.array([value for value in values if not pd.isna(value)], float)
    if len(found) and found.min() > 0 and found.max() > _WIDE * found.min():
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axis.set_minor_locator(NullLocator())
    if unit_of(metric) in ("cycles", "s", "J", "bytes", "bits"):
        axis.set_major_formatter(EngFormatter(sep=" "))
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def clean(axes: Axes) -> None:
    """Ink, frame and background of a panel."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(INK)
    axes.tick_params(which="both", colors=INK, labelsize=8)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(INK)
    axes.grid(visible=True, color=GREY, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
