"""The Policy protocol: what a pruning policy is asked, and what it may answer.

The engine (`sparcade.policy.engine`) asks, in this order, for every sequence: `begin_sequence`; then before every
layer of every step `keep_tokens` and `keep_heads`; in the layer, per head, `bits`; per query row `keep_values`.
Two methods more are optional: `structure` (`StructuredPolicy`), asked after `begin_sequence`, and `keep_keys`
(`EvictingPolicy`), asked per KV head after a layer that another step follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sparcade.numerics.fixed_point import PROBABILITY_BITS
from sparcade.topk.params import IMPORTANCE_BITS

Ids = npt.NDArray[np.int64]

#: Local V scores are 12-bit probabilities.
LOCAL_BITS = PROBABILITY_BITS
IMPORTANCE_MAX = (1 << IMPORTANCE_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceShape:
    """What a policy may know of a sequence before it starts."""

    layers: int  #: of the model, as the trace has them
    heads: int  #: query heads of a layer
    kv_heads: int  #: KV heads of a layer
    head_dim: int  #: D
    causal: bool  #: True for decoders
    prompt_tokens: int  #: the first tokens, those of step 0
    tokens: tuple[str, ...]  #: token strings, prompt and decode


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenState:
    """State before a layer, for the choice of its tokens."""

    step: int  #: 0 is prefill
    layer: int  #: the layer about to run
    context: int  #: tokens before pruning in this step (L0)
    newest: int | None  #: the token that must survive this step (decoders)
    candidates: Ids  #: token ids alive, ascending
    probability: Ids  #: [context] 12-bit probabilities of the layer that just ended, summed over heads and queries
    seen: Ids  #: [context] (head, query) rows of that layer in which the token was fetched and visible


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadState:
    """State before a layer, for the choice of its heads."""

    step: int  #: 0 is prefill
    layer: int  #: the layer about to run
    candidates: Ids  #: query heads alive, ascending
    output: Ids  #: [heads] sum of |output| of the layer that just ended, 12 fractional bits


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """State after a layer, for the choice of the keys that one of its KV heads keeps for later steps."""

    step: int  #: 0 is prefill
    layer: int  #: the layer that just ended
    kv_head: int  #: the one that chooses
    context: int  #: tokens before pruning in this step; the next step adds one
    candidates: Ids  #: key ids that the KV head read in this step, ascending
    probability: Ids  #: [context] 12-bit probabilities of the layer, summed over the KV head's query heads and queries
    seen: Ids  #: [context] (query head, query) rows in which the key was fetched and visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What of a model runs at all, fixed for a sequence."""

    heads: npt.NDArray[np.bool_]  #: [layers, heads] query heads that run; a layer without any has no attention
    skipped: tuple[int, ...] = ()  #: layers left out whole, feed-forward too: hidden states pass through


@dataclass(frozen=True, slots=True)
class Row:
    """One head of one layer in one step; `query` and `probabilities` are set for `keep_values` only."""

    step: int  #: 0 is prefill
    layer: int  #: the layer that runs
    head: int  #: query head
    key_ids: Ids  #: keys fetched (for `keep_values`: those visible to the query), ascending
    query: int | None = None  #: token id of the query
    probabilities: Ids | None = None  #: [visible] 12-bit words after the LSB decision


@dataclass(frozen=True, slots=True)
class TopK:
    """Keep the `k` candidates with the largest scores, ties to the lowest id; the engine's time is charged.

    Candidates in `protected` survive unranked and count in `k`.
    """

    scores: Ids  #: one unsigned integer per candidate
    k: int
    protected: Ids | tuple[int, ...] = ()


#: An answer of `keep_*`: a selection of the top-k engine, or ids chosen for free (reported as not charged).
Choice = TopK | Ids


@runtime_checkable
class Policy(Protocol):
    """Decides what is pruned and how many bits are fetched. Instances keep their own state per sequence."""

    def begin_sequence(self, shape: SequenceShape) -> Any:
        """Forget the previous sequence."""

    def keep_tokens(self, state: TokenState) -> Choice:
        """Tokens that enter the layer, out of `state.candidates`."""

    def keep_heads(self, state: HeadState) -> Choice:
        """Query heads that enter the layer, out of `state.candidates`."""

    def keep_values(self, row: Row) -> Choice:
        """V vectors fetched for one query, out of `row.key_ids`."""

    def bits(self, row: Row) -> tuple[int, int, float]:
        """(MSB bits, LSB bits, threshold) of the row's keys; V is one plane as wide as the MSB plane."""


class StructuredPolicy(Policy, Protocol):
    """A policy that leaves out heads or layers of its own choice, layer by layer, instead of a cascade of heads.

    `keep_heads` is then offered the heads that the layer ran in every step so far, whatever other layers ran.
    """

    def structure(self, shape: SequenceShape) -> Structure:
        """Heads and layers that run."""


class EvictingPolicy(Policy, Protocol):
    """A policy that evicts keys and values from the cache, per layer and KV head, instead of a cascade of tokens.

    A key is evicted for good, in this KV head of this layer alone. What `keep_tokens` drops in a layer is evicted
    there, and is no candidate of the step's later layers.
    """

    def keep_keys(self, state: KeyState) -> Choice:
        """Keys that a KV head keeps for later steps, out of `state.candidates`."""
