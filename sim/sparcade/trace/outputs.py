"""Attention outputs in float64, to hold stored tensors against, and which rows of a sequence have one stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

#: Prefill rows whose output a trace stores.
PREFILL_ROWS = 32


def output_rows(prompt_tokens: int, tokens: int) -> tuple[int, ...]:
    """Rows whose output a trace stores: 32 spread evenly over the prompt (all of a short one), all decode rows."""
    count = min(PREFILL_ROWS, prompt_tokens)
    prefill = {index * (prompt_tokens - 1) // max(1, count - 1) for index in range(count)}
    return (*sorted(prefill), *range(prompt_tokens, tokens))


def attention_outputs(
    q: Floats, k: Floats, v: Floats, *, scaling: float, rows: Sequence[int], mask: str
) -> npt.NDArray[np.float64]:
    """Outputs [H, R, D] of queries q [H, R, D] at the token positions `rows`, over k and v [Hkv, T, D]."""
    group = q.shape[0] // k.shape[0]
    outputs = np.empty(q.shape, np.float64)
    hidden = np.arange(k.shape[1]) > np.asarray(rows)[:, None]
    for head in range(q.shape[0]):
        scores = scaling * (q[head].astype(np.float64) @ k[head // group].astype(np.float64).T)
        if mask == "causal":
            scores[hidden] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        outputs[head] = weights / weights.sum(axis=1, keepdims=True) @ v[head // group].astype(np.float64)
    return outputs
