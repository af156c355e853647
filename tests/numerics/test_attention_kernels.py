"""The attention kernels against plain NumPy, and the exponential against the real one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparcade.numerics.attention import attend_heads, exp_negative, probability_word, weigh_heads


@given(st.floats(-600, 0))
def test_the_exponential_is_within_its_truncation_error(x: float) -> None:
    # Taylor remainder after the 5th order: (ln 2 / 2)^6 / 720 relative to at least sqrt(1/2).
    bound = (math.log(2) / 2) ** 6 / 720 * math.sqrt(2) * 1.3
    assert exp_negative(x) == pytest.approx(math.exp(x), rel=bound, abs=1e-300)


def test_the_exponential_ends() -> None:
    assert exp_negative(0.0) == 1.0
    assert exp_negative(-800.0) == 0.0
    assert exp_negative.py_func(-3.25) == exp_negative(-3.25)


@given(st.floats(0, 1))
def test_probability_words_round_and_saturate(p: float) -> None:
    assert probability_word(p) == min(4095, math.floor(4096 * p + 0.5))


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 12), st.integers(1, 9))
def test_integer_attention_equals_int64_numpy(seed: int, queries: int, keys: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    q = rng.integers(-2047, 2048, (queries, dim), dtype=np.int32)
    k = rng.integers(-2047, 2048, (dim, keys), dtype=np.int32)
    v = rng.integers(-2047, 2048, (keys, dim), dtype=np.int32)
    visible = rng.integers(1, keys + 1, queries)
    factor = 1e-6
    floats, words = np.empty((1, queries, keys)), np.empty((1, queries, keys), np.int64)
    refetched = np.empty((1, queries), np.bool_)
    msb = ((k >> 4) << 4).astype(np.int32)
    scratch, head, factors = np.empty(keys, np.int64), np.zeros(1, np.int64), np.array([factor])
    attend_heads(q[None], msb[None], k[None], head, visible, factors, 2000, scratch, floats, words, refetched)
    for i in range(queries):
        final = k if refetched[0, i] else msb
        scores = q[i].astype(np.int64) @ final[:, : visible[i]].astype(np.int64)
        weights = np.exp((scores - scores.max()) * factor)
        np.testing.assert_allclose(floats[0, i, : visible[i]], weights / weights.sum(), rtol=1e-5)
        assert not words[0, i, visible[i] :].any()
        first = q[i].astype(np.int64) @ msb[:, : visible[i]].astype(np.int64)
        weights = np.exp((first - first.max()) * factor)
        peak = (weights / weights.sum()).max() * 4096
        if abs(peak - 2000) > 1:
            assert refetched[0, i] == (peak < 2000)
    kept = rng.random((1, queries, keys)) < 0.5
    out, magnitudes = np.empty((1, queries, dim), np.int64), np.empty(1, np.int64)
    weigh_heads(words, v[None], head, visible, kept, out, magnitudes)
    inside = np.arange(keys) < visible[:, None]
    np.testing.assert_array_equal(out[0], (words * kept * inside)[0] @ v.astype(np.int64))
    assert magnitudes[0] == np.abs(out).sum()
