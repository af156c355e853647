"""The control of an accuracy measurement: as many survivors as a policy keeps, ranked at random."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sparcade.policy.protocol import LOCAL_BITS, Choice, HeadState, Policy, Row, SequenceShape, TokenState, TopK
from sparcade.topk.params import IMPORTANCE_BITS


class RandomRanking:
    """Another policy's counts and protected ids, with random scores; LSB planes for random rows.

    Ids that the policy names itself, without a ranking, stay as they are.

    Parameters
    ----------
    seed : of all scores; each sequence has a stream of its own.
    lsb_rate : share of rows whose LSB plane is fetched, by layer, as measured under the policy. A row with an LSB
        plane is refetched with that probability, whatever its probabilities.
    """

    def __init__(self, policy: Policy, *, seed: int, lsb_rate: Mapping[int, float]) -> None:
        self._policy, self._seed, self._lsb_rate = policy, seed, lsb_rate
        self._sequence = -1
        if hasattr(policy, "structure"):
            self.structure = policy.structure
        if hasattr(policy, "keep_keys"):
            keep_keys = policy.keep_keys
            self.keep_keys = lambda state: self._shuffled(keep_keys(state), IMPORTANCE_BITS)

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Start the stream of the sequence."""
        self._sequence += 1
        self._random = np.random.default_rng([self._seed, self._sequence])
        self._group = shape.heads // shape.kv_heads
        self._thresholds: dict[tuple[int, int, int], float] = {}
        self._policy.begin_sequence(shape)

    def keep_tokens(self, state: TokenState) -> Choice:
        """As many tokens as the policy keeps."""
        return self._shuffled(self._policy.keep_tokens(state), IMPORTANCE_BITS)

    def keep_heads(self, state: HeadState) -> Choice:
        """As many heads as the policy keeps."""
        return self._shuffled(self._policy.keep_heads(state), IMPORTANCE_BITS)

    def keep_values(self, row: Row) -> Choice:
        """As many values as the policy keeps."""
        return self._shuffled(self._policy.keep_values(row), LOCAL_BITS)

    def bits(self, row: Row) -> tuple[int, int, float]:
        """The policy's planes; a threshold that refetches always or never, drawn once per KV head of a step."""
        msb, lsb, _ = answer = self._policy.bits(row)
        if not lsb:
            return answer
        key = (row.step, row.layer, row.head // self._group)
        if key not in self._thresholds:
            self._thresholds[key] = float(self._random.random() < self._lsb_rate.get(row.layer, 0.0))
        return msb, lsb, self._thresholds[key]

    def _shuffled(self, choice: Choice, bits: int) -> Choice:
        if not isinstance(choice, TopK):
            return choice
        scores = self._random.integers(0, 1 << bits, len(choice.scores), dtype=np.int64)
        return TopK(scores, choice.k, choice.protected)
