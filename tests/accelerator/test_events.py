"""The event log: the same run, every query in every module, and times that agree with each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sparcade.accelerator import RunResult, simulate
from sparcade.accelerator.counters import COUNTERS
from sparcade.accelerator.events import EXCERPT_CYCLES, LEVELS, MODULES, EventLog, record_events, record_excerpt
from sparcade.arch import load_arch
from sparcade.workload import Workload
from support import pruned_workload


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return pruned_workload(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def log(work: Workload) -> EventLog:
    return record_events(work, load_arch("spatten"), every=16)


def test_a_run_with_a_log_has_the_same_cycles(work: Workload, log: EventLog) -> None:
    run = simulate(work, load_arch("spatten"))
    assert np.array_equal(run.counts, log.run.counts)
    assert log.events["end"].max() <= run.cycles
    assert log.cycles <= run.cycles


def counted(run: RunResult) -> dict[tuple[str, str], int]:
    """Cycles by module and state, as the counters have them, without zeros."""
    total = run.total()
    cycles = [counter.name for counter in COUNTERS.values() if counter.unit == "cycles"]
    parts = {name: name.split("_", 1) for name in cycles if "_" in name and total[name]}
    return {(module, state): total[name] for name, (module, state) in parts.items()}


@pytest.mark.parametrize("arch", ["spatten", "spatten-eighth", "spatten-release", "spatten-release-eighth"])
@pytest.mark.parametrize("memory", ["ideal", "controller"])
def test_slices_are_the_counters_cycle_by_cycle(work: Workload, arch: str, memory: str) -> None:
    """Every cycle that a busy or stall counter counts is in one slice of that module, for a query of the same row."""
    log = record_events(work, load_arch(arch, [f"dram.kind={memory}"]))
    slices = log.slices[log.slices["module"].isin([module for module, _ in counted(log.run)])]
    sums = slices.groupby(["module", "state"], observed=True)["cycles"].sum()
    assert {key: int(value) for key, value in sums.items()} == counted(log.run)
    place = ["step", "layer", "head"]
    for module in ("qk", "pv", "fetch"):
        mine = slices[(slices["module"] == module) & (slices["state"] == "busy")].groupby(place)["cycles"].sum()
        rows = log.run.frame(*place).set_index(place)[f"{module}_busy"]
        pd.testing.assert_series_equal(mine, rows[rows > 0], check_names=False, check_dtype=False)


def test_a_module_does_one_thing_at_a_time(log: EventLog) -> None:
    for module, slices in log.slices.groupby("module", observed=True):
        ends = slices["begin"] + slices["cycles"]
        assert (slices["begin"].iloc[1:].to_numpy() >= ends.iloc[:-1].to_numpy()).all(), module
        assert (slices["cycles"] > 0).all()
    assert set(log.slices["module"]) == set(MODULES)


def test_slices_lie_in_the_spans_of_their_queries(log: EventLog) -> None:
    """The kernel notes the spans on its own: first and last beat."""
    busy = log.slices[log.slices["state"] == "busy"].assign(end=lambda table: table["begin"] + table["cycles"] - 1)
    place = ["step", "layer", "head", "query"]
    for module, part, span in (("qk", "", "Q x K"), ("qk", "recomputed", "Q x K, recomputed"), ("pv", "", "prob x V")):
        mine = busy[(busy["module"] == module) & (busy["part"] == part)].groupby(place)
        spans = log.events[log.events["module"] == span].set_index(place).sort_index()
        assert (mine["end"].max() == spans["end"]).all(), span
        if module == "qk":
            assert (mine["begin"].min() == spans["begin"]).all(), span


def test_slices_do_not_depend_on_how_often_one_looks(work: Workload, log: EventLog) -> None:
    pd.testing.assert_frame_equal(record_events(work, load_arch("spatten"), every=1000).slices, log.slices)


def test_an_excerpt_is_a_window_of_the_log(work: Workload, log: EventLog) -> None:
    run, excerpt = record_excerpt(work, load_arch("spatten"))
    assert np.array_equal(run.counts, log.run.counts)
    whole = log.excerpt()
    assert (excerpt.begin, excerpt.end) == (whole.begin, whole.end)
    assert 0 < excerpt.end - excerpt.begin <= EXCERPT_CYCLES
    pd.testing.assert_frame_equal(excerpt.slices, whole.slices)
    assert ((excerpt.slices["step"] == 1) & (excerpt.slices["layer"] == 1)).any()


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
    total = log.run.total()
    assert levels["reads"].iloc[-1] == sum(total[f"tx_{kind}"] for kind in ("q", "k_msb", "k_lsb", "v"))
    assert levels["outputs"].iloc[-1] == len(log.run.workload.queries)
