"""DRAM bytes, energy and cycles of each layer, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparcade.energy import PARTS
from sparcade.evaluation import Evaluation
from sparcade.report.svg import plain, save_svg

_KIND_COLOURS = {"k_msb": "#2b6cb0", "k_lsb": "#90cdf4", "v": "#2f855a", "q": "#d69e2e", "out": "#a0aec0"}
_KIND_LABELS = {"k_msb": "K (MSB or only plane)", "k_lsb": "K LSB refetch", "v": "V", "q": "Q", "out": "output"}
_ENERGY_GROUPS = {
    "DRAM": ("dram",),
    "fetch path": ("fetch",),
    "K, V SRAM": ("key_sram", "value_sram"),
    "Q x K, prob x V": ("qk", "pv"),
    "softmax": ("softmax",),
    "top-k, importance": ("topk", "importance"),
    "leakage, control": ("leakage", "control"),
}
_GROUP_COLOURS = ("#2b6cb0", "#90cdf4", "#805ad5", "#c05621", "#d69e2e", "#2f855a", "#a0aec0")


def draw_layers(evaluation: Evaluation, ours: list[dict[str, Any]], path: Path) -> None:
    """DRAM bytes, energy and cycles of each layer: the policy (`ours`) as bars, the comparison as outlines."""
    phases = [name for name in ("prefill", "decode") if evaluation.run.phase(name).any()]
    run, transaction = evaluation.run, evaluation.run.arch.dram.transaction_bytes
    theirs = evaluation.layers(evaluation.baseline) if evaluation.baseline else []
    figure = Figure(figsize=(12, 3.1 * len(phases) + 0.9), layout="constrained")
    axes = figure.subplots(len(phases), 3, squeeze=False)
    title = f"{run.workload.shape.name}: {run.workload.shape.policy} on {run.arch.name}"
    if evaluation.baseline is not None:
        title += f" (outline: {evaluation.baseline.workload.shape.policy} on the same hardware)"
    figure.suptitle(plain(title))
    for line, phase in zip(axes, phases, strict=True):
        mine, other = ([layer for layer in table if layer["phase"] == phase] for table in (ours, theirs))
        kinds = {
            (_KIND_LABELS[kind], colour): [layer[f"tx_{kind}"] * transaction / 1e3 for layer in mine]
            for kind, colour in _KIND_COLOURS.items()
        }
        moved = [sum(layer[f"tx_{kind}"] for kind in _KIND_COLOURS) * transaction / 1e3 for layer in other]
        _stack(line[0], mine, kinds, other, moved, f"{phase}: DRAM moved [kB]")
        groups = {
            (label, colour): [sum(layer[f"energy_{part}_joules"] for part in parts) * 1e6 for layer in mine]
            for (label, parts), colour in zip(_ENERGY_GROUPS.items(), _GROUP_COLOURS, strict=True)
        }
        joules = [sum(layer[f"energy_{part}_joules"] for part in PARTS) * 1e6 for layer in other]
        _stack(line[1], mine, groups, other, joules, f"{phase}: energy [µJ]")
        cycles = {
            ("Q x K busy", "#c05621"): [layer["qk_busy"] / 1e3 for layer in mine],
            ("rest of elapsed", "#fbd38d"): [(layer["cycles"] - layer["qk_busy"]) / 1e3 for layer in mine],
        }
        elapsed = [layer["cycles"] / 1e3 for layer in other]
        _stack(line[2], mine, cycles, other, elapsed, f"{phase}: cycles [thousand]")
    save_svg(figure, path)


def _stack(
    axes: Axes,
    layers: list[dict[str, Any]],
    parts: dict[tuple[str, str], list[float]],
    outlined: list[dict[str, Any]],
    outline: list[float],
    title: str,
) -> None:
    """Bars at the numbers of `layers`, and at those of the compared run, which may have more."""
    positions, others = (np.array([layer["layer"] for layer in table], np.int64) for table in (layers, outlined))
    bottom = np.zeros(len(layers))
    for (label, colour), heights in parts.items():
        if any(heights):
            axes.bar(positions, heights, bottom=bottom, color=colour, label=label, width=0.7)
            bottom += heights
    if outline:
        axes.bar(others, outline, fill=False, edgecolor="#4a5568", linewidth=1.2, width=0.86)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("layer")
    ticks = np.union1d(positions, others)
    axes.set_xticks(ticks, [str(layer) for layer in ticks])
    axes.set_ylim(0, 1.35 * max([*bottom, *outline]))
    axes.legend(fontsize=7, ncols=2, loc="upper center")
    axes.spines[["top", "right"]].set_visible(False)
