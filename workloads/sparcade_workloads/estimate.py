"""Means with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number estimated from n independent sequences."""

    value: float
    stderr: float  #: standard error; NaN for n = 1
    n: int


def told(value: float, stderr: float) -> str:
    """A number with as many decimals as two digits of its standard error have."""
    if math.isnan(stderr):
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(stderr))) if stderr > 0 else None
    return f"{value:.4g} ± 0" if decimals is None else f"{value:.{decimals}f} ± {stderr:.{decimals}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How the mean of the sequences' scores is told: as it is, or through a function with its derivative."""

    function: Callable[[float], float] = float
    derivative: Callable[[float], float] = lambda _mean: 1.0

    def estimate(self, scores: Sequence[float]) -> Estimate:
        """function(mean), with the standard error by the delta method."""
        mean = _mean(scores)
        slope = self.derivative(mean)
        return Estimate(value=self.function(mean), stderr=abs(slope) * _stderr(scores), n=len(scores))

    def difference(self, scores: Sequence[float], others: Sequence[float]) -> Estimate:
        """function(mean of scores) - function(mean of others) over the same sequences: their common spread cancels."""
        means = _mean(scores), _mean(others)
        slopes = [self.derivative(mean) for mean in means]
        moved = [slopes[0] * one - slopes[1] * other for one, other in zip(scores, others, strict=True)]
        value = self.function(means[0]) - self.function(means[1])
        return Estimate(value=value, stderr=_stderr(moved), n=len(moved))


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


def _stderr(scores: Sequence[float]) -> float:
    if len(scores) < 2:
        return math.nan
    mean = _mean(scores)
    return math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (len(scores) - 1) / len(scores))
