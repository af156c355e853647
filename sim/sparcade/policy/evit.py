"""EViT (Liang et al., ICLR 2022, section 3) without token fusion: patches that the class token attends to stay."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from sparcade.config import check_counts
from sparcade.errors import ConfigError
from sparcade.policy.protocol import Choice, Row, SequenceShape, TokenState, TopK
from sparcade.policy.static import MOST_TOKENS, Static, StaticConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EViTConfig(StaticConfig):
    """Where patches leave, and how many."""

    keep: Fraction = Fraction(7, 10)  #: share of the patches still there that stay, each time, rounded up
    after: tuple[int, ...] = (3, 6, 9)  #: layers whose attention ranks, numbered from 0
    special: int = 1  #: first tokens that always stay; 2 with a distillation token

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)
        check_counts(self, special=MOST_TOKENS)
        if not 0 < self.keep <= 1:
            raise ConfigError(
                "a keep ratio is outside (0, 1]",
                where="keep",
                expected="a fraction of the patches that stay",
                got=str(self.keep),
                remedy="the paper has 7/10",
            )


class EViT(Static[EViTConfig]):
    """Ranked by the class token's attention, summed over the heads; what leaves, leaves all later layers."""

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Refuse a decoder, and layers that the model does not have."""
        last = shape.layers - 2  # what the last layer ranks would leave no further layer
        if shape.causal:
            raise ConfigError(
                "the policy ranks by the attention of a class token, which a decoder does not have",
                where=f"policy {self.config.name}",
                expected="an encoder with its class token first (ViT, DeiT, BERT)",
                got="a model with a causal mask",
                remedy="use streaming-llm, h2o, snapkv or duo-attention",
            )
        if any(not 0 <= layer <= last for layer in self.config.after):
            raise ConfigError(
                "the model has no layer to rank after",
                where="after",
                expected=f"layers in 0..{last}",
                got=", ".join(map(str, self.config.after)),
                remedy="name layers of this model, such as --set policy.after=[1,3]",
            )
        self._attention = np.zeros(len(shape.tokens), np.int64)

    def keep_values(self, row: Row) -> Choice:
        """All, after noting what the class token attends to."""
        if row.query == 0 and row.probabilities is not None:
            self._attention[row.key_ids] += row.probabilities
        return row.key_ids

    def keep_tokens(self, state: TokenState) -> Choice:
        """The special tokens, and the patches with the most attention of the layer that just ended."""
        ids, attention = state.candidates, self._attention[state.candidates]
        self._attention[:] = 0
        if state.layer - 1 not in self.config.after:
            return ids
        special = ids[ids < self.config.special]
        patches = len(ids) - len(special)
        return TopK(attention, len(special) + ceil(self.config.keep * patches), special)
