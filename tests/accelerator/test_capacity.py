"""A workload that does not fit the arch is refused, naming the field; broken runs violate a named law."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sparcade.accelerator import Count, simulate
from sparcade.accelerator.invariants import check
from sparcade.accelerator.plan import make_plan
from sparcade.arch import load_arch
from sparcade.errors import ConfigError, InvariantError, WorkloadError
from sparcade.policy import LocalValuePruning, TokenPruning, apply
from sparcade.workload import Workload
from support import policy, random_tensors, trace_of


@pytest.fixture
def work(tmp_path: Path) -> Workload:
    tensors = random_tensors(2, layers=2, heads=2, kv_heads=1, tokens=40, dim=64)
    trace = trace_of(tmp_path / "trace", *tensors, prompt_tokens=36)
    rules = policy(tokens=TokenPruning(end=Fraction(1, 2)), local_v=LocalValuePruning(keep=Fraction(1, 2)))
    return apply(trace, rules).workload


@pytest.mark.parametrize(
    "setting",
    ["softmax.fifo_beats=4", "topk.capacity=20", "key_sram.lines=3", "value_sram.lines=3", "live_allocations=1"],
)
def test_the_field_that_is_too_small_is_named(work: Workload, setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(WorkloadError, match=name) as caught:
        simulate(work, load_arch("spatten", [setting]))
    remedy = caught.value.remedy.partition(",")[0].removeprefix("--set ")
    simulate(work, load_arch("spatten", [setting, remedy]))


@pytest.mark.parametrize(
    ("column", "law"),
    [
        (Count.CYCLES, "busy"),
        (Count.MACS_QK, "MACs executed"),
        (Count.MACS_PV, "MACs executed"),
        (Count.REFETCHES, "flat row"),
        (Count.BITS_V, "bits of Q, K, V"),
        (Count.TX_K_MSB, "transactions of each tensor"),
        (Count.TX_OUT, "transactions of each tensor"),
    ],
)
def test_planted_miscounts_are_caught(work: Workload, column: Count, law: str) -> None:
    arch = load_arch("spatten")
    run = simulate(work, arch)
    reads = sum(run.total()[f"tx_{kind}"] for kind in ("q", "k_msb", "k_lsb", "v"))
    plan = make_plan(work, arch)
    check(run, plan, reads)
    counts = run.counts.copy()
    counts[:, column] = 0 if column != Count.REFETCHES else 1
    with pytest.raises(InvariantError, match=law):
        check(dataclasses.replace(run, counts=counts), plan, reads)
    with pytest.raises(InvariantError, match="came back"):
        check(run, plan, reads - 1)


def test_a_returning_token_is_caught(work: Workload) -> None:
    arch = load_arch("spatten")
    run = simulate(work, arch)
    rows = work.rows.copy()
    rows["layer"] = 1 - rows["layer"]  # the pruned layer now comes first
    order = np.lexsort([rows[name] for name in ("head", "kv_head", "layer", "step", "sequence")])
    backwards = dataclasses.replace(run, workload=_Unchecked(work, rows[order]))
    reads = sum(run.total()[f"tx_{kind}"] for kind in ("q", "k_msb", "k_lsb", "v"))
    with pytest.raises(InvariantError, match="never returns"):
        check(backwards, make_plan(work, arch), reads)


class _Unchecked:
    """A workload with rows that `Workload` itself would refuse."""

    def __init__(self, work: Workload, rows: np.ndarray) -> None:
        self.shape, self.queries, self.key_ids, self.rows = work.shape, work.queries, work.key_ids, rows


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (["realign_rows=1"], "realign_rows"),
        (["read_retry=0"], "read_retry"),
        (["value_overlap_lines=-1"], "value_overlap_lines"),
        (["decided_stages=6"], "requantise_latency"),
        (["shared_value_ids=true"], "shared_value_ids"),
        (["count_rounding=8"], "count_rounding"),
        (["key_ids=index-table", "fetch_ports=8"], "fetch_ports"),
        (["layout=packed", "value_rotation=1"], "layout"),
        (["layout=packed", "fused_pairs=true"], "layout"),
        (["layout=packed", "key_ids=index-table"], "layout"),
        (["key_ids=index-table"], "gqa_share"),
        (["fused_pairs=true"], "gqa_share"),
        (["crossbar=fair"], "crossbar"),
        (["dram.pairing=random"], "pairing"),
    ],
)
def test_hardware_that_cannot_be_is_refused(settings: list[str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_arch("spatten", settings)
    assert field in f"{caught.value.where} {caught.value.what}"


def test_a_probability_fifo_too_short_for_a_row_of_addresses_is_refused(work: Workload) -> None:
    with pytest.raises(WorkloadError, match="probability_fifo") as caught:
        simulate(work, load_arch("spatten", ["probability_fifo=1"]))
    remedy = caught.value.remedy.partition(",")[0].removeprefix("--set ")
    simulate(work, load_arch("spatten", ["probability_fifo=1", remedy]))
