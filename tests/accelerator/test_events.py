"""The event log: the same run, every query in every module, and times that agree with each other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from sparcade.accelerator import simulate
from sparcade.accelerator.events import LEVELS, EventLog, record_events
from sparcade.arch import load_arch
from sparcade.policy import LocalValuePruning, ProgressiveQuantization, TokenPruning, apply
from sparcade.workload import Workload
from support import policy, random_tensors, trace_of


@pytest.fixture
def work(tmp_path: Path) -> Workload:
    tensors = random_tensors(5, layers=2, heads=2, kv_heads=1, tokens=40, dim=64)
    rules = policy(
        tokens=TokenPruning(end=Fraction(1, 2)),
        local_v=LocalValuePruning(keep=Fraction(1, 2)),
        progressive=ProgressiveQuantization(threshold=1.0),
    )
    return apply(trace_of(tmp_path / "trace", *tensors, prompt_tokens=36), rules).workload


@pytest.fixture
def log(work: Workload) -> EventLog:
    return record_events(work, load_arch("spatten"), every=16)


def test_a_run_with_a_log_has_the_same_cycles(work: Workload, log: EventLog) -> None:
    run = simulate(work, load_arch("spatten"))
    assert log.events["end"].max() <= run.cycles
    assert log.cycles <= run.cycles


def test_every_query_is_in_the_modules_it_needs(work: Workload, log: EventLog) -> None:
    counts = log.events["module"].value_counts()
    queries, refetched = len(work.queries), int(work.queries["refetch"].sum())
    assert counts["Q x K"] == counts["prob x V"] == counts["output"] == counts["fetch Q"] == queries
    assert counts["Q x K, recomputed"] == counts["softmax and decision, recomputed"] == refetched > 0
    assert counts["local V top-k"] == int((work.queries["passes"] > 0).sum())
    assert counts["fetch K"] == len(work.rows) // 2  # two heads share a KV head


def test_times_follow_each_other(log: EventLog) -> None:
    events = log.events
    assert (events["begin"] <= events["end"]).all()
    key = ["step", "layer", "head", "query"]
    spans = {name: frame.set_index(key) for name, frame in events.groupby("module")}
    for first, then in (("issue", "Q x K"), ("Q x K", "softmax and decision"), ("prob x V", "output")):
        both = spans[first].join(spans[then][["begin"]].rename(columns={"begin": "begin_then"}), how="inner")
        assert (both["end"] <= both["begin_then"]).all(), (first, then)


def test_queue_levels_are_within_their_capacities(log: EventLog) -> None:
    arch, levels = load_arch("spatten"), log.levels
    assert list(levels) == ["cycle", *LEVELS]
    assert (levels["cycle"].diff().dropna() <= 16).all()
    assert levels["address_fifo"].max() <= arch.address_fifo
    assert 0 < levels["dram"].max() <= arch.dram.channels * arch.dram.outstanding
    assert levels["probabilities"].max() <= arch.probability_fifo
    assert levels["softmax"].max() <= arch.softmax.fifo_beats
    assert (levels.drop(columns="cycle") >= 0).all().all()
