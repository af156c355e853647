"""The engines beside each other, and beside the paper's baseline: throughput, area, power, energy of a selection."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sparcade.topk import TopKParams
from sparcade.topk.cycles import engine_cycles
from sparcade.topk.lists import describe
from sparcade.topk.sorter import two_lists_cycles
from sparcade_rtl.report import markdown, write_report
from sparcade_rtl.synth.blocks import build_block
from sparcade_rtl.synth.library import Library
from sparcade_rtl.synth.scaling import Scaled, scale_to_40nm
from sparcade_rtl.synth.synthesis import Synthesis, synthesise
from sparcade_rtl.synth.timing import Conditions
from sparcade_rtl.synth.tools import versions

#: Block and comparators of each. The paper does not say how many its sorter has.
CONTENDERS = (
    ("top-k-engine", 16),
    ("top-k-engine-radix", 16),
    ("batcher-sorter", 16),
    ("batcher-sorter", 32),
    ("batcher-sorter", 64),
)
SIZES = (256, 1024)
#: Lists of uniform scores, half of which are kept; the first, which fills the engine, does not count.
REPEATS = 33
#: Of the files of its report.
NAME = "engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """An engine, what it is made of, and its mean cycles from list to list for each of `SIZES`."""

    block: str
    params: TopKParams
    synthesis: Synthesis
    scaled: Scaled
    intervals: dict[int, float]

    @property
    def milliwatts(self) -> float:
        """Of the logic at 180 nm, at the clock and activity of the conditions."""
        assert self.synthesis.timing is not None
        return self.synthesis.timing.power_mw

    def nanojoules(self, n: int, conditions: Conditions) -> float:
        """Of the logic at 180 nm, for a list of n elements."""
        return self.milliwatts * conditions.clock_ns * 1e-3 * self.intervals[n]


def contenders(bits: int, library: Library, conditions: Conditions) -> Iterator[Contender]:
    """Synthesise and run each in turn. OpenSTA must be there."""
    for block, lanes in CONTENDERS:
        params = TopKParams(lanes=lanes, score_bits=bits)
        synthesis = synthesise(build_block(block, params), library, conditions)
        assert synthesis.cells is not None
        assert synthesis.timing is not None
        scaled = scale_to_40nm(
            area_um2=synthesis.cells.area_um2,
            path_ns=synthesis.timing.path_ns,
            nanojoules=synthesis.timing.power_mw * conditions.clock_ns * 1e-3,
            macros=synthesis.macros,
            activity=conditions.activity,
        )
        intervals = {n: mean_interval(block, params, n) for n in SIZES}
        yield Contender(block=block, params=params, synthesis=synthesis, scaled=scaled, intervals=intervals)


def mean_interval(block: str, params: TopKParams, n: int) -> float:
    """Mean cycles from list to list of n elements, half of them kept, that follow each other without a pause."""
    if block == "batcher-sorter":
        return float(two_lists_cycles(params, n, n // 2)) / 2
    if block == "top-k-engine-radix":
        params = replace(params, engine="radix-select")
    rng = np.random.default_rng(n)
    lists = [(rng.integers(0, 1 << params.score_bits, n), n // 2) for _ in range(REPEATS)]
    trace = engine_cycles(params, describe(params, lists))
    return float(np.diff(trace.outputs[trace.last]).mean())


_TITLES = (
    "engine",
    "comparators",
    "score bits",
    *(f"cycles a list, n = {n}" for n in SIZES),
    "area of logic [um2]",
    "memory [bit]",
    "area at 40 nm [mm2]",
    "power [mW]",
    *(f"energy of a list, n = {n} [nJ]" for n in SIZES),
    *(f"throughput, n = {n} [x]" for n in SIZES),
    "power [x]",
    f"energy, n = {max(SIZES)} [x]",
)
_PAGE = """\
# Quick-select, radix select and the sorter

Written by `{command}` with {versions}.

{table}

- *cycles a list*: mean from list to list, half of each being kept, uniform scores, no pauses; 8 elements a beat,
  capacity 1024. Of the engines the model's, which are the RTL's (every transfer of the bench); of the sorter the closed
  form. A comparator of quick-select compares a score of a pass, one of the radix engine reads and counts one.
- *area*, *power*, *energy*: {library}, OpenSTA without wires, {clock:g} ns, every net with {activity:g} transitions a
  cycle and no clock gating, so power follows area; memories are in the area at 40 nm only. See rtl_synth/synth.md.
- *[x]*: of the quick-select engine over the engine (throughput), the engine over quick-select (power, energy).

{findings}
"""


def write_comparison(
    folder: Path, found: Iterable[Contender], library: Library, conditions: Conditions, command: str
) -> None:
    """Write table and picture atomically; `command` says how they were made."""
    found = list(found)
    rows = [_row(each, _base(each, found), conditions) for each in found]
    page = _PAGE.format(
        command=command,
        versions=versions(),
        table=markdown(_TITLES, rows),
        library=library.name,
        clock=conditions.clock_ns,
        activity=conditions.activity,
        findings="\n".join(_findings(found, conditions)),
    )
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([_TITLES, *rows])
    write_report(folder, NAME, table=table.getvalue(), page=page, figure=_draw(found, conditions))


def _base(contender: Contender, found: list[Contender]) -> Contender:
    """The quick-select engine of the same scores."""
    bits = contender.params.score_bits
    return next(each for each in found if each.block == "top-k-engine" and each.params.score_bits == bits)


def _row(each: Contender, base: Contender, conditions: Conditions) -> tuple[str, ...]:
    cells = each.synthesis.cells
    assert cells is not None
    area, longest = each.scaled.area_mm2, max(SIZES)
    return (
        each.block,
        str(each.params.lanes),
        str(each.params.score_bits),
        *(f"{each.intervals[n]:.1f}" for n in SIZES),
        f"{cells.area_um2:,.0f}",
        f"{each.synthesis.memory_bits:,}",
        f"{area.low:.3f} to {area.high:.3f}",
        f"{each.milliwatts:.1f}",
        *(f"{each.nanojoules(n, conditions):.1f}" for n in SIZES),
        *(f"{base.intervals[n] / each.intervals[n]:.2f}" for n in SIZES),
        f"{each.milliwatts / base.milliwatts:.2f}",
        f"{each.nanojoules(longest, conditions) / base.nanojoules(longest, conditions):.2f}",
    )


def _findings(found: list[Contender], conditions: Conditions) -> Iterator[str]:
    """The paper's claim beside ours, and what the second engine is worth."""
    n = max(SIZES)
    yield f"The paper: at n = {n} the engine has 1.4 times the throughput of a Batcher sorter and 3.5 times less power;"
    yield "it does not say how many comparators that sorter has. Ours:"
    yield ""
    for each in found:
        base = _base(each, found)
        if each is base:
            continue
        faster = each.intervals[n] / base.intervals[n]
        power = each.milliwatts / base.milliwatts
        energy = each.nanojoules(n, conditions) / base.nanojoules(n, conditions)
        yield (
            f"- {each.params.score_bits} bit, against {each.block} with {each.params.lanes} comparators: quick-select "
            f"has {faster:.2f} times the throughput; that one has {power:.2f} times its power, {energy:.2f} times its "
            "energy a list."
        )


def _draw(found: list[Contender], conditions: Conditions) -> Figure:
    widths = sorted({each.params.score_bits for each in found})
    figure = Figure(figsize=(5 * len(widths), 3.8), layout="constrained")
    colours = {"top-k-engine": "#2b6cb0", "top-k-engine-radix": "#2f855a", "batcher-sorter": "#c05621"}
    n = max(SIZES)
    for axes, bits in zip(figure.subplots(1, len(widths), squeeze=False)[0], widths, strict=True):
        for each in (one for one in found if one.params.score_bits == bits):
            point = (each.intervals[n], each.nanojoules(n, conditions))
            axes.plot(*point, "o", color=colours[each.block])
            axes.annotate(f"{each.block}, {each.params.lanes}", point, (6, 4), textcoords="offset points", fontsize=8)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.margins(x=0.45, y=0.15)
        axes.set_xlabel(f"cycles a list, n = {n}")
        axes.set_title(f"{bits} bit scores", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel("energy of a list, logic at 180 nm [nJ]")
    return figure
