"""Attention and fully connected layers of a model as a table with units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sparcade.e2e import EndToEnd

Part = dict[str, dict[str, Any]]
_KINDS = {"fc": "FC", "attention": "attention"}


def print_e2e(console: Console, result: EndToEnd, files: Sequence[Path]) -> None:
    """Print what both cost, in each phase and in total, and what the numbers rest on."""
    model, arch, shape = result.fc.model, result.run.arch, result.run.workload.shape
    parts: dict[str, Part] = {phase: result.part(phase) for phase in result.phases}
    parts = {**(parts if len(parts) > 1 else {}), "total": result.part()}
    title = f"{shape.name}: {shape.policy} on {arch.name}, {model.weight_bits}-bit weights"
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("part", no_wrap=True)
    for name in ("GFLOP", "of it %", "ms", "of it %", "DRAM MB", "GB/s", "mJ"):
        table.add_column(name, justify="right")
    for name, part in parts.items():
        for kind, figures in part.items():
            table.add_row(
                f"{name} {_KINDS[kind]}",
                f"{figures['flop'] / 1e9:,.3f}",
                f"{_share(part, kind, 'flop'):.1f}",
                f"{figures['seconds'] * 1e3:,.3f}",
                f"{_share(part, kind, 'cycles'):.1f}",
                f"{figures['bytes_moved'] / 1e6:,.1f}",
                f"{figures['achieved_gbps']:.0f}",
                f"{figures['energy_total_joules'] * 1e3:,.2f}",
            )
    console.print(table)
    total = parts["total"]["fc"]
    console.print(f"FC weights: {total['weight_bytes'] / 1e6:,.2f} MB")
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


def _share(part: Part, kind: str, name: str) -> float:
    """Share of FC or attention in both [%]."""
    return float(100 * part[kind][name] / sum(each[name] for each in part.values()))
