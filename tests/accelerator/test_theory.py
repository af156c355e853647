"""The pipeline against closed forms: latency of one query, throughput bounds, what sharing saves."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sparcade.accelerator import RunResult, simulate
from sparcade.arch import Arch, load_arch
from sparcade.policy import LocalValuePruning, ProgressiveQuantization, TokenPruning, apply
from sparcade.workload import Workload
from support import policy, random_tensors, trace_of

SPATTEN = load_arch("spatten", ["dram.kind=ideal"])


def workload(
    folder: Path,
    *,
    prompt: int,
    steps: int = 0,
    heads: int = 1,
    kv_heads: int = 1,
    layers: int = 1,
    dim: int = 64,
    mask: str = "causal",
    **techniques: object,
) -> Workload:
    tensors = random_tensors(7, layers=layers, heads=heads, kv_heads=kv_heads, tokens=prompt + steps, dim=dim)
    trace = trace_of(folder / "trace", *tensors, prompt_tokens=prompt, mask=mask)
    return apply(trace, policy(**techniques)).workload


def changed(arch: Arch, **values: object) -> Arch:
    return dataclasses.replace(arch, **values)  # type: ignore[arg-type]


def decode_only(work: Workload) -> Workload:
    """The single decode row of a one-layer, one-head, one-step workload."""
    row = work.rows[1:2].copy()
    keys = work.key_ids[row["key_start"][0] :]
    values = work.value_ids[row["value_start"][0] :]
    queries = work.queries[row["query_start"][0] :]
    row["key_start"] = row["value_start"] = row["query_start"] = 0
    return dataclasses.replace(work, rows=row, queries=queries, key_ids=keys, value_ids=values)


def test_latency_of_one_unloaded_query(tmp_path: Path) -> None:
    """One decode query on 64 keys: fetch, Q x K, softmax, decision, V fetch, prob x V, write, in the preset's terms."""
    run = simulate(decode_only(workload(tmp_path, prompt=63, steps=1)), SPATTEN)
    fetch = 1 + SPATTEN.dram.ideal.latency + SPATTEN.fetch_latency  # accepted in the cycle after issue
    beats = 64 // 8
    softmax = SPATTEN.qk_latency + SPATTEN.softmax.latency + (beats - 1) + SPATTEN.decision_latency
    last_keys = 5  # 3 Q + 192 K transactions leave at 32 a cycle, Q in a return of its own
    want = (
        fetch
        + last_keys
        + (beats - 1)
        + softmax
        + fetch
        + (beats - 1)
        + SPATTEN.pv_latency
        + 1
        + SPATTEN.dram.ideal.latency
    )
    assert abs(run.cycles - want) <= 10, (run.cycles, want)


def test_prefill_fetches_k_and_v_of_a_head_once(tmp_path: Path) -> None:
    total = simulate(workload(tmp_path, prompt=100, mask="full"), SPATTEN).total()
    assert total["tx_k_msb"] == total["tx_v"] == 100 * 3  # 64 x 12 bit = 96 bytes
    assert total["qk_busy"] == 100 * 13  # 100 queries, 100 keys at 8 a cycle


def test_long_rows_keep_q_x_k_busy(tmp_path: Path) -> None:
    """Compute bound: with room in softmax, a prefill of full attention runs at 8 keys a cycle."""
    run = simulate(workload(tmp_path, prompt=256, mask="full", heads=4, kv_heads=4), SPATTEN)
    assert run.total()["qk_busy"] / run.cycles > 0.9


def test_decode_on_one_channel_is_bound_by_dram(tmp_path: Path) -> None:
    """With one channel, transactions take a cycle each and everything else hides behind them."""
    arch = changed(SPATTEN, dram=dataclasses.replace(SPATTEN.dram, channels=1), layers_overlap=True)
    run = simulate(workload(tmp_path, prompt=1, steps=60, layers=4, heads=4, kv_heads=4), arch)
    transactions = sum(run.total()[f"tx_{kind}"] for kind in ("q", "k_msb", "k_lsb", "v", "out"))
    assert 1.0 <= run.cycles / transactions < 1.02


def test_local_v_is_bound_by_a_slow_top_k_engine(tmp_path: Path) -> None:
    arch = changed(SPATTEN, topk=dataclasses.replace(SPATTEN.topk, lanes=1), layers_overlap=True)
    work = workload(tmp_path, prompt=64, mask="full", local_v=LocalValuePruning(keep=Fraction(1, 4), in_prefill=True))
    run = simulate(work, arch)
    assert run.total()["topk_busy"] / run.cycles > 0.9


def test_a_group_shares_k_and_v(tmp_path: Path) -> None:
    work = workload(tmp_path, prompt=24, steps=4, heads=4, kv_heads=2, local_v=LocalValuePruning(keep=Fraction(1, 2)))
    shared, alone = simulate(work, SPATTEN).total(), simulate(work, changed(SPATTEN, gqa_share=False)).total()
    assert alone["tx_k_msb"] == 2 * shared["tx_k_msb"]
    assert shared["tx_v"] < alone["tx_v"] < 2 * shared["tx_v"]
    assert shared["macs_qk"] == alone["macs_qk"]


def test_packed_layout_moves_less_padding_of_short_vectors(tmp_path: Path) -> None:
    work = workload(tmp_path, prompt=64, steps=2, dim=8)
    padded, packed = simulate(work, SPATTEN).total(), simulate(work, changed(SPATTEN, layout="packed")).total()
    assert padded["bits_k_msb"] == packed["bits_k_msb"]
    assert packed["tx_k_msb"] * 32 * 8 < 1.2 * packed["bits_k_msb"] < padded["tx_k_msb"] * 32 * 8 / 2


def test_the_lsb_plane_of_a_head_is_fetched_once_in_prefill(tmp_path: Path) -> None:
    always = ProgressiveQuantization(threshold=1.0, in_prefill=True)
    total = simulate(workload(tmp_path, prompt=40, mask="full", progressive=always), SPATTEN).total()
    assert total["refetches"] == 40
    assert total["tx_k_lsb"] == 40  # one 32-byte transaction per key, not per query
    assert total["macs_qk"] == 2 * 40 * 40 * 64


def test_a_cascade_selection_holds_the_next_layer(tmp_path: Path) -> None:
    rule = TokenPruning(end=Fraction(1, 2), front=0)
    work = workload(tmp_path, prompt=128, layers=2, tokens=rule)
    slow = changed(SPATTEN, topk=dataclasses.replace(SPATTEN.topk, lanes=1))
    fast, held = simulate(work, SPATTEN), simulate(work, slow)
    extra = held.total()["cascade_busy"] - fast.total()["cascade_busy"]
    assert extra > 100
    assert held.cycles - fast.cycles == extra


@pytest.mark.parametrize(
    "better",
    [
        {"multipliers": 1024},
        {"k_phases": 16},
        {"decision_queries": 32},
        {"fetch_latency": 1},
        {"topk": dataclasses.replace(SPATTEN.topk, lanes=64)},
        {"dram": dataclasses.replace(SPATTEN.dram, channels=32)},
    ],
)
def test_raising_a_limit_never_slows_a_run(tmp_path: Path, better: dict[str, object]) -> None:
    work = workload(
        tmp_path, prompt=50, steps=6, layers=3, heads=4, kv_heads=2,
        tokens=TokenPruning(end=Fraction(1, 4)), local_v=LocalValuePruning(keep=Fraction(3, 10)),
        progressive=ProgressiveQuantization(),
    )  # fmt: skip
    assert simulate(work, changed(SPATTEN, **better)).cycles <= simulate(work, SPATTEN).cycles


def test_idle_busy_and_stalled_cycles_sum_to_elapsed(tmp_path: Path) -> None:
    run: RunResult = simulate(workload(tmp_path, prompt=30, steps=3, layers=2), SPATTEN)
    assert all(idle >= 0 for idle in run.idle().values())
    frame = run.frame("phase", "layer")
    assert frame["cycles"].sum() == run.cycles
    assert np.array_equal(
        run.frame("layer", "head").sum().to_numpy()[2:], frame.drop(columns="phase").sum().to_numpy()[1:]
    )
