"""The summary of a run as a table with units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sparcade.evaluation import Evaluation
from sparcade.policy import mean_cosine

_KINDS = {"k_msb": "K", "k_lsb": "K LSB", "v": "V", "q": "Q", "out": "output"}
Part = dict[str, Any]


def print_summary(console: Console, evaluation: Evaluation, result: dict[str, Any], files: list[Path]) -> None:
    """Print what a run cost, what it saved and what it moved; `result` is `evaluation.to_dict()`."""
    parts: dict[str, Part] = {**result["phases"], "total": result["total"]}
    comparison = result["comparison"]
    shape, arch = evaluation.run.workload.shape, evaluation.run.arch
    table = Table(
        title=f"{shape.name}: {shape.policy} on {arch.name} ({arch.dram.label}, {arch.peak_gbps:.0f} GB/s peak)",
        title_justify="left",
    )
    table.add_column("figure")
    table.add_column("unit")
    for name in parts:
        table.add_column(name, justify="right")

    def row(label: str, unit: str, value: Callable[[Part], str]) -> None:
        table.add_row(label, unit, *(value(part) for part in parts.values()))

    row("cycles", "cycles", lambda part: f"{part['counters']['cycles']:,}")
    row("time", "µs", lambda part: f"{part['seconds'] * 1e6:,.1f}")
    row("DRAM moved", "kB", lambda part: f"{part['bytes_moved'] / 1e3:,.1f}")
    for kind, label in _KINDS.items():
        if parts["total"]["bytes_by_kind"][kind]:
            row(f"  {label}", "kB", lambda part, kind=kind: f"{part['bytes_by_kind'][kind] / 1e3:,.1f}")  # type: ignore[misc]
    row("K+V moved", "kB", lambda part: f"{part['kv_bytes_moved'] / 1e3:,.1f}")
    row("K+V needed", "kB", lambda part: f"{part['kv_bits_needed'] / 8e3:,.1f}")
    row("K+V needed, dense 12 bit over it", "x", lambda part: f"{part['kv_reduction_vs_dense_12_bit']:.2f}")
    row("K+V needed, dense fp32 over it", "x", lambda part: f"{part['kv_reduction_vs_dense_fp32']:.2f}")
    row("DRAM bandwidth", "GB/s", lambda part: f"{part['achieved_gbps']:.1f}")
    if arch.dram.kind == "controller":
        row("DRAM row hits", "%", lambda part: f"{_hit_rate(part['counters']):.1f}")
    row("energy", "µJ", lambda part: f"{part['energy_total_joules'] * 1e6:,.2f}")
    row("  from, all constants low", "µJ", lambda part: f"{part['energy_total_low_joules'] * 1e6:,.2f}")
    row("  to, all constants high", "µJ", lambda part: f"{part['energy_total_high_joules'] * 1e6:,.2f}")
    row("  DRAM", "µJ", lambda part: f"{part['energy_joules']['dram'] * 1e6:,.2f}")
    row("executed MACs x 2", "TOPS", lambda part: f"{part['executed_tops']:.3f}")
    row("LSB refetches", "queries", lambda part: f"{part['counters']['refetches']:,}")
    row("cascade top-k, not hidden", "cycles", lambda part: f"{part['counters']['fetch_cascade']:,}")
    console.print(table)
    if comparison:
        _print_comparison(console, comparison, list(parts))
    bounds = result["bounds"]
    parts_of_bound = ", ".join(f"{name} {cycles:,}" for name, cycles in bounds["cycles"].items())
    console.print(f"bound: {bounds['module']}, {bounds['share']:.0%} of the cycles (least cycles: {parts_of_bound})")
    _print_power(console, result)
    if evaluation.errors:
        _print_errors(console, evaluation)
    for label, value in (
        ("selections not charged to the top-k engine", shape.uncharged_selections),
        (
            "tokens of a layer of a decode step that the prompt's cascade had pruned there",
            result["keys_pruned_in_prefill_but_fetched_in_decode"],
        ),
        ("elements saturated by the fixed point", sum(result["saturated_elements"].values())),
    ):
        if value:
            console.print(f"{label}: {value:,}")
    for note in result["assumptions"]:
        console.print(f"note: {note}")
    for path in files:
        console.print(f"  {path}", soft_wrap=True)


def _print_power(console: Console, result: dict[str, Any]) -> None:
    watts, area = result["power_watts"], result["area_mm2"]["total"]
    average = f"{watts['average']:.2f} ({watts['average_low']:.2f} to {watts['average_high']:.2f}) W"
    peak = f"{watts['peak']:.2f} ({watts['peak_low']:.2f} to {watts['peak_high']:.2f}) W"
    window = f"the {watts['window_cycles']:,} cycles from {watts['peak_at_cycle']:,}"
    console.print(
        f"power: {average} on average, {peak} in {window}; "
        f"chip area without DRAM {area['value']:.2f} ({area['low']:.2f} to {area['high']:.2f}) mm2"
    )


def _hit_rate(counters: dict[str, int]) -> float:
    """Share of DRAM transactions that found their row open [%]."""
    hits, others = counters["dram_row_hits"], counters["dram_row_misses"] + counters["dram_row_conflicts"]
    return 100 * hits / max(1, hits + others)


def _print_comparison(console: Console, comparison: dict[str, Any], phases: list[str]) -> None:
    title = f"over {comparison['policy']} on the same hardware"
    table = Table("figure", "unit", title=title, title_justify="left")
    for phase in phases:
        table.add_column(phase, justify="right")
    columns = [comparison[phase] for phase in phases]
    table.add_row("speedup", "x", *(f"{column['speedup']:.2f}" for column in columns))
    table.add_row("K+V bytes moved, less", "x", *(f"{column['kv_bytes_moved_reduction']:.2f}" for column in columns))
    table.add_row("energy, less", "x", *(f"{column['energy_reduction']:.2f}" for column in columns))
    rates = [f"{column['achieved_gbps']:.1f} / {column['baseline_achieved_gbps']:.1f}" for column in columns]
    table.add_row("bandwidth, this / that", "GB/s", *rates)
    console.print(table)


def _print_errors(console: Console, evaluation: Evaluation) -> None:
    errors = evaluation.errors
    queries = sum(error.queries for error in errors)
    worst = max(errors, key=lambda error: error.max_abs_error)
    low = min(errors, key=lambda error: error.cosine_mean)
    console.print(
        f"outputs against the float model: cosine {mean_cosine(errors):.4f} mean, {low.cosine_mean:.4f} in the worst "
        f"head (layer {low.layer}, head {low.head}); largest error {worst.max_abs_error:.3f} "
        f"(layer {worst.layer}, head {worst.head}); {queries:,} rows"
    )
