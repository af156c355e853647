"""Layer drop: whole layers (Fan et al., ICLR 2020) or their attention alone (He et al., 2024, arXiv 2406.15786)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from sparcade.errors import ConfigError
from sparcade.policy.protocol import SequenceShape, Structure
from sparcade.policy.static import Static, StaticConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDropConfig(StaticConfig):
    """Which layers, and what of them: a rate or a list."""

    part: Literal["layer", "attention"] = "layer"  #: what of a layer is left out
    rate: Fraction | None = None  #: every floor(1 / rate)-th layer, beginning with that one
    layers: tuple[int, ...] | None = None  #: numbered from 0

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)
        if (self.rate is None) == (self.layers is None):
            raise ConfigError(
                "the layers are named twice" if self.rate is not None else "no layers are named",
                where="rate, layers",
                expected="a rate or a list of layers",
                got="both" if self.rate is not None else "neither",
                remedy="set rate = 'off' beside a list of layers",
            )
        if self.rate is not None and not 0 < self.rate <= Fraction(1, 2):
            raise ConfigError(
                "the rate is outside (0, 1/2]",
                where="rate",
                expected="a fraction of the layers; 1/2 drops every other one",
                got=str(self.rate),
                remedy="name the layers to drop more",
            )


class LayerDrop(Static[LayerDropConfig]):
    """Dropped layers have no rows in the workload; hidden states pass through (attention: the feed-forward stays)."""

    def structure(self, shape: SequenceShape) -> Structure:
        """All heads of the layers that stay."""
        dropped = self._dropped(shape.layers)
        if any(not 0 <= layer < shape.layers for layer in dropped) or len(dropped) == shape.layers:
            raise ConfigError(
                "the layers are not those of this model",
                where="layers",
                expected=f"fewer than all of 0..{shape.layers - 1}",
                got=", ".join(map(str, dropped)),
                remedy="name layers of this model",
            )
        heads = np.ones((shape.layers, shape.heads), np.bool_)
        heads[list(dropped)] = False
        return Structure(heads=heads, skipped=dropped if self.config.part == "layer" else ())

    def _dropped(self, layers: int) -> tuple[int, ...]:
        if self.config.rate is None:
            return tuple(sorted(set(self.config.layers or ())))
        each = int(1 / self.config.rate)
        return tuple(range(each - 1, layers, each))
