"""SpAtten's policy (HPCA 2021, section III), built from the Policy protocol only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from sparcade.errors import ConfigError
from sparcade.numerics.fixed_point import KeyFormat
from sparcade.policy.protocol import IMPORTANCE_MAX, Choice, HeadState, Ids, Row, SequenceShape, TokenState, TopK
from sparcade.policy.schedule import KeepSchedule

#: Share of front layers left unpruned (section V-A of the paper).
TOKEN_FRONT = Fraction(15, 100)
HEAD_FRONT = Fraction(30, 100)
#: Importance is a count of probability in 1/4096.
_ONE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPruning(KeepSchedule):
    """Cascade token pruning: which tokens enter a layer, by cumulative importance."""

    accumulate: Literal["sum", "per-visible-query"] = "sum"  #: raw sum as published, or mean per row that saw the key
    decay: Fraction = Fraction(1)  #: importance is multiplied by it at the start of every decode step
    decode_only: bool = False  #: ignore the prompt's probabilities
    protect_first: int = 0  #: tokens at the start that always stay (CLS, attention sinks)
    protect_last: int = 0  #: newest tokens that always stay
    in_prefill: bool = True  #: prune the prompt too

    def __post_init__(self) -> None:
        KeepSchedule.__post_init__(self)
        if not 0 <= self.decay <= 1:
            raise ConfigError(
                "the decay is outside [0, 1]",
                where="decay",
                expected="the share of importance that outlives a step",
                got=str(self.decay),
                remedy="use 1 for none, 0.9 for a memory of about ten steps",
            )
        if self.decode_only and self.in_prefill:
            raise ConfigError(
                "decode_only leaves the prompt without scores to rank",
                where="decode_only",
                expected="in_prefill = false with decode_only = true",
                got="in_prefill = true",
                remedy="set in_prefill = false: the prompt stays whole",
            )
        for name in ("protect_first", "protect_last"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    "a number of protected tokens is negative",
                    where=name,
                    expected="an integer from 0",
                    got=str(getattr(self, name)),
                    remedy="use 0 for none",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPruning(KeepSchedule):
    """Cascade head pruning: which heads enter a layer, by cumulative |output|."""

    in_prefill: bool = True  #: prune in the prompt too
    min_heads: int = 1  #: off in models with fewer heads


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalValuePruning:
    """Local value pruning: each query fetches V only for its largest probabilities."""

    keep: Fraction  #: share of the visible keys
    in_prefill: bool = False  #: rank in the prompt too

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= 1:
            raise ConfigError(
                "a keep ratio is outside [0, 1]",
                where="keep",
                expected="a fraction of the V vectors that are fetched, 0 to 1",
                got=str(self.keep),
                remedy="0.3 keeps 30 %",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressiveQuantization:
    """Progressive quantization: fetch the MSB plane of K, and the LSB plane only for flat rows."""

    msb_bits: int = 8  #: of the plane that is always fetched, and of V: 4, 6 or 8
    lsb_bits: int = 4  #: of the plane that flat rows fetch, too
    threshold: float = 0.1  #: refetch when the largest probability is strictly below
    in_prefill: bool = False  #: fetch planes apart in the prompt too

    def __post_init__(self) -> None:
        KeyFormat(msb_bits=self.msb_bits, lsb_bits=self.lsb_bits, threshold=self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """SpAtten's five techniques; a table left out (or set to "off") switches that one off."""

    name: str  #: the preset's or file's, unless stated
    source: str  #: where the numbers are from
    bits: int = 12  #: static quantization: width of K and V words; 32 switches quantization off
    tokens: TokenPruning | None = None
    heads: HeadPruning | None = None
    local_v: LocalValuePruning | None = None
    progressive: ProgressiveQuantization | None = None

    def __post_init__(self) -> None:
        KeyFormat(msb_bits=self.bits)


def share(fraction: Fraction, of: int) -> int:
    """k = max(1, floor(fraction * of))."""
    return max(1, int(fraction * of))


class SpAtten:
    """The policy of a `PolicyConfig`: cumulative importance, ratio schedules, bits."""

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Zero the importance of tokens and heads."""
        self._shape = shape
        self._importance = np.zeros(len(shape.tokens), np.int64)
        self._seen = np.zeros(len(shape.tokens), np.int64)
        self._head_importance = np.zeros(shape.heads, np.int64)

    def keep_tokens(self, state: TokenState) -> Choice:
        """Accumulate the last layer's probabilities, then rank the candidates by importance."""
        rule = self.config.tokens
        if rule is None:
            return state.candidates
        self._accumulate(rule, state)
        first = state.step == 0 and state.layer == 0
        if first or (state.step == 0 and not rule.in_prefill):
            return state.candidates
        keep = rule.keep(state.layer, self._shape.layers, TOKEN_FRONT)
        guarded = (state.candidates < rule.protect_first) | (state.candidates >= state.context - rule.protect_last)
        if state.newest is not None:
            guarded |= state.candidates == state.newest
        scores = self._scores(rule)[state.candidates]
        return TopK(scores, share(keep, state.context), state.candidates[guarded])

    def keep_heads(self, state: HeadState) -> Choice:
        """Accumulate the last layer's |output|, then rank the candidates by it."""
        rule = self.config.heads
        if rule is None or self._shape.heads < rule.min_heads:
            return state.candidates
        self._head_importance = np.minimum(self._head_importance + state.output, IMPORTANCE_MAX)
        first = state.step == 0 and state.layer == 0
        if first or (state.step == 0 and not rule.in_prefill):
            return state.candidates
        keep = rule.keep(state.layer, self._shape.layers, HEAD_FRONT)
        return TopK(self._head_importance[state.candidates], share(keep, self._shape.heads))

    def keep_values(self, row: Row) -> Choice:
        """The largest probabilities of one query row."""
        rule = self.config.local_v
        if rule is None or row.probabilities is None or (row.step == 0 and not rule.in_prefill):
            return row.key_ids
        return TopK(row.probabilities, share(rule.keep, len(row.key_ids)))

    def bits(self, row: Row) -> tuple[int, int, float]:
        """Static width, or MSB + LSB planes in decode."""
        rule = self.config.progressive
        if rule is None or (row.step == 0 and not rule.in_prefill):
            return self.config.bits, 0, 0.0
        return rule.msb_bits, rule.lsb_bits, rule.threshold

    def _accumulate(self, rule: TokenPruning, state: TokenState) -> None:
        counted = state.step - (state.layer == 0)  # the step of the layer that just ended
        if not (rule.decode_only and counted <= 0):
            grown = self._importance[: state.context] + state.probability
            self._importance[: state.context] = np.minimum(grown, IMPORTANCE_MAX)
            self._seen[: state.context] += state.seen * _ONE
        if state.layer == 0 and state.step > 0 and rule.decay != 1:
            up, down = rule.decay.numerator, rule.decay.denominator
            for score in (self._importance, self._seen):
                score[:] = [int(value) * up // down for value in score]

    def _scores(self, rule: TokenPruning) -> Ids:
        if rule.accumulate == "sum":
            return self._importance
        return np.where(self._seen > 0, self._importance * _ONE // np.maximum(self._seen, 1), 0)
