"""The dense policy reproduces the models' own outputs on every bundled trace."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sparcade
from sparcade.bundled import bundled_names
from sparcade.numerics import scale_of
from sparcade.policy import PolicyResult
from sparcade.trace import AttentionTrace


def rows_of(trace: AttentionTrace, result: PolicyResult, sequence: int, layer: int) -> np.ndarray:
    """Our output [H, R, D] at the rows whose model output is stored."""
    shape = trace.manifest.sequences[sequence]
    parts = []
    for row in shape.output_rows:
        step = shape.row_steps[row]
        values = result.outputs[sequence, step, layer].values
        parts.append(values[:, row if step == 0 else 0])
    return np.stack(parts, axis=1)


@pytest.mark.parametrize("name", bundled_names())
def test_float_inputs_reproduce_the_model_to_1e_4(name: str) -> None:
    trace = AttentionTrace.load(sparcade.bundled_trace(name))
    result = sparcade.apply(trace, sparcade.load_policy("dense-fp32"))
    for layer in range(trace.manifest.model.layers):
        for sequence in range(len(trace.manifest.sequences)):
            stored = trace.tensors(layer, sequence).out
            assert np.abs(rows_of(trace, result, sequence, layer) - stored).max() < 1e-4


def twelve_bit_bound(trace: AttentionTrace, sequence: int, layer: int, head: int, row: int) -> float:
    """Largest possible error of one 12-bit output row.

    docs/accuracy-of-sparcade.md derives it: with e the errors of the elements (half a step, or what was clipped) and d
    the largest move of a score, (min(2, e^(2d) - 1) + n 2^-13 + 2^-12 + 8e-6) max|v| + (1 + n 2^-13) max ev.
    """
    tensors = trace.tensors(layer, sequence)
    shape, model = trace.manifest.sequences[sequence], trace.manifest.model
    keys = len(shape.tokens) if model.mask == "full" else row + 1
    kv_head, prompt = head // model.group, shape.prompt_tokens

    def error(head_tensor: np.ndarray, used: np.ndarray) -> np.ndarray:
        scale = scale_of(head_tensor[:prompt], 12)
        return np.maximum(scale / 2, np.abs(used) - 2047 * scale)

    q, k, v = tensors.q[head, row], tensors.k[kv_head, :keys], tensors.v[kv_head, :keys]
    eq, ek, ev = error(tensors.q[head], q), error(tensors.k[kv_head], k), error(tensors.v[kv_head], v)
    move = model.scaling * float((np.abs(q) * ek + np.abs(k) * eq + eq * ek).sum(axis=1).max())
    rounding = keys * 2.0**-13
    probability = min(2.0, math.expm1(2 * move)) + rounding + 2.0**-12 + 8e-6
    return probability * float(np.abs(v).max()) + (1 + rounding) * float(ev.max())


@pytest.mark.parametrize("name", bundled_names())
def test_twelve_bits_stay_within_the_derived_bound(name: str) -> None:
    trace = AttentionTrace.load(sparcade.bundled_trace(name))
    fixed = sparcade.apply(trace, sparcade.load_policy("dense"))
    tightest = math.inf
    for layer in range(trace.manifest.model.layers):
        for sequence, shape in enumerate(trace.manifest.sequences):
            error = np.abs(rows_of(trace, fixed, sequence, layer) - trace.tensors(layer, sequence).out).max(axis=2)
            for head in range(trace.manifest.model.heads):
                for index, row in list(enumerate(shape.output_rows))[::4]:
                    bound = twelve_bit_bound(trace, sequence, layer, head, row) + trace.manifest.stored_error
                    assert error[head, index] <= bound
                    tightest = min(tightest, bound / max(error[head, index], 1e-12))
    assert tightest < 100  # the bound says something
