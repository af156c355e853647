"""Attention of one head, value-exact: scores, softmax, 12-bit probabilities, LSB decision, output.

Every sum runs in a fixed order and uses + - x / only, so that results are the same bits on every machine.
The kernels take integer words (fixed point) or float64 (unquantized); numba compiles both from one source.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel

_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453


@kernel
def exp_negative(x: float) -> float:
    """exp(x) for x <= 0 as 2^n times a 5th-order Taylor polynomial of the remainder (SpAtten section IV-C)."""
    n = math.floor(x * _LOG2E + 0.5)
    if n < -1000.0:
        return 0.0
    r = x - n * _LN2
    series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0)))))
    return math.ldexp(series, int(n))


@kernel
def row_probabilities(
    query: npt.NDArray[Any],
    keys: npt.NDArray[Any],
    visible: int,
    factor: float,
    scores: npt.NDArray[Any],
    probabilities: npt.NDArray[np.float64],
) -> int:
    """Softmax of one query row; returns the largest probability as a 12-bit word.

    Parameters
    ----------
    query : [D], keys : [D, n], scores : scratch [n] of the accumulator type, probabilities : [n], written.
    factor : Q scale x K scale x scaling, turns a score into the exponent.
    """
    for j in range(visible):
        scores[j] = 0
    for d in range(query.shape[0]):
        for j in range(visible):
            scores[j] += query[d] * keys[d, j]
    largest = scores[0]
    for j in range(1, visible):
        largest = max(largest, scores[j])
    total = 0.0
    for j in range(visible):
        probabilities[j] = exp_negative((scores[j] - largest) * factor)
        total += probabilities[j]
    peak = 0.0
    for j in range(visible):
        probabilities[j] /= total
        peak = max(peak, probabilities[j])
    return probability_word(peak)


@kernel
def probability_word(p: float) -> int:
    """A probability as a 12-bit word: floor(4096 p + 1/2), at most 4095."""
    return min(4095, int(4096.0 * p + 0.5))


@kernel
def attend_heads(
    queries: npt.NDArray[Any],
    msb_keys: npt.NDArray[Any],
    full_keys: npt.NDArray[Any],
    kv_heads: npt.NDArray[np.int64],
    visible: npt.NDArray[np.int64],
    factors: npt.NDArray[np.float64],
    threshold: int,
    scores: npt.NDArray[Any],
    floats: npt.NDArray[np.float64],
    words: npt.NDArray[np.int64],
    refetched: npt.NDArray[np.bool_],
) -> None:
    """Probabilities of all queries of some heads, each recomputed once with the full keys where its row is flat.

    Parameters
    ----------
    queries : [h, nq, D], kv_heads : [h] KV head of each, factors : [h], visible : [nq].
    msb_keys and full_keys : [Hkv, D, n] (the same array without an LSB plane).
    threshold : 12-bit word; a row whose largest probability is strictly below it is refetched (0: never).
    floats, words : written [h, nq, n], zero beyond `visible`; refetched : written [h, nq].
    """
    for h in range(queries.shape[0]):
        full, msb = full_keys[kv_heads[h]], msb_keys[kv_heads[h]]
        for i in range(queries.shape[1]):
            peak = row_probabilities(queries[h, i], msb, visible[i], factors[h], scores, floats[h, i])
            refetched[h, i] = peak < threshold
            if refetched[h, i]:
                row_probabilities(queries[h, i], full, visible[i], factors[h], scores, floats[h, i])
            for j in range(visible[i]):
                words[h, i, j] = probability_word(floats[h, i, j])
            for j in range(visible[i], words.shape[2]):
                words[h, i, j] = 0
                floats[h, i, j] = 0.0


@kernel
def weigh_heads(
    weights: npt.NDArray[Any],
    values: npt.NDArray[Any],
    kv_heads: npt.NDArray[np.int64],
    visible: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
    out: npt.NDArray[Any],
    magnitudes: npt.NDArray[Any],
) -> None:
    """prob x V of all queries of some heads, and the sum of |out| of each head, row by row in order.

    Parameters
    ----------
    weights : [h, nq, n], values : [Hkv, n, D], kept : [h, nq, n], which values each query weighs.
    out : [h, nq, D] and magnitudes : [h], written.
    """
    for h in range(weights.shape[0]):
        vectors = values[kv_heads[h]]
        magnitudes[h] = 0
        for i in range(weights.shape[1]):
            for d in range(vectors.shape[1]):
                out[h, i, d] = 0
            for j in range(visible[i]):
                if kept[h, i, j]:
                    for d in range(vectors.shape[1]):
                        out[h, i, d] += weights[h, i, j] * vectors[j, d]
            for d in range(vectors.shape[1]):
                magnitudes[h] += abs(out[h, i, d])
