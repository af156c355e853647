"""Who survives each layer, and how important the tokens are, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparcade.report.axis import COLOURS, INK, MARKERS, clean
from sparcade.report.detail import StepTokens
from sparcade.report.svg import plain

#: Columns of a map, at most; more tokens are averaged in equal groups.
MOST_COLUMNS = 512
#: Maps of up to this many tokens carry their texts.
_MOST_LABELS = 60
_WHAT = {"tokens": "tokens read", "heads": "query heads", "values": "values weighed"}
Floats = npt.NDArray[np.float64]


def draw_survival(survival: list[dict[str, Any]]) -> Figure:
    """Shares of tokens, heads and values that each layer still has, by phase."""
    phases = list(dict.fromkeys(each["phase"] for each in survival))
    figure = Figure(figsize=(5.75 * len(phases), 2.9), dpi=100, layout="constrained", facecolor="none")
    for axes, phase in zip(figure.subplots(1, len(phases), squeeze=False)[0], phases, strict=True):
        mine = [each for each in survival if each["phase"] == phase]
        for index, (name, label) in enumerate(_WHAT.items()):
            axes.plot(
                [each["layer"] for each in mine], [each[name] for each in mine], color=COLOURS[index],
                marker=MARKERS[index], ms=5, lw=1.3, label=label,
            )  # fmt: skip
        axes.set_ylim(0, 1.05)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"layer, {phase}", fontsize=9)
        axes.set_ylabel("share left", fontsize=9)
        clean(axes)
        axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def draw_tokens(step: StepTokens, texts: tuple[str, ...] | None) -> Figure:
    """Layer by token: who is read, and the importance by which the tokens of each layer were chosen."""
    maps = 1 if step.importance is None else 2
    layers, context = step.alive.shape
    named = texts is not None and context <= _MOST_LABELS
    height = maps * max(1.6, 0.2 * layers + 0.5) + (1.3 if named else 0.5)
    figure = Figure(figsize=(12, height), dpi=100, layout="constrained", facecolor="none")
    panels = figure.subplots(maps, 1, squeeze=False, sharex=True)[:, 0]
    shades = ListedColormap([(*_rgb(COLOURS[0]), share) for share in np.linspace(0.08, 1, 64)])
    drawn = _map(panels[0], _grouped(step.alive.astype(np.float64)), context, shades, Normalize(0, 1))
    _key(figure, drawn, panels[0], "share read")
    if step.importance is not None:
        top = np.nanmax(step.importance, axis=1, keepdims=True, initial=0, where=~np.isnan(step.importance))
        scaled = _grouped(np.where(top > 0, step.importance / np.where(top > 0, top, 1), np.nan))
        drawn = _map(panels[1], scaled, context, "viridis", PowerNorm(0.5, 0, 1))
        _key(figure, drawn, panels[1], "importance / largest")
    if named and texts is not None:
        labels = [plain(text.strip() or " ") for text in texts[:context]]
        panels[-1].set_xticks(np.arange(context) + 0.5, labels, rotation=90, fontsize=8)
    else:
        panels[-1].set_xlabel("token", fontsize=9, color=INK)
    return figure


def _map(axes: Axes, table: Floats, context: int, colours: Any, scale: Normalize) -> Any:
    edges = np.linspace(0, context, table.shape[1] + 1)
    drawn = axes.pcolormesh(
        edges, np.arange(len(table) + 1), np.ma.masked_invalid(table), cmap=colours, norm=scale,
        rasterized=True,
    )  # fmt: skip
    axes.invert_yaxis()
    step = -(-len(table) // 12)
    axes.set_yticks(np.arange(0, len(table), step) + 0.5, [str(layer) for layer in range(0, len(table), step)])
    axes.set_ylabel("layer", fontsize=9)
    clean(axes)
    axes.grid(visible=False)
    return drawn


def _key(figure: Figure, drawn: Any, axes: Axes, label: str) -> None:
    key = figure.colorbar(drawn, ax=axes, pad=0.01)
    key.set_label(label, fontsize=9, color=INK)
    key.ax.tick_params(colors=INK, labelsize=8)
    key.outline.set_edgecolor(INK)


def _grouped(table: Floats) -> Floats:
    """Means over groups of consecutive tokens, those without a value left out; at most `MOST_COLUMNS` columns."""
    group = -(-table.shape[1] // MOST_COLUMNS)
    if group == 1:
        return table
    starts = np.arange(0, table.shape[1], group)
    known = np.add.reduceat(~np.isnan(table), starts, axis=1)
    sums = np.add.reduceat(np.nan_to_num(table), starts, axis=1)
    return np.where(known > 0, sums / np.maximum(known, 1), np.nan)


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue
