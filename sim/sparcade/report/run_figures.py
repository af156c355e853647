"""Pictures of a run, drawn from its result.json alone: bounds, roofline, DRAM traffic, energy and area, stalls."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter

from sparcade.accelerator.bounds import BOUNDS
from sparcade.accelerator.result import KINDS, MODULES
from sparcade.energy import PARTS
from sparcade.report.axis import COLOURS, GREY, INK, MARKERS, clean

Result = dict[str, Any]
#: Kinds of DRAM traffic as they are called, and their colours: those of K are alike.
KIND_LABELS = {"q": "Q", "k_msb": "K, MSB or only plane", "k_lsb": "K, LSB plane", "v": "V", "out": "outputs"}
KIND_COLOURS = dict(zip(KINDS, (COLOURS[4], COLOURS[0], COLOURS[5], COLOURS[2], GREY), strict=True))
BOUND_LABELS = {"dram": "DRAM at peak bandwidth", "qk": "Q x K", "topk": "local V top-k", "pv": "prob x V"}
MODULE_LABELS = {"fetch": "fetcher", "qk": "Q x K", "softmax": "softmax", "topk": "local V top-k", "pv": "prob x V"}
#: What a stall waits for.
_DATA = ("wait_q", "wait_k", "wait_lsb", "wait_v", "address_fifo", "data_fifo")
_ORDER = ("cascade", "layer", "wait_probabilities")
STATES = {
    "busy": COLOURS[0],
    "waits for DRAM": COLOURS[1],
    "waits for its turn (layer, cascade, probabilities)": COLOURS[3],
    "waits for room behind it": COLOURS[4],
    "idle: nothing to do": GREY,
}
#: Segments of a bar wider than this share carry their name.
_NAMED = 0.09
#: Bars of the channels, at most; more channels are summed in equal groups.
_MOST_BARS = 64


def ops(part: Result) -> int:
    """Executed operations: two for each MAC."""
    return 2 * int(part["counters"]["macs_qk"] + part["counters"]["macs_pv"])


def peak_tops(arch: Result) -> float:
    """Both arrays at full rate [TOPS]."""
    return float(2 * 2 * arch["multipliers"] * arch["clock_ghz"] / 1e3)


def module_states(counters: dict[str, int], module: str) -> list[tuple[str, int]]:
    """Cycles of a module by what it did: busy, each cause of a stall, idle (what is left)."""
    states = [("busy", counters[f"{module}_busy"])]
    states += [(stall, counters[f"{module}_{stall}"]) for stall in MODULES[module]]
    return [*states, ("idle", max(0, counters["cycles"] - sum(cycles for _, cycles in states)))]


def state_of(cause: str) -> str:
    """The kind of state (`STATES`) that a cause is."""
    busy, data, order, room, idle = STATES
    kinds = {"busy": busy, "idle": idle, **dict.fromkeys(_DATA, data), **dict.fromkeys(_ORDER, order)}
    return kinds.get(cause, room)


def phase_bounds(result: Result) -> dict[str, dict[str, int]]:
    """Least cycles by phase and bound: sums over the layers."""
    return {
        phase: {
            name: sum(layer[f"bound_{name}"] for layer in result["layers"] if layer["phase"] == phase)
            for name in BOUNDS
        }
        for phase in result["phases"]
    }


def draw_roofline(result: Result) -> Figure:
    """Performance over operational intensity; a point for each phase, small ones for its layers."""
    arch, peak = result["arch"], peak_tops(result["arch"])
    bandwidth = result["total"]["peak_gbps"] / 1e3
    figure = Figure(figsize=(7.2, 4.1), dpi=100, layout="constrained", facecolor="none")
    axes = figure.subplots()
    points = {
        phase: (ops(part) / part["bytes_moved"], part["executed_tops"]) for phase, part in result["phases"].items()
    }
    size = transaction_bytes(result)
    clouds = {
        phase: [_layer_point(layer, size, arch["clock_ghz"]) for layer in result["layers"] if layer["phase"] == phase]
        for phase in points
    }
    every = [
        point for point in (*points.values(), *(each for cloud in clouds.values() for each in cloud)) if all(point)
    ]
    left = min([x for x, _ in every] + [peak / bandwidth]) / 3
    right = max([x for x, _ in every] + [peak / bandwidth]) * 3
    x = np.array([left, peak / bandwidth, right])
    axes.plot(x, np.minimum(peak, bandwidth * x), color=INK, linewidth=1.6)
    axes.annotate(
        f"{1e3 * bandwidth:,.4g} GB/s", (left, bandwidth * left), xytext=(6, 4), textcoords="offset points",
        fontsize=8, color=INK,
    )  # fmt: skip
    axes.annotate(
        f"{peak:,.4g} TOPS, both arrays", (right, peak), xytext=(-4, 5), textcoords="offset points", ha="right",
        fontsize=8, color=INK,
    )  # fmt: skip
    for index, (phase, point) in enumerate(points.items()):
        there = [each for each in clouds[phase] if all(each)]
        axes.scatter([x for x, _ in there], [y for _, y in there], s=9, color=COLOURS[index], alpha=0.45, linewidths=0)
        axes.scatter(
            [point[0]],
            [point[1]],
            s=70,
            color=COLOURS[index],
            marker=MARKERS[index],
            label=phase,
            zorder=3,
            linewidths=0,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(min([y for _, y in every] + [bandwidth * left]) / 2, 2 * peak)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("operations per byte of DRAM traffic", fontsize=9)
    axes.set_ylabel("executed operations [TOPS]", fontsize=9)
    clean(axes)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="lower right")
    return figure


def draw_bounds(result: Result) -> Figure:
    """Least cycles of each resource beside the elapsed cycles of its phase."""
    bounds = phase_bounds(result)
    figure = Figure(figsize=(7.2, 0.5 + 1.75 * len(bounds)), dpi=100, layout="constrained", facecolor="none")
    for axes, (phase, cycles) in zip(figure.subplots(len(bounds), 1, squeeze=False)[:, 0], bounds.items(), strict=True):
        elapsed = result["phases"][phase]["counters"]["cycles"]
        names = ["elapsed", *(BOUND_LABELS[name] for name in cycles)]
        widths = [elapsed, *cycles.values()]
        largest = max(cycles.values())
        colours = [GREY, *(COLOURS[1] if value == largest else COLOURS[0] for value in cycles.values())]
        axes.barh(range(len(names)), widths, color=colours, height=0.72)
        for place, value in enumerate(widths):
            axes.text(value, place, f" {value / elapsed:.0%}", va="center", fontsize=8, color=INK)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12 * max(widths))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.set_xlabel(f"{phase} [cycles]", fontsize=9)
        clean(axes)
        axes.grid(visible=False, axis="y")
    return figure


def draw_traffic(result: Result) -> Figure:
    """Bytes moved by kind and phase, with the bytes needed; and by channel."""
    phases, channels = result["phases"], result.get("dram_channels")
    figure = Figure(figsize=(11.5, 3.3), dpi=100, layout="constrained", facecolor="none")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35)) if channels else (figure.subplots(), None)
    kinds = [kind for kind in KINDS if result["total"]["bytes_by_kind"][kind]]
    _bars_by_phase(left, [KIND_LABELS[kind] for kind in kinds], {
        phase: [part["bytes_by_kind"][kind] for kind in kinds] for phase, part in phases.items()
    }, "B")  # fmt: skip
    needed = [result["total"]["counters"][f"bits_{kind}"] / 8 for kind in kinds]
    left.plot(needed, range(len(kinds)), linestyle="", marker="|", ms=15, mew=1.8, color=INK, label="needed")
    left.legend(fontsize=8, frameon=False, labelcolor=INK)
    left.set_xlabel("DRAM traffic by kind [bytes]", fontsize=9)
    if right is not None and channels is not None:
        _draw_channels(right, channels, transaction_bytes(result))
    return figure


def draw_energy(result: Result) -> Figure:
    """Energy by part and phase; where the result has them, ranges, and the area by block with its range."""
    total, area = result["total"], result.get("area_mm2")
    figure = Figure(figsize=(11.5, 3.7), dpi=100, layout="constrained", facecolor="none")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1)) if area else (figure.subplots(), None)
    parts = [part for part in PARTS if total["energy_joules"][part]]
    _bars_by_phase(left, [part.replace("_", " ") for part in parts], {
        phase: [each["energy_joules"][part] for part in parts] for phase, each in result["phases"].items()
    }, "J")  # fmt: skip
    if "energy_low_joules" in total:
        low, high = (np.array([total[f"energy_{side}_joules"][part] for part in parts]) for side in ("low", "high"))
        value = np.array([total["energy_joules"][part] for part in parts])
        _whiskers(left, value, low, high, "range of the total")
    left.legend(fontsize=8, frameon=False, labelcolor=INK, loc="lower right")
    left.set_xlabel("energy by part [J]", fontsize=9)
    if right is not None and area is not None:
        blocks = {name: each for name, each in area.items() if name != "total"}
        value, low, high = (np.array([each[key] for each in blocks.values()]) for key in ("value", "low", "high"))
        right.barh(range(len(blocks)), value, color=COLOURS[2], height=0.72)
        _whiskers(right, value, low, high, "range")
        right.set_yticks(range(len(blocks)), [name.replace("_", " ") for name in blocks])
        right.invert_yaxis()
        right.set_xlabel("area by block [mm²]", fontsize=9)
        clean(right)
        right.grid(visible=False, axis="y")
    return figure


def draw_stalls(result: Result) -> Figure:
    """What each module did in each phase, as shares of the elapsed cycles; wide segments carry their names."""
    phases = result["phases"]
    figure = Figure(figsize=(11.5, 0.8 + 2.0 * len(phases)), dpi=100, layout="constrained", facecolor="none")
    for axes, (phase, part) in zip(figure.subplots(len(phases), 1, squeeze=False)[:, 0], phases.items(), strict=True):
        elapsed = part["counters"]["cycles"]
        for place, module in enumerate(MODULES):
            left = 0.0
            for cause, cycles in sorted(
                module_states(part["counters"], module), key=lambda each: list(STATES).index(state_of(each[0]))
            ):
                width = cycles / elapsed
                if width < 1e-4:
                    continue
                colour = STATES[state_of(cause)]
                axes.barh(place, width, left=left, color=colour, height=0.78, edgecolor="white", linewidth=0.5)
                if width > _NAMED:
                    text = f"{cause.replace('_', ' ')} {width:.0%}"
                    on = "#ffffff" if cause == "busy" else "#000000"
                    inside = text if len(text) * 0.0082 < width else f"{width:.0%}"
                    axes.text(left + width / 2, place, inside, ha="center", va="center", fontsize=8, color=on)
                left += width
        axes.set_yticks(range(len(MODULES)), [MODULE_LABELS[module] for module in MODULES])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_title(f"{phase}: {elapsed:,} cycles", fontsize=9, loc="left", color=INK)
        clean(axes)
        axes.grid(visible=False, axis="y")
    handles = [Patch(color=colour, label=label) for label, colour in STATES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def transaction_bytes(result: Result) -> int:
    """Bytes of a transaction, from the totals."""
    moved = sum(result["total"]["counters"][f"tx_{kind}"] for kind in KINDS)
    return int(result["total"]["bytes_moved"]) // max(1, int(moved))


def _layer_point(layer: dict[str, Any], size: int, clock_ghz: float) -> tuple[float, float]:
    operations = 2 * (layer["macs_qk"] + layer["macs_pv"])
    moved = sum(layer[f"tx_{kind}"] for kind in KINDS) * size
    return operations / max(1, moved), operations * clock_ghz / max(1, layer["cycles"]) / 1e3


def _bars_by_phase(axes: Axes, names: list[str], parts: dict[str, list[float]], unit: str) -> None:
    """Horizontal bars, stacked by phase."""
    left = np.zeros(len(names))
    for index, (phase, widths) in enumerate(parts.items()):
        axes.barh(range(len(names)), widths, left=left, color=COLOURS[index], height=0.72, label=phase)
        left += widths
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(EngFormatter(unit, sep=" "))
    clean(axes)
    axes.grid(visible=False, axis="y")


def _whiskers(axes: Axes, value: Any, low: Any, high: Any, label: str) -> None:
    """Ranges on horizontal bars."""
    sides = np.maximum(0, np.stack([value - low, high - value]))
    axes.errorbar(value, range(len(value)), xerr=sides, fmt="none", ecolor=INK, elinewidth=1, capsize=3, label=label)


def _draw_channels(axes: Axes, channels: dict[str, list[int]], size: int) -> None:
    count = len(next(iter(channels.values())))
    group = -(-count // _MOST_BARS)
    bottom = np.zeros(-(-count // group))
    for kind in KINDS:
        heights = np.add.reduceat(np.array(channels[kind], float), np.arange(0, count, group)) * size
        if heights.any():
            axes.bar(range(len(heights)), heights, bottom=bottom, color=KIND_COLOURS[kind], label=KIND_LABELS[kind])
            bottom += heights
    axes.axhline(bottom.mean(), color=INK, linewidth=0.9, linestyle="--", label="mean")
    axes.yaxis.set_major_formatter(EngFormatter("B", sep=" "))
    axes.set_ylim(0, 1.38 * bottom.max())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.7, len(bottom) - 0.3)
    axes.set_xlabel("channel" if group == 1 else f"channels, {group} in a bar", fontsize=9)
    axes.set_ylabel("DRAM traffic [bytes]", fontsize=9)
    clean(axes)
    axes.grid(visible=False, axis="x")
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=3, loc="upper center")
