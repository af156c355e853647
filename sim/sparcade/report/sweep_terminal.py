"""The results of a sweep as a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sparcade.report.html import shown
from sparcade.report.sweep_report import SweepReport

_MOST_FRONT = 5


def summary(report: SweepReport) -> Iterator[str]:
    """How many points are done, the best ones, and the beginning of the front."""
    yield f"sweep {report.name}: {report.headline}"
    if not report.objectives:
        yield "no point has a value of an objective"
        return
    points: dict[str, list[dict[Any, Any]]] = {}
    for row in report.best.to_dict("records"):
        points.setdefault(row["key"], []).append(row)
    for rows in points.values():
        yield f"best: {', '.join(row['best'] for row in rows)}"
        yield from _point(report, rows[0])
    first, way = next(iter(report.objectives.items()))
    front = report.front.sort_values(first, ascending=way == "min", kind="stable")
    cut = f", the first {_MOST_FRONT} by {first}" if len(front) > _MOST_FRONT else ""
    yield f"Pareto front, {len(front):,} points{cut}:"
    for row in front.head(_MOST_FRONT).to_dict("records"):
        yield from _point(report, row)
    yield f"note: {report.sweep.profile.label}"


def _point(report: SweepReport, row: Mapping[Any, Any]) -> Iterator[str]:
    yield "  " + " ".join(f"{name}={row[name]}" for name in report.factors)
    yield "    " + ", ".join(f"{name} {shown(row[name])}" for name in report.objectives)
