"""Q, K and V of a trace head by head, and outputs in the form that replays have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparcade.numerics.attention import attend_heads, weigh_heads
from sparcade.policy.result import LayerKey, LayerOutput
from sparcade.trace import AttentionTrace

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_ONLY = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTensors:
    """One query head of one layer of one sequence: every row is a query, the prompt's and the generated ones."""

    sequence: int
    layer: int
    head: int
    q: Floats  #: [T, D]
    k: Floats  #: [T, D]
    v: Floats  #: [T, D]
    visible: Ints  #: [T] keys that each row sees, the first ones
    queries: slice  #: where the rows stand among the queries of `DenseWork`


def each_head(trace: AttentionTrace) -> Iterator[HeadTensors]:
    """All heads, sequence by sequence and layer by layer."""
    model, start = trace.manifest.model, 0
    for sequence, text in enumerate(trace.manifest.sequences):
        tokens = len(text.tokens)
        visible = np.arange(1, tokens + 1) if model.mask == "causal" else np.full(tokens, tokens)
        for layer in range(model.layers):
            stored = trace.tensors(layer, sequence)
            for head in range(model.heads):
                yield HeadTensors(
                    sequence=sequence,
                    layer=layer,
                    head=head,
                    q=stored.q[head].astype(np.float64),
                    k=stored.k[head // model.group].astype(np.float64),
                    v=stored.v[head // model.group].astype(np.float64),
                    visible=visible,
                    queries=slice(start, start + tokens),
                )
        start += tokens


class HeadOutputs:
    """Collects the output of each head; `outputs` gives them per layer and step, as a replay does."""

    def __init__(self, trace: AttentionTrace) -> None:
        self._trace = trace
        self._heads: dict[tuple[int, int], list[Floats]] = {}

    def add(self, head: HeadTensors, output: Floats) -> None:
        """Take the output [T, D] of the next head of its layer."""
        self._heads.setdefault((head.sequence, head.layer), []).append(output)

    @property
    def outputs(self) -> dict[LayerKey, LayerOutput]:
        """What was collected."""
        found: dict[LayerKey, LayerOutput] = {}
        for (sequence, layer), outputs in self._heads.items():
            stacked = np.stack(outputs)
            steps = np.array(self._trace.manifest.sequences[sequence].row_steps)
            for step in range(int(steps[-1]) + 1):
                rows = np.flatnonzero(steps == step)
                found[sequence, step, layer] = LayerOutput(
                    heads=np.arange(len(outputs)), tokens=rows, values=stacked[:, rows]
                )
        return found


def probabilities(head: HeadTensors, scaling: float) -> Floats:
    """[T, T] softmax of every row over the keys it sees, zero beyond; summed in a fixed order."""
    tokens = len(head.q)
    found: Floats = np.empty((1, tokens, tokens))
    keys = np.ascontiguousarray(head.k.T)[None]
    words, refetched = np.empty(found.shape, np.int64), np.empty((1, tokens), np.bool_)
    factors, scratch = np.array([scaling]), np.empty(tokens)
    attend_heads(head.q[None], keys, keys, _ONLY, head.visible, factors, 0, scratch, found, words, refetched)
    probable: Floats = found[0]
    return probable


def weighed(weights: Floats, head: HeadTensors, kept: Flags) -> Floats:
    """[T, D] sum of weights [T, T] times the kept V vectors that each row sees, in a fixed order."""
    out, magnitudes = np.empty((1, *head.v.shape)), np.empty(1)
    weigh_heads(weights[None], head.v[None], _ONLY, head.visible, kept[None], out, magnitudes)
    output: Floats = out[0]
    return output
