"""SnapKV (Li et al., NeurIPS 2024, section 4 and listing 1): prompt keys that the end of the prompt attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparcade.config import check_counts
from sparcade.errors import ConfigError
from sparcade.policy.protocol import Choice, Ids, KeyState, Row, SequenceShape, TopK
from sparcade.policy.static import MOST_TOKENS, Static, StaticConfig, check_decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapKVConfig(StaticConfig):
    """What stays of a prompt; all that decode adds stays, too."""

    window: int = 32  #: last queries of the prompt, which vote; their keys stay
    budget: int = 2048  #: keys of the prompt that stay, the window among them
    kernel: int = 5  #: neighbours that votes are pooled over, odd
    pooling: Literal["average", "max"] = "average"  #: of the votes of neighbours

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)
        check_counts(self, window=MOST_TOKENS, budget=MOST_TOKENS, kernel=MOST_TOKENS)
        for name, fits, expected in (
            ("budget", self.budget > self.window, f"more keys than the window of {self.window}"),
            ("kernel", self.kernel % 2 == 1, "an odd number of keys"),
        ):
            if not fits:
                raise ConfigError(
                    f"the {name} does not fit",
                    where=name,
                    expected=expected,
                    got=str(getattr(self, name)),
                    remedy="the authors' code has window = 32, budget = 2048, kernel = 5",
                )


class SnapKV(Static[SnapKVConfig]):
    """One selection per layer and KV head, after the prompt."""

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Zero the votes."""
        check_decoder(shape, self.config.name)
        self._first_voter = shape.prompt_tokens - self.config.window
        self._votes = np.zeros((shape.kv_heads, shape.heads // shape.kv_heads, len(shape.tokens)), np.int64)

    def keep_values(self, row: Row) -> Choice:
        """All, after noting the votes of the window's queries."""
        if row.step == 0 and row.query is not None and row.query >= self._first_voter:
            group = self._votes.shape[1]
            self._votes[row.head // group, row.head % group, row.key_ids] += row.probabilities
        return row.key_ids

    def keep_keys(self, state: KeyState) -> Choice:
        """Rank the prompt's keys before the window by their pooled votes."""
        if state.step > 0 or state.context <= self.config.budget:
            return state.candidates
        votes, ids = self._votes[state.kv_head].copy(), state.candidates
        self._votes[state.kv_head] = 0  # the next layer votes again
        before = ids < self._first_voter
        scores = np.zeros(len(ids), np.int64)
        scores[before] = pooled(votes[:, ids[before]], self.config.kernel, self.config.pooling).sum(axis=0)
        return TopK(scores, self.config.budget, ids[~before])


def pooled(votes: Ids, kernel: int, pooling: str) -> Ids:
    """Sum (for an average: the order is the same) or maximum over `kernel` neighbours along the last axis, same length.

    Beyond the ends are zeros.
    """
    padded = np.pad(votes, ((0, 0), (kernel // 2, kernel // 2)))
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=-1)
    result: Ids = neighbours.sum(axis=-1) if pooling == "average" else neighbours.max(axis=-1)
    return result
