"""Keep schedules: the fraction of tokens or heads that enters each layer, as exact fractions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sparcade.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSchedule:
    """Absolute keep fractions: linear from `start` to `end` behind the front layers, or an explicit staircase."""

    start: Fraction = Fraction(1)  #: kept where the line begins, behind the front layers
    end: Fraction = Fraction(1)  #: kept in the last layer
    front: int | None = None  #: unpruned front layers; None for the paper's share of the layers
    staircase: tuple[Fraction, ...] | None = None  #: one fraction per layer, instead of the line

    def __post_init__(self) -> None:
        named = [("start", self.start), ("end", self.end)]
        named += [(f"staircase[{index}]", value) for index, value in enumerate(self.staircase or ())]
        for name, value in named:
            if not 0 <= value <= 1:
                raise ConfigError(
                    "a keep ratio is outside [0, 1]",
                    where=name,
                    expected="a fraction of the tokens or heads that stay, 0 to 1",
                    got=str(value),
                    remedy="a pruning ratio of 3x is keep = '1/3'",
                )
        if self.front is not None and self.front < 0:
            raise ConfigError(
                "the number of front layers is negative",
                where="front",
                expected="an integer from 0",
                got=str(self.front),
                remedy="leave it out for the paper's share of the layers",
            )

    def keep(self, layer: int, layers: int, front_share: Fraction) -> Fraction:
        """Fraction kept in `layer` of `layers`; the front is ceil(front_share * layers) unless stated."""
        if self.staircase is not None:
            if len(self.staircase) != layers:
                raise ConfigError(
                    "the staircase has another length than the model has layers",
                    where="staircase",
                    expected=f"{layers} fractions",
                    got=f"{len(self.staircase)} fractions",
                    remedy="give one fraction per layer, or use start and end",
                )
            return self.staircase[layer]
        front = -(-front_share * layers // 1) if self.front is None else self.front
        if layer < front:
            return Fraction(1)
        return self.start + (self.end - self.start) * Fraction(layer - int(front) + 1, layers - int(front))
