"""The control that ranks at random: the policy's counts, nothing of its order."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sparcade.policy import (
    HeadPruning,
    LocalValuePruning,
    PolicyResult,
    ProgressiveQuantization,
    RandomRanking,
    TokenPruning,
    apply,
)
from sparcade.trace import AttentionTrace
from support import policy, random_tensors, trace_of

RULES = {
    "tokens": TokenPruning(end=Fraction(1, 2), protect_first=2),
    "heads": HeadPruning(end=Fraction(1, 2)),
    "local_v": LocalValuePruning(keep=Fraction(3, 10)),
    "progressive": ProgressiveQuantization(threshold=0.3),
}


@pytest.fixture
def trace(tmp_path: Path) -> AttentionTrace:
    q, k, v = random_tensors(5, layers=4, heads=4, kv_heads=2, tokens=30, dim=8)
    return trace_of(tmp_path / "trace", q, k, v, prompt_tokens=20)


def control(trace: AttentionTrace, seed: int, rate: float = 0.5) -> PolicyResult:
    return apply(trace, RandomRanking(policy(**RULES), seed=seed, lsb_rate=dict.fromkeys(range(4), rate)))


def test_it_keeps_as_many_of_everything(trace: AttentionTrace) -> None:
    ours, random = apply(trace, policy(**RULES)), control(trace, 1)
    for kind in ("survivors", "heads"):
        mine, other = getattr(ours, kind), getattr(random, kind)
        assert {key: len(ids) for key, ids in mine.items()} == {key: len(ids) for key, ids in other.items()}
        assert any(not np.array_equal(ids, other[key]) for key, ids in mine.items())
    assert ours.workload.queries["values"].tolist() == random.workload.queries["values"].tolist()
    for (_, step, layer), ids in random.survivors.items():
        newest = 19 + step
        assert {0, 1, newest} <= set(ids.tolist()), (step, layer)


def test_its_seed_decides(trace: AttentionTrace) -> None:
    first, again, other = (control(trace, seed).workload.content_hash for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_rows_are_refetched_at_the_rate_whatever_they_hold(trace: AttentionTrace, rate: float) -> None:
    work = control(trace, 3, rate).workload
    decode = np.repeat(work.rows["step"] > 0, work.rows["queries"])
    share = work.queries["refetch"][decode].mean()
    assert share == pytest.approx(rate, abs=0.0 if rate in (0.0, 1.0) else 0.15)
    assert not work.queries["refetch"][~decode].any()
