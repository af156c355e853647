"""Signals of a simulation, read from the VCD that Amaranth's simulator writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def read_signals(dump: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """Values of signals (`module.signal`, below the top) in each cycle: as they are before its clock edge.

    Raises
    ------
    KeyError
        When there is no such signal.
    """
    wanted = {*names, "clk"}
    values: dict[str, list[int]] = {name: [] for name in wanted}
    found: dict[str, str] = {}
    now = dict.fromkeys(wanted, 0)
    scopes: list[str] = []
    for line in dump.read_text().splitlines():
        words = line.split()
        if words[0] == "$scope":
            scopes.append(words[2])
        elif words[0] == "$upscope":
            scopes.pop()
        elif words[0] == "$var":
            name = ".".join([*scopes[2:], words[4]])
            if name in wanted:
                found[words[3]] = name
        elif line[0] in "b01":
            bits, identifier = words if line[0] == "b" else (line[0], line[1:])
            signal = found.get(identifier)
            if signal is None:
                continue
            value = int(bits.removeprefix("b"), 2)
            if signal == "clk" and value == 1:
                for each in wanted:
                    values[each].append(now[each])
            now[signal] = value
    missing = wanted - set(found.values())
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    return values
