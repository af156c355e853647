"""A3: candidates against a literal search, exact attention, cycles and traffic against theory."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles import a3_literal
from sparcade.baselines import DenseWork, Normalisation, a3
from sparcade.baselines.candidates.greedy import find_candidates
from sparcade.errors import ConfigError
from sparcade.trace import AttentionTrace
from sparcade.trace.outputs import attention_outputs
from support import random_tensors, trace_of

MEANS = Normalisation(multipliers=128, bandwidth_gbps=64.0)
FLOAT = dataclasses.replace(a3.BASE, fraction_bits=None)


@given(
    seed=st.integers(0, 2**32 - 1),
    keys=st.integers(1, 9),
    columns=st.integers(1, 5),
    levels=st.integers(1, 8),
    iterations=st.integers(1, 30),
)
def test_candidates_are_those_of_the_literal_search(
    seed: int, keys: int, columns: int, levels: int, iterations: int
) -> None:
    """Few levels: products, keys and scores tie; more iterations than products; queries that see some of the keys."""
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-levels, levels + 1, (keys, columns)) / 16
    queries = rng.integers(-levels, levels + 1, (4, columns)) / 16
    visible = rng.integers(1, keys + 1, 4)
    found = find_candidates(queries, matrix, visible, np.full(4, iterations))
    for query, sees, row in zip(queries, visible.tolist(), found, strict=True):
        assert np.flatnonzero(row).tolist() == a3_literal.candidates(query.tolist(), matrix[:sees].tolist(), iterations)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> AttentionTrace:
    """A decoder with grouped KV heads; elements within the range of A3's fixed point."""
    q, k, v = random_tensors(3, layers=2, heads=4, kv_heads=2, tokens=20, dim=8)
    return trace_of(tmp_path_factory.mktemp("a3") / "trace", q, k, v, prompt_tokens=16)


def model_outputs(trace: AttentionTrace) -> dict[tuple[int, int], np.ndarray]:
    """Dense attention in float64 by (layer, row of the sequence): [H, D]."""
    model, tokens = trace.manifest.model, len(trace.manifest.sequences[0].tokens)
    found = {}
    for layer in range(model.layers):
        stored = trace.tensors(layer, 0)
        outputs = attention_outputs(
            stored.q, stored.k, stored.v, scaling=model.scaling, rows=range(tokens), mask=model.mask
        )
        found |= {(layer, row): outputs[:, row] for row in range(tokens)}
    return found


def test_exact_is_dense_attention(small: AttentionTrace) -> None:
    counts = a3.count(small, DenseWork.of(small), FLOAT)
    model = model_outputs(small)
    assert counts.outputs is not None
    compared = 0
    for (_, _, layer), output in counts.outputs.outputs.items():
        for row, values in zip(output.tokens.tolist(), output.values.transpose(1, 0, 2), strict=True):
            np.testing.assert_allclose(values, model[layer, row], rtol=1e-12, atol=1e-12)
            compared += 1
    assert compared == 2 * 20
    assert counts.saturated == 0


def test_the_fixed_point_stays_within_its_bound(small: AttentionTrace) -> None:
    """The bound of docs/policies.md without its rounding of probabilities, which A3's model does not do."""
    counts = a3.count(small, DenseWork.of(small), a3.BASE)
    model, half = model_outputs(small), 2.0**-5
    shape = small.manifest.model
    assert counts.saturated == 0
    assert counts.outputs is not None
    worst = 0.0
    for (_, _, layer), output in counts.outputs.outputs.items():
        stored = small.tensors(layer, 0)
        for row, values in zip(output.tokens.tolist(), output.values.transpose(1, 0, 2), strict=True):
            for head in range(shape.heads):
                q = np.abs(stored.q[head, row].astype(np.float64))
                k = np.abs(stored.k[head // shape.group, : row + 1].astype(np.float64))
                v = np.abs(stored.v[head // shape.group, : row + 1]).max()
                d = shape.scaling * (half * q.sum() + half * k.sum(axis=1).max() + half * half * len(q))
                bound = min(2.0, np.expm1(2 * d)) * v + half
                error = np.abs(values[head] - model[layer, row][head]).max()
                assert error <= bound
                worst = max(worst, error)
    assert worst > 1e-3, "the fixed point did round"


def test_saturation_is_counted(tmp_path: Path) -> None:
    q, k, v = (np.full((1, 3, 4), value, np.float32) for value in (20.0, 1.0, -16.0))
    trace = trace_of(tmp_path / "trace", [q], [k], [v], prompt_tokens=3)
    assert a3.count(trace, DenseWork.of(trace), a3.BASE).saturated == 12 + 12


def test_a_wide_search_and_no_threshold_is_exact(small: AttentionTrace) -> None:
    """Every product is added when M is large: what remains are the rows with a positive score, and those alone."""
    work = DenseWork.of(small)
    everything = a3.A3(name="all", iterations=Fraction(20 * 8), fraction_bits=None)
    counts = a3.count(small, work, everything)
    stored = small.tensors(1, 0)
    positive = (stored.q[3].astype(np.float64) @ stored.k[1].astype(np.float64).T) > 1e-12
    seen = np.tril(positive)
    expected = np.maximum(1, seen.sum(axis=1))
    assert counts.candidates[1, 3].tolist() == expected.tolist()
    assert (counts.kept == counts.candidates).all()


def test_the_threshold_keeps_what_is_close_to_the_largest(small: AttentionTrace) -> None:
    work = DenseWork.of(small)
    kept = [
        int(a3.count(small, work, a3.A3(name="t", iterations=Fraction(1, 2), threshold=t)).kept.sum())
        for t in (0.0, 0.05, 0.5, 1.0)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[1] > kept[-1]


def decode(contexts: list[int], *, layers: int = 1, heads: int = 1, dim: int = 64) -> DenseWork:
    """Generated tokens only."""
    n = np.array(contexts)
    return DenseWork(
        name="test",
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=dim,
        causal=True,
        sequence=np.zeros(len(n), np.int64),
        step=np.arange(1, len(n) + 1),
        context=n,
        queries=np.ones(len(n), np.int64),
        visible=n,
    )


def encoder(tokens: int, *, heads: int = 1, dim: int = 64) -> DenseWork:
    """One prompt in which all see all."""
    ones = np.ones(1, np.int64)
    return DenseWork(
        name="test",
        layers=1,
        heads=heads,
        kv_heads=heads,
        head_dim=dim,
        causal=False,
        sequence=0 * ones,
        step=0 * ones,
        context=tokens * ones,
        queries=tokens * ones,
        visible=np.full(tokens, tokens),
    )


def test_the_base_needs_n_cycles_a_query_and_3n_for_one() -> None:
    """The paper's numbers: n + 9 between queries, 3 n + 27 for a single one, in the unit of 128 multipliers."""
    one = decode([320])
    assert a3.layer_cycles(one, a3.exact(one), MEANS).tolist() == [[3 * 320 + 27]]
    many = encoder(320)
    assert a3.layer_cycles(many, a3.exact(many), MEANS).tolist() == [[a3_literal.base_cycles([320] * 320)]]
    assert a3.layer_cycles(many, a3.exact(many), MEANS)[0, 0] == pytest.approx(320 * 320, rel=0.04)


def test_units_share_the_queries() -> None:
    work = encoder(64, heads=8)
    one = a3.layer_cycles(work, a3.exact(work), MEANS)[0, 0]
    eight = a3.layer_cycles(work, a3.exact(work), dataclasses.replace(MEANS, multipliers=1024))[0, 0]
    fill = 2 * (64 + 9)
    assert one - fill == 8 * (eight - fill)
    half = a3.layer_cycles(work, a3.exact(work), dataclasses.replace(MEANS, multipliers=64))[0, 0]
    assert half == 8 * 64 * (2 * 64 + 9) + 2 * (2 * 64 + 9)


def test_approximate_takes_the_slowest_module() -> None:
    work = decode([320])
    config = a3.A3(name="t", iterations=Fraction(1, 2), threshold=0.05)
    counts = a3.from_ratios(work, config, Fraction(1, 4), Fraction(1, 8))
    assert a3.layer_cycles(work, counts, MEANS).tolist() == [[160 + 80 + 5 + 40 + 40 + 45]]
    many = encoder(320)
    counts = a3.from_ratios(many, config, Fraction(1, 4), Fraction(1, 8))
    assert a3.layer_cycles(many, counts, MEANS)[0, 0] == pytest.approx(320 * (160 + 9), rel=0.01)


def test_approximate_saves_work_but_no_traffic(small: AttentionTrace) -> None:
    """All Q, K and V are fetched; sorted keys come on top unless they are free."""
    work = DenseWork.of(small)
    base = a3.evaluate(work, a3.count(small, work, a3.BASE), MEANS)["total"]
    counts = a3.count(small, work, a3.CONSERVATIVE)
    inserted = a3.evaluate(work, counts, MEANS)["total"]
    free = dataclasses.replace(counts, config=dataclasses.replace(a3.CONSERVATIVE, sorting="free"))
    assert a3.evaluate(work, free, MEANS)["total"].dram_bytes == base.dram_bytes
    assert inserted.dram_bytes > base.dram_bytes == work.layers * work.dram_bytes(12).sum()
    assert inserted.macs < base.macs == base.dense_macs


def test_sorted_keys_by_hand() -> None:
    """12 + 3 bits an entry of 5 to 8 tokens; read, and half of it written back. An encoder keeps them on chip."""
    work = decode([7, 8], dim=4)
    counts = a3.from_ratios(work, a3.CONSERVATIVE, Fraction(1), Fraction(1))
    details = counts.details(work, MEANS)
    assert details["sorted_dram_bytes"] == -(-4 * (7 + 4) * 15 // 8) + -(-4 * (8 + 4) * 15 // 8)
    assert details["sort_compares"] == 4 * (3 + 3)
    whole = encoder(8, dim=4)
    details = a3.from_ratios(whole, a3.CONSERVATIVE, Fraction(1), Fraction(1)).details(whole, MEANS)
    assert details["sorted_dram_bytes"] == 0
    assert details["sort_compares"] == 4 * 8 * 3


@pytest.mark.parametrize("bad", [{"iterations": Fraction(0)}, {"threshold": 1.5}, {"threshold": -0.1}])
def test_settings_that_do_not_exist(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="A3 has no such setting"):
        a3.A3(name="bad", **bad)  # type: ignore[arg-type]
