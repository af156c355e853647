"""What policies of one technique start from: everything is kept, words have one width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from sparcade.errors import ConfigError
from sparcade.numerics.fixed_point import KeyFormat
from sparcade.policy.protocol import Choice, HeadState, Row, SequenceShape, TokenState

#: Largest number of tokens that a setting may name.
MOST_TOKENS = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticConfig:
    """Settings of every policy."""

    name: str  #: the preset's or file's, unless stated
    source: str  #: where the rule is from
    bits: int = 12  #: static quantization: width of K and V words; 32 switches quantization off

    def __post_init__(self) -> None:
        KeyFormat(msb_bits=self.bits)


Config = TypeVar("Config", bound=StaticConfig)


class Static(Generic[Config]):
    """Keeps all tokens, heads and values."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Nothing to forget."""

    def keep_tokens(self, state: TokenState) -> Choice:
        """All."""
        return state.candidates

    def keep_heads(self, state: HeadState) -> Choice:
        """All."""
        return state.candidates

    def keep_values(self, row: Row) -> Choice:
        """All."""
        return row.key_ids

    def bits(self, row: Row) -> tuple[int, int, float]:
        """The configured width."""
        return self.config.bits, 0, 0.0


def check_decoder(shape: SequenceShape, policy: str) -> None:
    """Raise a `ConfigError` unless the sequence has a KV cache to evict from."""
    if not shape.causal:
        raise ConfigError(
            "the policy evicts keys from a KV cache, which an encoder does not have",
            where=f"policy {policy}",
            expected="a decoder",
            got="a model with a full mask",
            remedy="use spatten-encoder, evit, layer-drop or a head mask",
        )
