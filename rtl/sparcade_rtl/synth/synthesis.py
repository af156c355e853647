"""Synthesis of a block: Amaranth to RTLIL, Yosys and ABC to gates and to cells of a library, OpenSTA for the rest."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from sparcade.topk import TopKParams
from sparcade_rtl.synth.gates import nand2_equivalents
from sparcade_rtl.synth.library import Library
from sparcade_rtl.synth.macros import Macro, MacroPlatform, black_boxes
from sparcade_rtl.synth.netlist import LongestPath, Netlist
from sparcade_rtl.synth.timing import Conditions, Timing, time_netlist
from sparcade_rtl.synth.tools import sta_installed, yosys
from sparcade_rtl.top_k_engine import TopKEngine

#: ABC's own script without `dc2`, which turns the parallel-prefix adders of Yosys into ripple adders (engine of 16
#: lanes: 33 cells deep instead of 22, and larger).
_MAP = "strash;&get,-n;&fraig,-x;&put;scorr;strash;&get,-n;&dch,-f;&nf;&put"
#: Fan-out of cells, registers and inputs at most 16; then cells sized for delay, and smaller where there is slack.
_BUFFER = "buffer,-c,-p,-N,16;upsize;dnsize"
#: Load of the outputs of ABC's netlist, which are inputs of flip-flops and ports [fF].
_ABC_LOAD = 20
#: Registers lose their values before reset, which no flip-flop of a library has; enables and synchronous resets become
#: gates, so that they count in area and depth, and ABC sees the block as a whole.
_FRONT = [
    "read_verilog memories.v",
    "read_rtlil block.il",
    "hierarchy -top top",
    "setattr -unset init w:*",
    "synth -flatten -noabc -top top",
    "setattr -unset init w:*",  # of memories that became flip-flops
]
_TO_GATES = [
    "dfflegalize -cell $_DFF_P_ x",
    f"abc -g simple -script +{_MAP}",
    "opt_clean -purge",
    "delete t:$scopeinfo",
    "write_json gates.json",
]
_TO_CELLS = [
    "dfflibmap -liberty cells.lib",
    f"abc -liberty cells.lib -constr constraints.txt -script +{_MAP};{_BUFFER}",
    "setundef -zero",
    "opt_clean -purge",
    "delete t:$scopeinfo",
    "splitnets -ports",
    "clean -purge",
    "rename -enumerate -pattern u% c:*",
    "read_liberty -lib -ignore_miss_func cells.lib",
    "write_json cells.json",
    "write_verilog -noattr -noexpr -nohex -simple-lhs cells.v",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """A block in Yosys's simple gates (NOT, AND, OR, XOR, MUX) and D flip-flops, its memories left out."""

    cells: int  #: without flip-flops
    flip_flops: int
    nand2: float  #: area with flip-flops [NAND2]
    longest: LongestPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A block in cells of a library, its memories left out."""

    cells: int  #: without flip-flops
    area_um2: float  #: with flip-flops
    nand2: float  #: area with flip-flops [smallest NAND2 of the library]


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """What a block is made of; `cells` is None without a library, `timing` without OpenSTA as well."""

    macros: tuple[Macro, ...]
    gates: Gates
    cells: Cells | None
    timing: Timing | None

    @property
    def memory_bits(self) -> int:
        """Capacity of all memories [bits]."""
        return sum(macro.bits for macro in self.macros)


def synthesise(block: wiring.Component, library: Library | None, conditions: Conditions) -> Synthesis:
    """Synthesise a block; the same netlists and numbers every time.

    Raises
    ------
    ConfigError
        When Yosys is not installed.
    SynthesisError
        When a tool fails.
    """
    platform = MacroPlatform()
    text = rtlil.convert(block, name="top", platform=platform, emit_src=False)
    macros = set(platform.macros)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "block.il").write_text(text, encoding="utf-8")
        (folder / "memories.v").write_text(black_boxes(macros), encoding="utf-8")
        if library is None:
            yosys(folder, [*_FRONT, *_TO_GATES])
            return Synthesis(macros=tuple(platform.macros), gates=_gates(folder), cells=None, timing=None)
        (folder / "cells.lib").write_text(library.text, encoding="utf-8")
        constraints = f"set_driving_cell {library.buffer}\nset_load {_ABC_LOAD}\n"
        (folder / "constraints.txt").write_text(constraints, encoding="utf-8")
        yosys(folder, [*_FRONT, "design -save front", *_TO_GATES, "design -load front", *_TO_CELLS])
        mapped = Netlist(folder / "cells.json", library.flip_flops)
        timing = None
        if sta_installed():
            timing = time_netlist(folder, library, macros, conditions)
            timing = replace(timing, start=mapped.register(timing.start), end=mapped.register(timing.end))
        return Synthesis(
            macros=tuple(platform.macros), gates=_gates(folder), cells=_cells(mapped, library), timing=timing
        )


def _gates(folder: Path) -> Gates:
    netlist = Netlist(folder / "gates.json")
    counts = netlist.counts
    return Gates(
        cells=counts.total() - netlist.flip_flops,
        flip_flops=netlist.flip_flops,
        nand2=nand2_equivalents(counts),
        longest=netlist.longest_path(),
    )


def _cells(netlist: Netlist, library: Library) -> Cells:
    counts = netlist.counts
    area = sum(count * library.areas[kind] for kind, count in counts.items())
    return Cells(cells=counts.total() - netlist.flip_flops, area_um2=area, nand2=area / library.areas[library.nand2])


def engine_depth(params: TopKParams) -> LongestPath:
    """The longest path of the top-k engine, in cells, without a library."""
    return synthesise(TopKEngine(params), None, Conditions()).gates.longest
