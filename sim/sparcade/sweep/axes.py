"""Axes of a sweep and how points are chosen on them beforehand: grid, random, Latin hypercube."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Value = int | float | str | bool | tuple[Any, ...]
Method = Literal["grid", "random", "latin-hypercube", "optuna"]
METHODS: tuple[Method, ...] = ("grid", "random", "latin-hypercube", "optuna")
#: Longest list of values that a range may stand for.
_LONGEST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One setting and the values it takes: a list, or the interval `low` to `high` where `values` is empty."""

    name: str  #: such as "dram.channels" or "policy.tokens.end"
    values: tuple[Value, ...]
    low: float = 0.0
    high: float = 0.0

    def at(self, share: float) -> Value:
        """The value at a share [0, 1) of the axis."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        return self.rounded(self.low + share * (self.high - self.low))

    def rounded(self, value: float) -> float:
        """A value of an interval with six digits, so that a person can type it."""
        return min(max(float(f"{value:.6g}"), self.low), self.high)


def axis(name: str, given: Any) -> Axis:
    """An axis from a list of values, `{log2 = [low, high]}`, or `{linear = [low, high], steps = n}`.

    `log2` doubles from low as long as high is not passed. `linear` without `steps` is every integer from low to high,
    or, with a float, an interval that only random and Latin hypercube can sample.

    Raises
    ------
    ValueError
        With the reason.
    """
    if isinstance(given, list | tuple):
        values = tuple(_constant(value) for value in given)
        if not values:
            raise ValueError("the axis is empty")
        if len({repr(value) for value in values}) < len(values):
            raise ValueError("a value stands twice")
        return Axis(name=name, values=values)
    if not isinstance(given, dict):
        raise ValueError(f"{given!r} is neither a list nor a range")
    scale = "log2" if "log2" in given else "linear"
    if scale not in given or set(given) - ({"log2"} if scale == "log2" else {"linear", "steps"}):
        raise ValueError("a range is {log2 = [low, high]} or {linear = [low, high], steps = n}")
    ends = given[scale]
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise ValueError(f"{scale} = {ends!r} is no pair of numbers")
    if not all(_is_number(end) for end in ends):
        raise ValueError(f"{scale} = {list(ends)!r} is not numeric")
    low, high = ends
    if low > high:
        raise ValueError(f"the range runs backwards: {low!r} to {high!r}")
    if scale == "log2":
        return Axis(name=name, values=_doublings(low, high))
    steps = given.get("steps")
    if steps is None and isinstance(low, int) and isinstance(high, int):
        if high - low >= _LONGEST:
            raise ValueError(f"the range has more than {_LONGEST:,} values")
        return Axis(name=name, values=tuple(range(low, high + 1)))
    if steps is None:
        return Axis(name=name, values=(), low=float(low), high=float(high))
    if type(steps) is not int or not 2 <= steps <= _LONGEST:
        raise ValueError(f"steps = {steps!r} is no integer in 2..{_LONGEST:,}")
    return Axis(name=name, values=_steps(low, high, steps))


def choose(axes: Sequence[Axis], *, method: Method, samples: int, seed: int) -> Iterator[tuple[Value, ...]]:
    """Values of all axes, point by point. Each axis has a random stream of its own: a new axis leaves others alone."""
    if method == "grid":
        yield from itertools.product(*(axis.values for axis in axes))
        return
    columns = []
    for axis in axes:
        stream = random.Random(f"{seed}/{axis.name}")
        if method == "random":
            shares = [stream.random() for _ in range(samples)]
        else:
            strata = list(range(samples))
            stream.shuffle(strata)
            shares = [(stratum + stream.random()) / samples for stratum in strata]
        columns.append([axis.at(share) for share in shares])
    yield from dict.fromkeys(zip(*columns, strict=True))


def _constant(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_constant(item) for item in value)
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{value!r} is no number, text, true or false")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _doublings(low: float, high: float) -> tuple[Value, ...]:
    if low <= 0:
        raise ValueError(f"log2 begins at {low!r}: it must be above 0")
    values = [low]
    while values[-1] * 2 <= high:
        values.append(values[-1] * 2)
    return tuple(values)


def _steps(low: float, high: float, steps: int) -> tuple[Value, ...]:
    values = [low + (high - low) * step / (steps - 1) for step in range(steps)]
    if isinstance(low, int) and isinstance(high, int):
        if any(value != int(value) for value in values):
            raise ValueError(f"{steps} steps from {low} to {high} are no integers")
        return tuple(int(value) for value in values)
    return tuple(float(f"{value:.12g}") for value in values)
