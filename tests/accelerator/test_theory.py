"""The pipeline against closed forms: latency of one query, throughput bounds, what sharing saves."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sparcade.accelerator import RunResult, simulate
from sparcade.accelerator.bounds import bounds_frame
from sparcade.arch import Arch, load_arch
from sparcade.dram import DramSystem, requests
from sparcade.errors import WorkloadError
from sparcade.policy import LocalValuePruning, ProgressiveQuantization, TokenPruning, apply
from sparcade.workload import Workload, WorkloadShape
from sparcade.workload.tables import PASS, QUERY, ROW
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


@pytest.mark.parametrize("kind", ["ideal", "controller"])
def test_latency_of_one_unloaded_query(tmp_path: Path, kind: str) -> None:
    """One decode query on 64 keys: fetch, Q x K, softmax, decision, V fetch, prob x V, in the preset's terms.

    The DRAM term is the ideal memory's latency and rate, or what the controllers alone take for the same 192 reads.
    """
    arch = load_arch("spatten", [f"dram.kind={kind}", "write_outputs=false"])
    run = simulate(decode_only(workload(tmp_path, prompt=63, steps=1)), arch)
    vectors = -(-64 * 3 // arch.dram.channels)  # 192 transactions at one a channel and cycle
    stream = 20 + vectors
    if kind == "controller":
        stream = DramSystem("hbm2", channels=16).run([requests(np.arange(192) * 32)]).seconds * 1e9
    half = 4 + vectors / 2  # the second half of V is asked for 4 beats behind the first
    if kind == "controller":
        half = max(half, stream / 2)
    prepare_split, register = 2, 1
    to_dram = prepare_split + arch.fifo_latency + register
    to_buffer = register + arch.fifo_latency + register + arch.convert_latency
    beats = 64 // 8
    want = register + arch.issue_latency + to_dram + stream + to_buffer
    want += arch.qk_latency + arch.softmax.latency + beats - 1 + arch.decision_latency
    want += arch.decided_stages + arch.reorder_latency
    want += beats // 2 + register + to_dram + (stream - vectors) + half + to_buffer
    want += arch.pv_latency
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


def test_without_a_cascade_engine_selections_take_no_time(tmp_path: Path) -> None:
    work = workload(tmp_path, prompt=128, layers=2, tokens=TokenPruning(end=Fraction(1, 2), front=0))
    held, free = simulate(work, SPATTEN), simulate(work, changed(SPATTEN, cascade_engine=False))
    waited = held.total()["fetch_cascade"]
    assert waited > 100
    assert 0 <= held.cycles - free.cycles - waited <= 4  # outputs were still being written in some of the cycles
    assert free.total()["cascade_busy"] == 0


@pytest.mark.parametrize(
    "better",
    [
        {"multipliers": 1024},
        {"k_phases": 16},
        {"decision_queries": 32},
        {"convert_latency": 1},
        {"address_fifo": 256},
        {"data_fifo": 256},
        {"decision_maxima": 64},
        {"probability_fifo": 256},
        {"reorder_beats": 1 << 14},
        {"live_allocations": 64},
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


def one_query(*, keys: int, values: int, bits: int = 12, refetch: bool = False, heads: int = 1) -> Workload:
    """`heads` decode queries of 64-vectors; local V with a pass list of halvings where values < keys."""
    rows, queries = np.zeros(heads, ROW), np.zeros(heads, QUERY)
    sizes = [keys >> shift for shift in range(max(1, keys.bit_length() - 1))] if values < keys else []
    passes = np.zeros(len(sizes) * heads, PASS)
    passes["size"] = sizes * heads
    start = np.arange(heads)
    rows["head"] = rows["kv_head"] = start
    columns = {"step": 1, "context": keys, "keys": keys, "values": values, "queries": 1, "query_bits": 12}
    for name, value in {**columns, "msb_bits": bits, "lsb_bits": 4 * refetch, "value_bits": bits}.items():
        rows[name] = value
    rows["key_start"], rows["value_start"], rows["query_start"] = start * keys, start * values, start
    columns = {"token": keys - 1, "visible": keys, "values": values, "refetch": refetch, "passes": len(sizes)}
    for name, value in columns.items():
        queries[name] = value
    queries["pass_start"] = start * len(sizes)
    shape = WorkloadShape(
        name="query", layers=1, heads=heads, kv_heads=heads, head_dim=64, max_context=keys, policy="none",
        policy_settings={}, trace_hash="", ids="synthetic",
    )  # fmt: skip
    ids = np.tile(np.arange(keys, dtype=np.uint32), heads), np.tile(np.arange(values, dtype=np.uint32), heads)
    return Workload(shape=shape, rows=rows, queries=queries, passes=passes, key_ids=ids[0], value_ids=ids[1])


@pytest.mark.parametrize(
    ("bound", "work", "settings"),
    [
        ("dram", {"keys": 1024, "values": 1024}, ["multipliers=4096", "max_scores_per_cycle=64"]),
        ("qk", {"keys": 1024, "values": 64, "bits": 4, "refetch": True}, ["topk.lanes=4096", "key_sram.lines=4096"]),
        ("topk", {"keys": 1024, "values": 512, "bits": 4}, ["topk.lanes=1"]),
    ],
)
def test_each_bound_is_reached_by_a_workload_that_isolates_it(
    bound: str, work: dict[str, int], settings: list[str]
) -> None:
    """The closed form of the bound is at least 85 % of the simulated cycles, and never more."""
    many = ["fetch_queries=false", "write_outputs=false", "softmax.fifo_beats=1024", "dram.kind=ideal", *settings]
    run = simulate(one_query(**work, heads=64), load_arch("spatten", many))
    table = bounds_frame(run, "phase")
    assert table["bound"][0] == bound
    assert 0.85 * run.cycles <= table[f"bound_{bound}"][0] <= run.cycles


def test_prefill_on_few_multipliers_reaches_the_bound_of_prob_x_v(tmp_path: Path) -> None:
    """Full attention weighs as many values as keys, each fetched once: prob x V and Q x K are busy all the time."""
    arch = load_arch("spatten-eighth", ["dram.kind=ideal"])
    run = simulate(workload(tmp_path, prompt=256, mask="full"), arch)
    table = bounds_frame(run, "phase")
    assert 0.95 * run.cycles <= table["bound_pv"][0] == table["bound_qk"][0] <= run.cycles


@pytest.mark.parametrize("keys", [4096, 32768])
def test_contexts_beyond_the_buffers_are_streamed(keys: int) -> None:
    """A query of one pass goes through the key buffer as a ring, and takes what DRAM and Q x K take."""
    arch = load_arch("spatten-long", ["dram.kind=ideal"])
    run = simulate(one_query(keys=keys, values=keys // 4), arch)
    total = run.total()
    assert total["tx_k_msb"] == 3 * keys
    assert total["key_sram_writes"] == keys // 8 > arch.key_sram.lines
    roomy = load_arch("spatten-long", ["dram.kind=ideal", "key_sram.lines=8192", "value_sram.lines=8192"])
    assert run.cycles <= simulate(one_query(keys=keys, values=keys // 4), roomy).cycles * 1.05


def test_a_recomputed_query_longer_than_the_buffer_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"key_sram\.lines"):
        simulate(one_query(keys=4096, values=4096, bits=8, refetch=True), load_arch("spatten-long"))


@pytest.mark.parametrize("dim", [8, 16, 32, 64, 96, 128, 192, 256])
def test_head_sizes(tmp_path: Path, dim: int) -> None:
    """Q x K takes D / M of a cycle a key; conservation laws hold for every head size."""
    total = simulate(workload(tmp_path, prompt=30, steps=2, dim=dim), SPATTEN).total()
    keys_per_cycle = min(8, 512 // dim)
    assert total["qk_busy"] == sum(-(-keys // keys_per_cycle) for keys in range(1, 33))
