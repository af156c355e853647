"""H2O (Zhang et al., NeurIPS 2023, section 4 and algorithm 1): heavy hitters and recent tokens."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sparcade.errors import ConfigError
from sparcade.policy.protocol import IMPORTANCE_MAX, Choice, KeyState, SequenceShape, TopK
from sparcade.policy.spatten import share
from sparcade.policy.static import Static, StaticConfig, check_decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class H2OConfig(StaticConfig):
    """The cache between two steps, as shares of the prompt."""

    heavy: Fraction = Fraction(1, 10)  #: heavy hitters
    recent: Fraction = Fraction(1, 10)  #: most recent tokens, at least one

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)
        for name in ("heavy", "recent"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    "a share of the prompt is outside [0, 1]",
                    where=name,
                    expected="a fraction of the prompt's tokens",
                    got=str(getattr(self, name)),
                    remedy="the paper keeps 1/10 heavy hitters and 1/10 recent tokens",
                )


class H2O(Static[H2OConfig]):
    """Per layer and KV head: the largest sums of attention over all rows that saw the key, and the recent tokens."""

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Zero the sums."""
        check_decoder(shape, self.config.name)
        self._score = np.zeros((shape.layers, shape.kv_heads, len(shape.tokens)), np.int64)
        self._heavy = int(self.config.heavy * shape.prompt_tokens)
        self._recent = share(self.config.recent, shape.prompt_tokens)

    def keep_keys(self, state: KeyState) -> Choice:
        """Accumulate the layer's attention, then rank the keys that are not recent."""
        score = self._score[state.layer, state.kv_head, : state.context]
        np.minimum(score + state.probability, IMPORTANCE_MAX, out=score)
        ids = state.candidates
        if len(ids) <= self._heavy + self._recent:
            return ids
        return TopK(score[ids], self._heavy + self._recent, ids[ids >= state.context - self._recent])
