"""Memories of a design as macros: black boxes in its netlist, counted beside its logic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import ClockSignal, Elaboratable, Instance, Module, Shape, Value
from amaranth.lib.memory import Memory

#: Cell types of macros begin so.
PREFIX = "memory_"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Macro:
    """A memory with registered reads, all ports on one clock; writing through to a read is its own affair."""

    depth: int  #: words
    width: int  #: bits of a word
    reads: int  #: read ports
    writes: int  #: write ports
    enables: int  #: write enables of a port, each over width / enables bits

    @property
    def name(self) -> str:
        """Cell type in the netlist."""
        return f"{PREFIX}{self.depth}x{self.width}_{self.reads}r{self.writes}w{self.enables}e"

    @property
    def bits(self) -> int:
        """Capacity [bits]."""
        return self.depth * self.width

    def pins(self) -> Iterator[tuple[str, int, bool]]:
        """(name, bits, whether it is an output) of every port but `clk`."""
        address = max(1, (self.depth - 1).bit_length())
        for port in range(self.reads):
            yield f"r{port}_addr", address, False
            yield f"r{port}_en", 1, False
            yield f"r{port}_data", self.width, True
        for port in range(self.writes):
            yield f"w{port}_addr", address, False
            yield f"w{port}_en", self.enables, False
            yield f"w{port}_data", self.width, False


class MacroPlatform:
    """Amaranth's hook for memories: each becomes an instance of a macro, recorded in `macros` in design order."""

    def __init__(self) -> None:
        self.macros: list[Macro] = []

    def get_memory(self, memory: Memory) -> Elaboratable:
        """The macro in the place of a memory. One that is read within a cycle stays: it is made of flip-flops."""
        reads, writes = memory.read_ports, memory.write_ports
        if any(port.domain == "comb" for port in reads):
            return memory.elaborate(None)
        macro = Macro(
            depth=memory.depth,
            width=Shape.cast(memory.shape).width,
            reads=len(reads),
            writes=len(writes),
            enables=max((len(port.en) for port in writes), default=1),
        )
        self.macros.append(macro)
        wires = {"i_clk": ClockSignal(reads[0].domain if reads else writes[0].domain)}
        for letter, ports in (("r", reads), ("w", writes)):
            for index, port in enumerate(ports):
                wires[f"i_{letter}{index}_addr"], wires[f"i_{letter}{index}_en"] = port.addr, port.en
                wires[f"{'o' if letter == 'r' else 'i'}_{letter}{index}_data"] = Value.cast(port.data)
        m = Module()
        m.submodules.macro = Instance(macro.name, **wires)
        return m


def black_boxes(macros: set[Macro]) -> str:
    """Verilog of the macros without contents."""
    return "".join(_black_box(macro) for macro in sorted(macros))


def _black_box(macro: Macro) -> str:
    ports = [f"{'output' if out else 'input'} [{bits - 1}:0] {name}" for name, bits, out in macro.pins()]
    return f"(* blackbox *) module {macro.name}({', '.join(['input clk', *ports])}); endmodule\n"
