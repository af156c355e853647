"""DuoAttention (Xiao et al., ICLR 2025, section 2): retrieval heads keep all, streaming heads sinks and a window."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from sparcade.config import check_counts
from sparcade.errors import ConfigError
from sparcade.policy.head_table import HeadTable, best
from sparcade.policy.protocol import Choice, KeyState, Row, SequenceShape
from sparcade.policy.static import MOST_TOKENS, Static, StaticConfig, check_decoder
from sparcade.policy.streaming_llm import sinks_and_window


@dataclass(frozen=True, slots=True, kw_only=True)
class DuoAttentionConfig(StaticConfig):
    """Which KV heads are retrieval heads, and the cache of the others between two steps."""

    retrieval: Fraction = Fraction(1, 2)  #: share of the KV heads
    gates: HeadTable | None = None  #: learned gates [layers, KV heads]; None: by the prompt's attention, layer by layer
    sinks: int = 64  #: first tokens
    window: int = 256  #: most recent tokens

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)
        check_counts(self, least=0, sinks=MOST_TOKENS)
        check_counts(self, window=MOST_TOKENS)
        if not 0 <= self.retrieval <= 1:
            raise ConfigError(
                "the share of retrieval heads is outside [0, 1]",
                where="retrieval",
                expected="a fraction of the KV heads",
                got=str(self.retrieval),
                remedy="the paper has 1/4 for multi-head and 1/2 for grouped-query attention",
            )


class DuoAttention(Static[DuoAttentionConfig]):
    """The largest gates of the whole model are retrieval heads.

    Without gates, the heads of each layer are ranked by the probability that the prompt's rows give to keys that a
    streaming head would not hold.
    """

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Choose the retrieval heads, or begin to look at the prompt."""
        check_decoder(shape, self.config.name)
        self._group = shape.heads // shape.kv_heads
        self._outside = np.zeros((shape.layers, shape.kv_heads))
        self._retrieval = np.zeros((shape.layers, shape.kv_heads), np.bool_)
        if self.config.gates is not None:
            gates = self.config.gates.of(shape.layers, shape.kv_heads, what="gates")
            self._retrieval = best(gates, self._count(gates.size))

    def keep_values(self, row: Row) -> Choice:
        """All, after noting what a prompt's row gives to keys between sinks and window."""
        if row.step == 0 and row.query is not None and row.probabilities is not None and self.config.gates is None:
            ids = row.key_ids
            outside = (ids >= self.config.sinks) & (ids < row.query - self.config.window)
            self._outside[row.layer, row.head // self._group] += int(row.probabilities[outside].sum())
        return row.key_ids

    def keep_keys(self, state: KeyState) -> Choice:
        """All in a retrieval head, sinks and window in another."""
        if state.step == 0 and self.config.gates is None:
            outside = self._outside[state.layer]
            self._retrieval[state.layer] = best(outside, self._count(len(outside)))
        if self._retrieval[state.layer, state.kv_head]:
            return state.candidates
        return sinks_and_window(state, self.config.sinks, self.config.window)

    def _count(self, heads: int) -> int:
        """Retrieval heads among so many: those at or above the quantile 1 - retrieval, as the authors count."""
        if self.config.retrieval == 0:
            return 0
        return heads - ceil((heads - 1) * (1 - self.config.retrieval))
