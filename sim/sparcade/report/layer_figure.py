"""DRAM bytes, energy and cycles of each layer, as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from sparcade.accelerator.result import KINDS
from sparcade.report.axis import COLOURS, GREY, INK, clean
from sparcade.report.run_figures import KIND_COLOURS, KIND_LABELS, Result, transaction_bytes

_ENERGY_GROUPS = {
    "DRAM": ("dram",),
    "fetch path": ("fetch",),
    "K, V SRAM": ("key_sram", "value_sram"),
    "Q x K, prob x V": ("qk", "pv"),
    "softmax": ("softmax",),
    "top-k, importance": ("topk", "importance"),
    "leakage, control": ("leakage", "control"),
}
_GROUP_COLOURS = (COLOURS[0], COLOURS[5], COLOURS[3], COLOURS[1], COLOURS[4], COLOURS[2], GREY)


def draw_layers(result: Result, compared: list[dict[str, Any]]) -> Figure:
    """DRAM bytes, energy and cycles of each layer as bars; those of the compared run as outlines.

    compared : `Detail.compared`.
    """
    phases, size = list(result["phases"]), transaction_bytes(result)
    figure = Figure(figsize=(12, 2.9 * len(phases) + 0.2), dpi=100, layout="constrained", facecolor="none")
    for line, phase in zip(figure.subplots(len(phases), 3, squeeze=False), phases, strict=True):
        mine, other = ([layer for layer in table if layer["phase"] == phase] for table in (result["layers"], compared))
        kinds = {
            (KIND_LABELS[kind], KIND_COLOURS[kind]): [layer[f"tx_{kind}"] * size for layer in mine] for kind in KINDS
        }
        _stack(line[0], mine, kinds, other, "bytes_moved", "B", f"{phase}: DRAM moved")
        groups = {
            (label, colour): [sum(layer[f"energy_{part}_joules"] for part in parts) for layer in mine]
            for (label, parts), colour in zip(_ENERGY_GROUPS.items(), _GROUP_COLOURS, strict=True)
        }
        _stack(line[1], mine, groups, other, "energy_joules", "J", f"{phase}: energy")
        cycles = {
            ("Q x K busy", COLOURS[0]): [layer["qk_busy"] for layer in mine],
            ("rest of elapsed", GREY): [layer["cycles"] - layer["qk_busy"] for layer in mine],
        }
        _stack(line[2], mine, cycles, other, "cycles", "", f"{phase}: cycles")
    return figure


def _stack(
    axes: Axes,
    layers: list[dict[str, Any]],
    parts: dict[tuple[str, str], list[float]],
    compared: list[dict[str, Any]],
    outline: str,
    unit: str,
    title: str,
) -> None:
    """Bars at the numbers of `layers`, and at those of the compared run, which may have more."""
    positions, others = (np.array([layer["layer"] for layer in table], np.int64) for table in (layers, compared))
    bottom = np.zeros(len(layers))
    for (label, colour), heights in parts.items():
        if any(heights):
            axes.bar(positions, heights, bottom=bottom, color=colour, label=label, width=0.7)
            bottom += heights
    outlines = [layer[outline] for layer in compared]
    if outlines:
        axes.bar(others, outlines, fill=False, edgecolor=INK, linewidth=1.2, width=0.86, label="compared")
    axes.set_title(title, fontsize=9, loc="left", color=INK)
    axes.set_xlabel("layer", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(unit, sep=" "))
    axes.set_ylim(0, 1.45 * max([*bottom, *outlines]))
    clean(axes)
    axes.grid(visible=False, axis="x")
    axes.legend(fontsize=7, ncols=2, loc="upper center", frameon=False, labelcolor=INK)
