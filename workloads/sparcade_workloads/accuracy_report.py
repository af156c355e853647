"""What a measurement of accuracy leaves: a folder with tables and a figure, and a summary for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sparcade._files import canonical_json, new_folder, refuse_foreign
from sparcade.report.accuracy_report import RESULT, read_accuracy
from sparcade.report.svg import save_svg
from sparcade_workloads.accuracy import AccuracyReport
from sparcade_workloads.estimate import told

TABLE, METRICS, PICTURE, PAGE = "accuracy.csv", "metrics.csv", "accuracy.svg", "report.html"
_NAMES = frozenset((RESULT, TABLE, METRICS, PICTURE, PAGE))
_REDUCTION = "kv_reduction_vs_dense_12_bit"


def check_folder(folder: Path) -> None:
    """Raise a `ConfigError` now if the report could not take the place of the folder later."""
    refuse_foreign(folder, marker=RESULT, owns=_NAMES.__contains__)


def write_report(folder: Path, report: AccuracyReport) -> list[Path]:
    """Write the folder atomically; returns the files.

    accuracy.json and accuracy.csv hold everything; metrics.csv the settings, the policy and the metric alone, for a
    sweep; accuracy.svg the curve, where there is an axis; report.html all of it as a page.
    """
    with new_folder(folder, marker=RESULT, owns=_NAMES.__contains__) as fresh:
        (fresh / RESULT).write_text(canonical_json(report.to_dict()), encoding="utf-8")
        frame = pd.DataFrame(report.rows)
        frame.to_csv(fresh / TABLE, index=False, lineterminator="\n")
        metric = report.metric
        keys = [name for name in (report.axis, "policy") if name is not None]
        frame[[*keys, metric, f"{metric}_stderr", f"{metric}_n"]].to_csv(
            fresh / METRICS, index=False, lineterminator="\n"
        )
        page = read_accuracy(fresh / RESULT)
        (fresh / PAGE).write_text(page.page(), encoding="utf-8")
        picture = page.picture()
        if picture is not None:
            picture.set_facecolor("white")
            save_svg(picture, fresh / PICTURE)
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]


def print_summary(console: Console, report: AccuracyReport) -> None:
    """Print one line per point."""
    metric, source, first = report.metric, report.provenance, report.rows[0]
    console.print(
        f"{source['model']} on {source['data']}, {source['sequences']} sequences, closed loop, {source['arch']}\n"
        f"{metric} under {source['compare']}: {_with_error(first, f'{metric}_dense')}; {first['dense_cycles']:,} cycles"
    )
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    names = [metric, f"{metric}_difference", *([f"{metric}_random"] if f"{metric}_random" in first else [])]
    for name in (report.axis or "policy", *(name.removeprefix(f"{metric}_") for name in names), "K+V", "speedup"):
        table.add_column(name.removeprefix("policy."), justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(
            source["policy"] if report.axis is None else f"{row[report.axis]:g}",
            *(_with_error(row, name) for name in names),
            f"{row[_REDUCTION]:.2f}x",
            f"{row['speedup']:.2f}x",
        )
    console.print(table)
    console.print(
        f"± one standard error; difference: from {source['compare']} on the same sequences; random: as many survivors, "
        f"ranked at random; K+V: bits of dense 12 bit over the policy's; speedup: over {source['compare']} on this arch"
    )
    if "open_cycles" in first:
        _print_open_loop(console, report)


def _print_open_loop(console: Console, report: AccuracyReport) -> None:
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    columns = {"tokens_kept": "tokens", "lsb_rate": "LSB rate", _REDUCTION: "K+V", "cycles": "cycles"}
    columns["output_cosine"] = "cosine"
    for name in (report.axis or "policy", "loop", *columns.values(), "overlap"):
        table.add_column(name.removeprefix("policy."), justify="right", no_wrap=True)
    for row in report.rows:
        point = report.provenance["policy"] if report.axis is None else f"{row[report.axis]:g}"
        table.add_row(point, "closed", *(f"{row[name]:.6g}" for name in columns), "")
        cells = [f"{row[f'open_{name}']:.6g}" for name in columns]
        table.add_row("", "open", *cells, f"{row['same_survivors']:.1%}")
    console.print(table)
    console.print(
        "open loop: the trace of the unpruned model, replayed; its later layers saw unpruned inputs; cosine: attention "
        "outputs with the unpruned float model's; overlap: tokens in both over tokens in either"
    )


def _with_error(row: dict[str, Any], name: str) -> str:
    return told(row[name], row[f"{name}_stderr"])
