"""Attention and fully connected layers of a model as a table with units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sparcade.e2e import EndToEnd

Part = dict[str, dict[str, Any]]


def print_e2e(console: Console, result: EndToEnd, files: Sequence[Path]) -> None:
    """Print what both cost, in each phase and in total, and what the numbers rest on."""
    model, arch, shape = result.fc.model, result.run.arch, result.run.workload.shape
    parts: dict[str, Part] = {phase: result.part(phase) for phase in result.phases}
    parts = {**(parts if len(parts) > 1 else {}), "total": result.part()}
    title = f"{shape.name}: {shape.policy} on {arch.name}, {model.weight_bits}-bit weights"
    table = Table("figure", "unit", title=title, title_justify="left")
    for name in parts:
        for kind in ("FC", "attention"):
            table.add_column(f"{name} {kind}", justify="right")

    def row(label: str, unit: str, value: Callable[[dict[str, Any], Part], str]) -> None:
        cells = [value(part[kind], part) for part in parts.values() for kind in ("fc", "attention")]
        table.add_row(label, unit, *cells)

    def share(figures: dict[str, Any], part: Part, name: str) -> str:
        return f"{100 * figures[name] / sum(each[name] for each in part.values()):.1f}"

    row("operations", "GFLOP", lambda figures, _: f"{figures['flop'] / 1e9:,.3f}")
    row("  share", "%", lambda figures, part: share(figures, part, "flop"))
    row("cycles", "cycles", lambda figures, _: f"{figures['cycles']:,}")
    row("time", "ms", lambda figures, _: f"{figures['seconds'] * 1e3:,.3f}")
    row("  share", "%", lambda figures, part: share(figures, part, "cycles"))
    row("DRAM moved", "MB", lambda figures, _: f"{figures['bytes_moved'] / 1e6:,.2f}")
    row(
        "  weights",
        "MB",
        lambda figures, _: f"{figures['weight_bytes'] / 1e6:,.2f}" if "weight_bytes" in figures else "",
    )
    row("DRAM bandwidth", "GB/s", lambda figures, _: f"{figures['achieved_gbps']:.1f}")
    row("energy", "mJ", lambda figures, _: f"{figures['energy_total_joules'] * 1e3:,.3f}")
    console.print(table)
    total = parts["total"]["fc"]
    console.print(
        f"FC: {total['compute_cycles']:,} cycles of multiplications, {total['stream_cycles']:,} of DRAM streams at "
        f"{result.fc.stream.gbps(arch):.1f} GB/s (measured, of {arch.peak_gbps:.0f}); each layer takes the longer"
    )
    console.print(
        f"end to end: {result.cycles:,} cycles, {result.seconds * 1e3:,.3f} ms; attention and FC do not overlap"
    )
    if result.prompt:
        console.print(f"note: FC work of a prompt of {result.prompt:,} tokens is in, its attention is not")
    for path in files:
        console.print(f"  {path}", soft_wrap=True)
