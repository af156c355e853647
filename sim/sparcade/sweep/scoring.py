"""What a point is worth: its metrics as values, the objectives among them as costs, and fronts of costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparcade.sweep.expression import Expression, number
from sparcade.sweep.metric_file import MetricFile

Direction = Literal["min", "max"]
#: A value per objective, less is better.
Costs = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How values of a point follow from its metrics, and which of them are objectives; sent to workers."""

    objectives: dict[str, Direction]
    derived: dict[str, Expression]
    metric_file: MetricFile | None

    def values(self, point: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Metrics of a point: its own, those of the metric file, and derived ones.

        None where an expression has no value there, such as a division by zero.

        Raises
        ------
        ConfigError
            When the metric file has no row for the point.
        """
        found = {**metrics, **(self.metric_file.at(point) if self.metric_file else {})}
        scope = {name: number(value) for name, value in {**point, **found}.items()}
        for name, expression in self.derived.items():
            try:
                value = expression.value(scope)
                found[name] = float(value) if math.isfinite(value) else None
            except (ArithmeticError, ValueError, TypeError):
                found[name] = None
            scope[name] = found[name]
        return found

    def costs(self, values: Mapping[str, Any]) -> Costs | None:
        """The objectives of `values` as costs; None where one is missing."""
        costs = [
            None if values.get(name) is None else float(values[name]) * (1 if direction == "min" else -1)
            for name, direction in self.objectives.items()
        ]
        return None if None in costs else tuple(cost for cost in costs if cost is not None)


def beats(better: Costs, worse: Costs) -> bool:
    """Whether the one is as good in every objective and better in one."""
    pairs = list(zip(better, worse, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front_with(front: Sequence[Costs], more: Sequence[Costs]) -> tuple[Costs, ...]:
    """The front of costs that no other beats, with more points in it."""
    found = list(front)
    for costs in more:
        if not any(beats(other, costs) for other in found):
            found = [other for other in found if not beats(costs, other)]
            if costs not in found:
                found.append(costs)
    return tuple(found)
