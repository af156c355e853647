"""What a policy did to a trace: the workload, the outputs, the survivors, the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sparcade.workload import Workload

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Key of everything that exists once per layer of a step: (sequence, step, layer).
LayerKey = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOutput:
    """Attention outputs computed in one layer of one step."""

    heads: Ids  #: [h] surviving query heads
    tokens: Ids  #: [n] token ids of the queries
    values: Floats  #: [h, n, D]


class HasOutputs(Protocol):
    """What `output_errors` compares."""

    @property
    def outputs(self) -> dict[LayerKey, LayerOutput]:
        """Outputs per layer of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """A policy on a trace (open loop: later layers saw the model's unpruned inputs), or in a model (closed loop)."""

    workload: Workload  #: what the accelerator is asked to do
    outputs: dict[LayerKey, LayerOutput]  #: attention outputs by (sequence, step, layer)
    survivors: dict[LayerKey, Ids]  #: token ids that entered the layer
    heads: dict[LayerKey, Ids]  #: query heads that entered the layer
    scores: dict[LayerKey, dict[str, Ids]]  #: scores ranked before the layer, by kind ("token", "head")
    saturated: dict[str, int]  #: elements of Q, K, V clipped by the fixed point
    replayed_keys: int  #: (step, layer, token) in decode that the prompt's cascade had pruned in that layer
    closed: bool = False  #: each layer saw what pruning left of the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputError:
    """Distance of the outputs of one head of one layer from the unpruned float model."""

    layer: int  #: of the model
    head: int  #: query head
    queries: int  #: rows compared: every surviving query; a pruned head counts as zero output
    coverage: float  #: share of the model's rows that these are (the rest are pruned queries)
    cosine_mean: float  #: of rows with the model's
    cosine_min: float  #: of the worst row
    max_abs_error: float  #: of the worst element

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


def mean_cosine(errors: Sequence[OutputError]) -> float:
    """Mean over all rows of all heads."""
    return sum(error.cosine_mean * error.queries for error in errors) / sum(error.queries for error in errors)


def output_errors(result: HasOutputs, reference: HasOutputs) -> list[OutputError]:
    """Compare with a reference that computed every row: `dense-fp32` on the same trace, or in the same model."""
    parts: dict[tuple[int, int], list[tuple[Floats, Floats]]] = {}
    rows_of_layer: dict[int, int] = {}
    models = reference.outputs
    for key, output in result.outputs.items():
        model = models[key]
        rows_of_layer[key[2]] = rows_of_layer.get(key[2], 0) + len(model.tokens)
        rows = np.searchsorted(model.tokens, output.tokens)
        computed = np.zeros((len(model.heads), *output.values.shape[1:]))
        computed[np.searchsorted(model.heads, output.heads)] = output.values
        for head, got, want in zip(model.heads.tolist(), computed, model.values[:, rows], strict=True):
            parts.setdefault((key[2], head), []).append((got, want))
    errors = []
    for (layer, head), pairs in sorted(parts.items()):
        got, want = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        cosine = _cosines(got, want)
        errors.append(
            OutputError(
                layer=layer,
                head=head,
                queries=len(got),
                coverage=round(len(got) / rows_of_layer[layer], 9),
                cosine_mean=round(float(np.cumsum(cosine)[-1]) / len(cosine), 9),
                cosine_min=round(float(cosine.min()), 9),
                max_abs_error=float(np.abs(got - want).max()),
            )
        )
    return errors


def _cosines(got: Floats, want: Floats) -> Floats:
    """Row-wise cosine; 1 where both rows are zero, 0 where only one is. Sums in index order: same on any machine."""
    dot, left, right = (np.add.accumulate(pair, axis=1)[:, -1] for pair in (got * want, got * got, want * want))
    norm = np.sqrt(left) * np.sqrt(right)
    both_zero = (left == 0) & (right == 0)
    return np.where(norm > 0, dot / np.where(norm > 0, norm, 1.0), both_zero.astype(np.float64))
