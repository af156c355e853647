"""The steps of an ablation as a picture: how much faster each is than the first, and what it needs at least."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from sparcade.ablation import Ablation
from sparcade.accelerator.bounds import BOUNDS
from sparcade.report.axis import COLOURS, INK, MARKERS, clean
from sparcade.report.svg import plain

_BOUND_LABELS = {"dram": "DRAM at peak", "qk": "Q x K", "topk": "local V top-k", "pv": "prob x V"}


def draw_ablation(ablation: Ablation) -> Figure:
    """Two panels over the same steps: speedup over the first step; cycles, with the bounds as marks."""
    frame, run = ablation.frame(), ablation.runs[-1]
    places = np.arange(len(frame))
    figure = Figure(figsize=(9.5, 3.6), dpi=100, layout="constrained", facecolor="none")
    speed, cycles = figure.subplots(1, 2, sharey=True)
    bars = speed.barh(places, frame["cumulative"], color=COLOURS[0], height=0.6)
    labels = [f" {row.cumulative:.2f}x ({row.factor:.2f}x)" for row in frame.itertuples()]
    speed.bar_label(bars, labels, fontsize=8, color=INK)
    speed.set_xlim(0, 1.35 * frame["cumulative"].max())
    speed.set_xlabel("speedup over the first step (over the step before)", fontsize=9)
    speed.set_yticks(places, [step.label for step in ablation.steps])
    speed.invert_yaxis()
    cycles.barh(places, frame["cycles"] / 1e6, color=COLOURS[5], height=0.6, label="elapsed")
    for index, name in enumerate(BOUNDS):
        needed = frame[f"bound_{name}_cycles"] / 1e6
        if needed.any():
            style = {"color": COLOURS[(0, 1, 2, 3)[index]], "marker": MARKERS[index]}
            cycles.plot(needed, places, linestyle="", markersize=5, label=_BOUND_LABELS[name], **style)
    cycles.set_xlabel("cycles [million], and the least that each module needs", fontsize=9)
    cycles.set_xlim(left=0)
    for axes in (speed, cycles):
        clean(axes)
    figure.suptitle(
        plain(f"{run.workload.shape.name}: {run.workload.shape.policy} on {run.arch.name}"), fontsize=10, color=INK
    )
    handles, names = cycles.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=8, frameon=False, labelcolor=INK)
    return figure
