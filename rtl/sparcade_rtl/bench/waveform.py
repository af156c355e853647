"""Picture of a small selection: signals of the engine in Amaranth's simulator, cycle by cycle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from amaranth.sim import Simulator
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparcade._files import new_file
from sparcade.report.svg import save_svg
from sparcade.topk import TopKParams
from sparcade_rtl.bench.vcd import read_signals
from sparcade_rtl.top_k_engine import TopKEngine

PARAMS = TopKParams(lanes=2, input_width=2, score_bits=4, index_bits=3, capacity=8)
#: The list of SpAtten's Fig. 9 in tenths, and one behind it.
LISTS = (([6, 1, 5, 12, 6], 3), ([3, 9, 4], 1))
#: What is shown: a signal of a module in the Verilog, or a port; a bus only while its gate is not 0.
_SHOWN = (
    ("requests.valid", None, "requests.valid"),
    ("elements.valid", None, "elements.valid"),
    ("elements.ready", None, "elements.ready"),
    ("select.left", "select.left", "scores of the pass to read"),
    ("select.pivot", "select.left", "pivot"),
    ("select.turn", "select.turn", "cycles behind the last row"),
    ("select.greater", "select.turn", "greater than the pivot"),
    ("select.smaller", "select.turn", "smaller"),
    ("select.thresholds__valid", None, "thresholds.valid"),
    ("filter.left", "filter.busy", "elements to filter"),
    ("o.valid", None, "o.valid"),
    ("o.scores", "o.valid", "o (scores)"),
)
_PORTS = ("requests.valid", "elements.valid", "elements.ready", "o.valid", "o.scores")
_COLOUR = "#2b6cb0"


def draw_waveform(path: Path) -> None:
    """Simulate `LISTS` through an engine of `PARAMS` and draw it as SVG."""
    with tempfile.TemporaryDirectory() as scratch:
        dump = Path(scratch) / "engine.vcd"
        ports = _simulate(dump)
        inner = {each for name, gate, _ in _SHOWN for each in (name, gate) if each and each not in _PORTS}
        signals = ports | read_signals(dump, inner)
    cycles = len(ports["o.valid"])
    figure = Figure(figsize=(0.3 * cycles + 2.4, 0.36 * len(_SHOWN) + 0.5), layout="constrained")
    axes = figure.subplots()
    for place, (name, gate, label) in enumerate(_SHOWN):
        values = signals[name]
        if gate is None:
            _draw_bit(axes, -place, values)
        else:
            shown = [value if on else None for value, on in zip(values, signals[gate], strict=True)]
            _draw_bus(axes, -place, shown)
        axes.text(-0.4, -place + 0.3, label, ha="right", va="center", fontsize=8)
    axes.set_xlim(-6.5, cycles)
    axes.set_xticks(range(cycles), [str(cycle) for cycle in range(cycles)], fontsize=6)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.6)
    axes.set_yticks([])
    axes.set_xlabel("cycle", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    with new_file(path) as fresh:
        save_svg(figure, fresh)


def _simulate(dump: Path) -> dict[str, list[Any]]:
    """Write the signals of all modules; the ports are returned, by cycle."""
    dut = TopKEngine(PARAMS)
    ports: dict[str, list[Any]] = {name: [] for name in _PORTS}

    async def bench(ctx: Any) -> None:
        asks = list(LISTS)
        beats = [scores[at : at + 2] for scores, _ in LISTS for at in range(0, len(scores), 2)]
        ends = 0
        ctx.set(dut.o.ready, 1)
        while ends < len(LISTS):
            ctx.set(dut.requests.valid, bool(asks))
            ctx.set(dut.elements.valid, bool(beats))
            if asks:
                ctx.set(dut.requests.p.size, len(asks[0][0]))
                ctx.set(dut.requests.p.k, asks[0][1])
            for place, score in enumerate(beats[0] if beats else []):
                ctx.set(dut.elements.p[place].score, score)
            _, _, asked, sent, valid, row = await ctx.tick().sample(
                dut.requests.ready, dut.elements.ready, dut.o.valid, dut.o.p
            )
            scores = " ".join(str(row.lanes[place].score) for place in range(min(row.count, PARAMS.input_width)))
            for name, value in zip(_PORTS, (bool(asks), bool(beats), sent, valid, scores), strict=True):
                ports[name].append(value)
            asks, beats = asks[bool(asks and asked) :], beats[bool(beats and sent) :]
            ends += bool(valid and row.last)

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    with simulator.write_vcd(str(dump)):
        simulator.run()
    return ports


def _draw_bit(axes: Axes, base: float, values: list[int]) -> None:
    heights = [base + 0.6 * value for value in values]
    axes.step(range(len(values) + 1), [*heights, heights[-1]], where="post", color=_COLOUR, linewidth=1.2)


def _draw_bus(axes: Axes, base: float, values: list[Any]) -> None:
    begin = 0
    for cycle in range(1, len(values) + 1):
        if cycle < len(values) and values[cycle] == values[begin]:
            continue
        if values[begin] is None:
            axes.plot([begin, cycle], [base + 0.3] * 2, color="#a0aec0", linewidth=0.8)
        else:
            x = [begin, begin + 0.1, cycle - 0.1, cycle, cycle - 0.1, begin + 0.1]
            y = [base + 0.3, base + 0.6, base + 0.6, base + 0.3, base, base]
            axes.fill(x, y, facecolor="#ebf8ff", edgecolor=_COLOUR, linewidth=0.9)
            axes.text((begin + cycle) / 2, base + 0.29, str(values[begin]), ha="center", va="center", fontsize=6.5)
        begin = cycle
