"""The attention of a trace as pictures: importance map, heads, concentration, LSB rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sparcade.report.axis import COLOURS, INK, MARKERS, clean
from sparcade.report.svg import plain
from sparcade.trace.analysis import HELD, Analysis

#: Ticks with the tokens' texts, at most.
_MOST_LABELS = 60
#: Lines of a figure, at most.
_MOST_LAYERS = len(COLOURS)
_MAP = "viridis"


def draw_importance(analysis: Analysis, sequence: int = 0) -> Figure:
    """Cumulative importance of a sequence, layer by token, as Fig. 23 of the SpAtten paper; each layer scaled to 1."""
    tokens = analysis.tokens[analysis.tokens["sequence"] == sequence]
    table = tokens.pivot_table(index="layer", columns="token", values="cumulative").to_numpy(float)
    figure = Figure(figsize=(12, max(2.2, 0.3 * len(table) + 1.6)), dpi=100, layout="constrained", facecolor="none")
    axes = figure.subplots()
    drawn = axes.pcolormesh(table / table.max(axis=1, keepdims=True), cmap=_MAP, vmin=0, vmax=1, rasterized=True)
    axes.invert_yaxis()
    axes.set_yticks(np.arange(len(table)) + 0.5, [str(layer) for layer in range(len(table))])
    axes.set_ylabel("layer", color=INK)
    texts = tokens[tokens["layer"] == 0]["text"].tolist()
    if len(texts) <= _MOST_LABELS:
        labels = [plain(text.strip() or " ") for text in texts]
        axes.set_xticks(np.arange(len(texts)) + 0.5, labels, rotation=90, fontsize=8)
    else:
        axes.set_xlabel("token", color=INK)
    figure.colorbar(drawn, ax=axes, label="cumulative importance / largest", pad=0.01)
    return figure


def draw_heads(analysis: Analysis) -> Figure:
    """Entropy, and where the probability goes, layer by head, of the last phase there is; a blank cell has no rows."""
    phase = analysis.heads["phase"].iloc[-1]
    heads = analysis.heads[analysis.heads["phase"] == phase]
    titles = {
        "entropy_share": "entropy / log2 of the visible keys",
        "sinks": f"share on the first {analysis.sinks} tokens",
        "local": f"share on the nearest {analysis.window}",
        "elsewhere": "share elsewhere",
    }
    shown = [name for name in titles if heads[name].notna().any()]
    layers = heads["layer"].nunique()
    figure = Figure(figsize=(3.1 * len(shown) + 0.6, 0.22 * layers + 1.7), dpi=100, layout="constrained")
    figure.set_facecolor("none")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        table = heads.pivot_table(index="layer", columns="head", values=name, dropna=False).to_numpy(float)
        drawn = axes.imshow(table, cmap=_MAP, vmin=0, vmax=1, aspect="auto")
        axes.set_title(titles[name], fontsize=9, color=INK)
        axes.set_xlabel("head", color=INK)
        axes.set_yticks(range(layers))
    figure.axes[0].set_ylabel(f"layer, {phase}", color=INK)
    figure.colorbar(drawn, ax=figure.axes, pad=0.01)
    return figure


def draw_concentration(analysis: Analysis) -> Figure:
    """Shares of the keys that hold 90, 95 and 99 % of a row, and of the tokens that hold as much of the importance."""
    figure = Figure(figsize=(11, 3.2), dpi=100, layout="constrained", facecolor="none")
    left, right = figure.subplots(1, 2)
    held = [f"{round(100 * share)}" for share in HELD]
    rows = _by_layer(analysis.heads, [f"keys_{share}" for share in held])
    _lines(left, rows, [f"keys_{share}" for share in held], "of the visible keys hold the row")
    parts = {str(of): group.set_index("layer") for of, group in analysis.hitters.groupby("of")}
    _lines(right, parts, [f"tokens_{share}" for share in held], "of the tokens hold the importance")
    return figure


def draw_lsb(analysis: Analysis) -> Figure:
    """Share of rows that would fetch the LSB plane, by threshold: a panel per phase, a line per layer."""
    phases = list(dict.fromkeys(analysis.lsb["phase"]))
    figure = Figure(figsize=(5.5 * len(phases), 3.2), dpi=100, layout="constrained", facecolor="none")
    layers = sorted(analysis.lsb["layer"].unique())
    chosen = layers if len(layers) <= _MOST_LAYERS else [layers[i * (len(layers) - 1) // (_MOST_LAYERS - 1)]
                                                         for i in range(_MOST_LAYERS)]  # fmt: skip
    for axes, phase in zip(figure.subplots(1, len(phases), squeeze=False)[0], phases, strict=True):
        part = analysis.lsb[analysis.lsb["phase"] == phase]
        for index, layer in enumerate(chosen):
            line = part[part["layer"] == layer]
            axes.plot(
                line["threshold"].to_numpy(float), line["below"].to_numpy(float), color=COLOURS[index],
                marker=MARKERS[index], ms=4, lw=1.3, label=f"layer {layer}",
            )  # fmt: skip
        axes.set_xlabel(f"threshold of the largest probability, {phase}", color=INK)
        axes.set_ylabel("share of rows below", color=INK)
        axes.set_ylim(0, 1.02)
        clean(axes)
        axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _by_layer(heads: pd.DataFrame, names: list[str]) -> dict[str, pd.DataFrame]:
    """Means over the heads of a layer, by phase."""
    return {str(phase): group.groupby("layer")[names].mean() for phase, group in heads.groupby("phase")}


def _lines(axes: Any, parts: dict[str, pd.DataFrame], names: list[str], label: str) -> None:
    for index, (part, table) in enumerate(parts.items()):
        for name, style in zip(names, ("-", "--", ":"), strict=True):
            text = f"{part}, {name.rpartition('_')[2]} %"
            axes.plot(table.index, table[name].to_numpy(float), style, color=COLOURS[index], marker=".", label=text)
    axes.set_xlabel("layer", color=INK)
    axes.set_ylabel(f"share {label}", color=INK)
    axes.set_ylim(0, 1.02)
    axes.xaxis.get_major_locator().set_params(integer=True)
    clean(axes)
    axes.legend(fontsize=7, frameon=False, ncols=len(parts), labelcolor=INK)
