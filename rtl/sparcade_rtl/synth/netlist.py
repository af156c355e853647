"""The netlist that Yosys writes: cells by type, registers by name, and the longest path between registers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade_rtl.synth.macros import PREFIX
from sparcade_rtl.synth.tools import SynthesisError

#: Cells that hold state begin so, among Yosys's own gates; in a library, those that have a clock.
_FLIP_FLOP = "$_DFF_"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongestPath:
    """The most cells in a row from a register, memory or port to the next."""

    depth: int  #: cells
    start: str
    end: str


class Netlist:
    """A flat module of one-bit cells and memory macros.

    Parameters
    ----------
    flip_flops : cell types of the library that hold state; Yosys's own are known.
    """

    def __init__(self, path: Path, flip_flops: frozenset[str] = frozenset()) -> None:
        modules: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["modules"]
        top = next(module for module in modules.values() if int(module["attributes"].get("top", "0"), 2))
        self._flip_flops = flip_flops
        self._cells: dict[str, Any] = top["cells"]
        self._ports: dict[str, Any] = top["ports"]
        self._names = _names(top["netnames"])

    @property
    def counts(self) -> Counter[str]:
        """Cells by type, memories apart."""
        return Counter(cell["type"] for cell in self._cells.values() if not _is_memory(cell["type"]))

    @property
    def flip_flops(self) -> int:
        """Registers [bits]."""
        return sum(count for kind, count in self.counts.items() if self._holds_state(kind))

    def register(self, place: str) -> str:
        """Name in the design of what a timing report calls by its cell or port: a register, a memory or a port."""
        cell = self._cells.get(place)
        if cell is None:
            return place
        return place if _is_memory(cell["type"]) else self._driven(cell)

    def longest_path(self) -> LongestPath:
        """The path with most cells; ports and pins of memories begin and end paths as registers do."""
        starts: dict[int, str] = {}
        for name, port in self._ports.items():
            if port["direction"] == "input":
                starts.update(dict.fromkeys(_nets(port["bits"]), name))
        logic: list[tuple[list[int], list[int]]] = []
        ends: list[tuple[int, str]] = []
        sinks: dict[int, list[int]] = defaultdict(list)
        for name, cell in self._cells.items():
            inputs, outputs = _pins(cell)
            if _is_memory(cell["type"]) or self._holds_state(cell["type"]):
                register = self.register(name)
                starts.update(dict.fromkeys(outputs, register))
                ends += [(net, register) for net in inputs]
                continue
            for net in inputs:
                sinks[net].append(len(logic))
            logic.append((inputs, outputs))
        for name, port in self._ports.items():
            if port["direction"] == "output":
                ends += [(net, name) for net in _nets(port["bits"])]
        depth, before = _levels(logic, sinks, starts)
        net, end = max(ends, key=lambda pair: depth.get(pair[0], 0), default=(0, ""))
        deepest, start = depth.get(net, 0), net
        while start in before:
            start = before[start]
        return LongestPath(depth=deepest, start=starts.get(start, ""), end=end)

    def _holds_state(self, kind: str) -> bool:
        return kind.startswith(_FLIP_FLOP) or kind in self._flip_flops

    def _driven(self, cell: dict[str, Any]) -> str:
        """Name of the register behind a flip-flop, which is that of the net it drives."""
        outputs = _pins(cell)[1]
        return self._names.get(outputs[0], "a register without name") if outputs else "nothing"


def _levels(
    logic: list[tuple[list[int], list[int]]], sinks: dict[int, list[int]], starts: dict[int, str]
) -> tuple[dict[int, int], dict[int, int]]:
    """Cells before each net, and the net before it on the longest way; nets in topological order."""
    depth, before = dict.fromkeys(starts, 0), {}
    driven = {net for _, outputs in logic for net in outputs}
    waits = [sum(net in driven for net in inputs) for inputs, _ in logic]
    ready = [index for index, count in enumerate(waits) if not count]
    while ready:
        index = ready.pop()
        inputs, outputs = logic[index]
        last = max(inputs, key=lambda net: depth.get(net, 0), default=None)
        for net in outputs:
            depth[net] = 1 + (depth.get(last, 0) if last is not None else 0)
            if last is not None:
                before[net] = last
            for sink in sinks.get(net, ()):
                waits[sink] -= 1
                if not waits[sink]:
                    ready.append(sink)
    if any(waits):
        raise SynthesisError(
            "the netlist has a loop without a register",
            where="the longest path",
            expected="gates in an order",
            got=f"{sum(map(bool, waits))} gates that wait for each other",
            remedy="break the loop in the block",
        )
    return depth, before


def _pins(cell: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Nets at the inputs and at the outputs of a cell, constants left out."""
    inputs: list[int] = []
    outputs: list[int] = []
    for pin, bits in cell["connections"].items():
        (outputs if cell["port_directions"][pin] == "output" else inputs).extend(_nets(bits))
    return inputs, outputs


def _nets(bits: list[int | str]) -> list[int]:
    return [bit for bit in bits if isinstance(bit, int)]


def _is_memory(kind: str) -> bool:
    return kind.startswith(PREFIX)


def _names(nets: dict[str, Any]) -> dict[int, str]:
    """Name of every net that has one in the design: with several, the one highest in the hierarchy."""
    names: dict[int, str] = {}
    for name in sorted(nets, key=lambda name: (name.count("."), name)):
        if not nets[name].get("hide_name"):
            bits, plain = nets[name]["bits"], name.removeprefix("\\")
            for index, bit in enumerate(bits):
                names.setdefault(bit, f"{plain}[{index}]" if len(bits) > 1 else plain)
    return names
