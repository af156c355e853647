"""A number with its range, and arithmetic that carries the range along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value between a low and a high one; each may also be an array.

    Sums and products take low with low and high with high: what makes a constant wrong makes it wrong everywhere, so
    ranges do not cancel. That holds for numbers that are not negative, and no others occur in energy and area.
    """

    value: float
    low: float
    high: float

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(value=self.value + other.value, low=self.low + other.low, high=self.high + other.high)

    def __mul__(self, other: Estimate | float) -> Estimate:
        if isinstance(other, Estimate):
            return Estimate(value=self.value * other.value, low=self.low * other.low, high=self.high * other.high)
        return Estimate(value=self.value * other, low=self.low * other, high=self.high * other)

    def __truediv__(self, divisor: float) -> Estimate:
        return Estimate(value=self.value / divisor, low=self.low / divisor, high=self.high / divisor)

    def to_dict(self) -> dict[str, float]:
        """Plain table."""
        return {"value": self.value, "low": self.low, "high": self.high}


NOTHING = Estimate(value=0.0, low=0.0, high=0.0)


def total(estimates: Iterable[Estimate]) -> Estimate:
    """Their sum."""
    return sum(estimates, NOTHING)
