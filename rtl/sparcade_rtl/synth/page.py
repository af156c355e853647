"""A sweep as a page of Markdown: the table, what it says and does not, and the engine beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable

from sparcade_rtl.report import markdown
from sparcade_rtl.synth.library import DEFAULT_LIBRARY
from sparcade_rtl.synth.scaling import PAPER_AREA_MM2, PAPER_CLOCK_GHZ, PAPER_POWER_W, Scaled, scale_to_40nm
from sparcade_rtl.synth.sweep import Row, Sweep
from sparcade_rtl.synth.table import header, shown
from sparcade_rtl.synth.tools import versions

_NOTES = """\
- *cells*, *NAND2*, *depth*: Yosys and ABC without a cell library: NOT, AND, OR, XOR, MUX and D flip-flops; enables and
  synchronous resets are gates. *NAND2* counts the flip-flops with 4, the gates as in OSU's 0.18 um library. *depth* is
  the most cells in a row from a register, a memory or a port to the next. No timing constraint.
- *memory*: left out of area, cells and power; its pins begin and end paths.
- *from*, *to*: ends of the slowest path; of the deepest where there is no timing.
- *top-k-filter*: its lanes are its input width.
"""
_LIBRARY_NOTES = """\
- *area*, *path*, *fmax*, *power*: {library}, mapped by ABC for delay with a fan-out of at most 16; OpenSTA without
  wires, ideal clock; outputs of a memory {memory:g} ns behind the clock, its inputs due {setup:g} ns before it; ports
  count as registers. *path* goes from clock to clock. *power* at {clock:g} ns, every net with {activity:g} transitions
  a cycle, without clock tree and clock gating.
"""
_TITLES = (
    "16 lanes at 40 nm",
    "logic [mm2]",
    "memories [mm2]",
    "area [mm2]",
    "clock [GHz]",
    "logic [W]",
    "memories [W]",
    "power at 1 GHz [W]",
)
_COMPARISON = """\
## Beside the paper's engine

Ours is scaled from 180 nm, from low to high; `rtl/sparcade_rtl/synth/scaling.py` has the factors and their sources.

{table}

- Ours: one engine; cells of logic and flip-flops, and its memories (input buffer, two sides of a pass, delay FIFO) by a
  fit to CACTI 7. Without wires, utilisation, clock tree and clock gating. Power with every net at {activity:g}
  transitions a cycle, whatever a workload does; low: memories used in that share of the cycles, high: in every one.
- SpAtten: Fig. 13 and Table II (HPCA 2021), TSMC 40 nm at 1 GHz, logic by Genus, FIFOs by CACTI; parallelism 16, two
  FIFOs of 1024 elements. Not said: bits of a score, one engine or both, and over what the power is averaged.
- So the areas can be compared within their ranges; the clock rests on the stated delay of a memory, scaled as if it
  were logic. Of the powers neither can be called the lower one: activity and clock gating, which are not known for the
  paper's engine, weigh more than the difference.
"""


def page_text(sweep: Sweep, rows: Iterable[Row], command: str) -> str:
    """A page of Markdown: the table, what it says and does not, and the engine of 16 lanes beside the paper's."""
    rows, conditions = tuple(rows), sweep.conditions
    notes = _NOTES
    if sweep.library is not None:
        notes += _LIBRARY_NOTES.format(
            library=sweep.library.name,
            clock=conditions.clock_ns,
            activity=conditions.activity,
            memory=conditions.memory_ns,
            setup=conditions.memory_setup_ns,
        )
    parts = [
        "# Synthesis of the RTL",
        f"Written by `{command}` with {versions()}.",
        markdown(header(sweep), ((*texts, f"`{start}`", f"`{end}`") for *texts, start, end in map(shown, rows))),
        notes,
        _beside_the_paper(sweep, rows),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _beside_the_paper(sweep: Sweep, rows: Iterable[Row]) -> str:
    """The engine of 16 lanes at 40 nm; factors are for the default library only."""
    compared = [
        (row, scaled)
        for row in rows
        if row.block == "top-k-engine" and row.params.lanes == 16 and (scaled := _scaled(sweep, row)) is not None
    ]
    if not compared:
        return ""
    lines = [(f"ours, {row.params.score_bits} bit", *_spans(scaled)) for row, scaled in compared]
    paper = ("SpAtten", "", "", f"{PAPER_AREA_MM2}", f"{PAPER_CLOCK_GHZ:g}", "", "", f"{PAPER_POWER_W}")
    return _COMPARISON.format(table=markdown(_TITLES, [*lines, paper]), activity=sweep.conditions.activity)


def _scaled(sweep: Sweep, row: Row) -> Scaled | None:
    cells, timing = row.synthesis.cells, row.synthesis.timing
    if cells is None or timing is None or sweep.library is None or sweep.library.name != DEFAULT_LIBRARY.stem:
        return None
    return scale_to_40nm(
        area_um2=cells.area_um2,
        path_ns=timing.path_ns,
        nanojoules=timing.power_mw * sweep.conditions.clock_ns * 1e-3,
        macros=row.synthesis.macros,
        activity=sweep.conditions.activity,
    )


def _spans(scaled: Scaled) -> tuple[str, ...]:
    areas = (scaled.logic_mm2, scaled.memory_mm2, scaled.area_mm2)
    powers = (scaled.logic_watts, scaled.memory_watts, scaled.watts)
    ranges = (*areas, scaled.clock_ghz, *powers)
    return tuple(f"{each.low:.3f} to {each.high:.3f}" for each in ranges)
