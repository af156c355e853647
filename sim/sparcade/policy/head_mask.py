"""Static head masks (Michel et al., NeurIPS 2019, section 4): the least important heads never run."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sparcade.errors import ConfigError
from sparcade.policy.head_table import HeadTable, best
from sparcade.policy.protocol import SequenceShape, Structure
from sparcade.policy.static import Static, StaticConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMaskConfig(StaticConfig):
    """Heads of all layers are ranked together; those of importance 0 or less never run."""

    importance: HeadTable  #: [layers, heads]; a mask of zeros and ones is one, too
    keep: Fraction = Fraction(1)  #: share of all heads that run at most, the most important first

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)
        if not 0 < self.keep <= 1:
            raise ConfigError(
                "a keep ratio is outside (0, 1]",
                where="keep",
                expected="a fraction of the model's heads that run",
                got=str(self.keep),
                remedy="1 leaves the choice to the zeros of the table",
            )


class HeadMask(Static[HeadMaskConfig]):
    """A layer whose heads are all masked has no attention."""

    def structure(self, shape: SequenceShape) -> Structure:
        """The most important heads, ties to the first layer, then to the first head."""
        importance = self.config.importance.of(shape.layers, shape.heads, what="importance")
        heads = best(importance, max(1, int(self.config.keep * importance.size))) & (importance > 0)
        if not heads.any():
            raise ConfigError(
                "the mask leaves no head",
                where="importance",
                expected="a positive number for at least one head",
                got="none above 0",
                remedy="write 1 for heads that run",
            )
        return Structure(heads=heads)
