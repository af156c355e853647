"""The summary of a DRAM stream: figures with units, and a heat map of the banks."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sparcade.dram.result import DramResult

_SHADES = " ░▒▓█"


def print_dram_summary(console: Console, result: DramResult, figures: dict[str, Any]) -> None:
    """Print what a stream cost; `figures` is `result.to_dict()`."""
    device, tick_ns = result.device, float(result.device.tick_ps) / 1000
    channels = f"{result.channels} channel{'s' * (result.channels > 1)}"
    table = Table(
        "figure", "unit", title=f"{device.name} ({device.protocol}), {channels}, {result.mapping}", title_justify="left"
    )
    table.add_column("value", justify="right")

    def row(label: str, unit: str, value: str) -> None:
        table.add_row(label, unit, value)

    row("requests", "transactions", f"{figures['requests']:,}")
    row("  reads", "transactions", f"{figures['reads']:,}")
    row("  writes", "transactions", f"{figures['writes']:,}")
    row("ticks", f"{tick_ns:g} ns", f"{result.ticks:,}")
    row("time", "µs", f"{result.seconds * 1e6:,.2f}")
    row("achieved", "GB/s", f"{result.achieved_gbps:.2f}")
    row("peak", "GB/s", f"{result.peak_gbps:.1f}")
    row("utilisation", "%", f"{100 * figures['utilisation']:.1f}")
    for outcome, count in figures["rows"].items():
        row(f"row {outcome}", "requests", f"{count:,}")
    if figures["forwarded_reads"] or figures["coalesced_writes"]:
        row("reads served from a queued write", "requests", f"{figures['forwarded_reads']:,}")
        row("writes absorbed by a queued write", "requests", f"{figures['coalesced_writes']:,}")
    for name, ticks in figures["read_latency_ticks"].items():
        row(f"read latency, {name}", "ns", f"{ticks * tick_ns:,.1f}")
    for command, count in figures["commands"].items():
        row(f"command {command}", "", f"{count:,}")
    for part, joules in figures["energy_joules"].items():
        if joules:
            row(f"energy, {part}", "µJ", f"{joules * 1e6:,.3f}")
    row("energy", "µJ", f"{figures['energy_total_joules'] * 1e6:,.3f}")
    bits = 8 * figures["requests"] * device.organisation.transaction_bytes
    if bits:
        row("energy per bit", "pJ/bit", f"{figures['energy_total_joules'] * 1e12 / bits:.2f}")
    console.print(table)
    _print_heat_map(console, result)
    console.print(f"energy: {figures['energy_source']}; uncertainty: {figures['energy_uncertainty']}")
    console.print(f"device: {device.source}")


def _print_heat_map(console: Console, result: DramResult) -> None:
    """One line per pseudo-channel or rank of all channels together, one cell per bank; darker is busier."""
    organisation = result.device.organisation
    accesses = (
        (result.bank_reads + result.bank_writes).sum(axis=0).reshape(-1, organisation.bank_groups, organisation.banks)
    )
    busiest, wide = max(1, int(accesses.max())), 2 if accesses[0].size <= 16 else 1
    console.print(f"accesses per bank, bank groups side by side (█ = {busiest:,}; share of all in %)")
    total = max(1, int(accesses.sum()))
    levels = result.device.rules.levels[:-2]
    for index, groups in enumerate(accesses):
        cells = "  ".join(
            "".join(_SHADES[int(np.ceil(4 * count / busiest))] * wide for count in group) for group in groups
        )
        place, left = [], index
        for level in reversed(levels):
            size = {"Sid": organisation.stack_ids}.get(level, organisation.uppers)
            place.append(f"{level} {left % size}")
            left //= size
        console.print(f"  {' '.join(reversed(place)) or 'channel':24} {cells}  {100 * groups.sum() / total:5.1f}")
    if result.channels > 1:
        shares = 100 * (result.bank_reads + result.bank_writes).sum(axis=1) / total
        console.print(f"  {'channels':24} {shares.min():.1f} to {shares.max():.1f} % of the accesses each")
