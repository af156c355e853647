"""FC layers: against the paper's fixed numbers, a literal count, and streams simulated in full."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sparcade.accelerator import RunResult, simulate
from sparcade.arch import Arch, load_arch
from sparcade.e2e import FcModel, Stream, end_to_end, fc, generation, layer_steps, measure_stream
from sparcade.energy import energy_joules, load_profile
from sparcade.errors import ConfigError
from sparcade.policy import apply
from sparcade.policy.layer_drop import LayerDrop, LayerDropConfig
from sparcade.policy.spatten import HeadPruning, TokenPruning
from sparcade.workload import Workload, generate
from support import policy, random_tensors, trace_of

ARCH = load_arch("spatten")
#: Stands in for a measurement where bandwidth is not the subject.
STREAM = Stream(transactions=3, cycles=1, activations=1, refreshes=1)
MEDIUM = FcModel(layers=24, heads=16, head_dim=64)


@pytest.fixture(name="measured", scope="module")
def _measured() -> Stream:
    return measure_stream(ARCH)


def test_gpt2_medium_has_the_operations_and_weights_of_table_iv() -> None:
    run = fc(MEDIUM, ARCH, generation(MEDIUM, steps=32), STREAM)
    assert run.flop == 24 * 12 * 1024**2 * 2 * 32
    assert run.total()["weight_bytes"] == 24 * 12 * 1024**2 * 32
    assert run.total("prefill") == dict.fromkeys(run.total(), 0)


@pytest.mark.parametrize(("bits", "published_ms"), [(8, 25.75), (12, 38.84)])
def test_streaming_the_weights_takes_the_published_time_within_10_percent(
    bits: int, published_ms: float, measured: Stream
) -> None:
    model = dataclasses.replace(MEDIUM, weight_bits=bits)
    run = fc(model, ARCH, generation(model, steps=32), measured)
    assert run.cycles * 1e-6 == pytest.approx(published_ms, rel=0.10)
    assert (run.table["stream_cycles"] > run.table["compute_cycles"]).all()


def test_a_longer_stream_has_the_same_bandwidth(measured: Stream) -> None:
    longer = measure_stream(ARCH, 1 << 17)
    assert longer.gbps(ARCH) == pytest.approx(measured.gbps(ARCH), rel=0.01)


def test_the_weights_of_one_layer_streamed_in_full_take_what_is_scaled(measured: Stream) -> None:
    """12 x 1024 x 1024 bytes: 393,216 transactions on 16 channels."""
    whole = measure_stream(ARCH, 12 * 1024**2 // 32 // 16)
    scaled = int(measured.cycles_of(np.array([12 * 1024**2 // 32]))[0])
    assert whole.cycles == pytest.approx(scaled, rel=0.02)


def test_the_measured_stream_pays_for_refresh_and_has_the_arch_s_channels(measured: Stream) -> None:
    still = measure_stream(load_arch("spatten", ["dram.device.controller.refresh=none"]))
    assert still.refreshes == 0 < measured.refreshes
    assert still.cycles < measured.cycles
    eighth = load_arch("spatten-eighth")
    assert measure_stream(eighth).gbps(eighth) == pytest.approx(measured.gbps(ARCH) / 8, rel=0.02)


def test_the_core_takes_one_transaction_per_channel_and_cycle() -> None:
    slow = load_arch("spatten", ["clock_ghz=0.5"])
    assert measure_stream(slow, 4096).cycles >= 4096
    narrow = load_arch("spatten", ["fetch_ports=4"])
    assert measure_stream(narrow, 4096).cycles >= 4 * 4096


@pytest.mark.parametrize(("latency", "outstanding"), [(20, 64), (20, 10), (7, 2)])
def test_the_ideal_memory_streams_as_a_queue_of_its_latency(latency: int, outstanding: int) -> None:
    settings = ["dram.kind=ideal", f"dram.ideal.latency={latency}", f"dram.ideal.outstanding={outstanding}"]
    flight: list[int] = []
    t = sent = 0
    while sent < 500 or flight:
        flight = [done for done in flight if done > t]
        if sent < 500 and len(flight) < outstanding:
            flight.append(t + latency)
            sent += 1
        t += 1
    assert measure_stream(load_arch("spatten", settings), 500).cycles == pytest.approx(t, abs=latency)


def pruned(folder: Path, **shape: int) -> Workload:
    """A decoder of 4 layers with tokens and heads pruned in prefill and decode."""
    sizes = {"layers": 4, "heads": 4, "kv_heads": 4, "tokens": 40, "dim": 16} | shape
    tensors = random_tensors(5, **sizes)  # type: ignore[arg-type]
    keep = TokenPruning(start=Fraction(3, 4), end=Fraction(1, 4))
    rule = policy(tokens=keep, heads=HeadPruning(start=Fraction(1), end=Fraction(1, 2)))
    return apply(trace_of(folder / "trace", *tensors, prompt_tokens=36), rule).workload


@pytest.mark.parametrize("prune_heads", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_counts_are_those_of_a_literal_walk(tmp_path: Path, kv_heads: int, prune_heads: bool) -> None:
    """Layer by layer from the rows, with a value buffer so small that the inputs go through in tiles."""
    work = pruned(tmp_path, kv_heads=kv_heads)
    arch = load_arch("spatten", ["multipliers=32", "value_sram.lines=40", "key_sram.lines=64"])
    model = FcModel.of(work.shape, weight_bits=12, ffn=96, gated=True)
    run = fc(model, arch, layer_steps(work, model, prune_heads=prune_heads), STREAM)
    table = run.table.set_index(["sequence", "step", "layer"])
    tiled = 0
    for place, counts in table.iterrows():
        rows = [row for row in work.rows if (row["sequence"], row["step"], row["layer"]) == place]
        tokens = len({int(t) for r in rows for t in work.queries["token"][r["query_start"] :][: r["queries"]]})
        heads = len({int(row["head"]) for row in rows}) if prune_heads else 4
        groups = len({int(row["kv_head"]) for row in rows}) if prune_heads else kv_heads
        matrices = [(64, (heads + 2 * groups) * 16), (heads * 16, 64), (64, 96), (64, 96), (96, 64)]
        macs = weight_bytes = reads = cycles = 0
        for inputs, outputs in matrices:
            passes = -(-tokens // (40 * 32 // inputs))
            tiled += passes > 1
            macs += tokens * inputs * outputs
            weight_bytes += passes * inputs * outputs * 12 // 8
            reads += passes * -(-inputs * outputs * 12 // 256) + sum(
                -(-tokens * n * 12 // 256) for n in (inputs, outputs)
            )
            cycles += tokens * -(-inputs * outputs // 64)
        assert (counts["macs"], counts["weight_bytes"], counts["compute_cycles"]) == (macs, weight_bytes, cycles)
        assert counts["stream_cycles"] == -(-reads // 3)
        assert counts["cycles"] == max(cycles, counts["stream_cycles"])
    assert tiled
    assert len(table) == 4 * len({(row["sequence"], row["step"]) for row in work.rows})


def test_token_pruning_shortens_the_fc_layers_of_an_encoder() -> None:
    """BERT-Base: 12 hidden^2 MACs for each token that is left in a layer."""
    work = generate("bert-base-sst-2")
    model = FcModel.of(work.shape)
    run = fc(model, ARCH, layer_steps(work, model), STREAM)
    left = [int(work.rows["queries"][work.rows["layer"] == layer][0]) for layer in range(12)]
    assert left[0] > left[-1]
    assert run.table["macs"].tolist() == [tokens * 12 * 768**2 for tokens in left]
    assert (run.table["cycles"] == run.table["compute_cycles"]).all()


def test_a_layer_without_attention_keeps_its_ffn(tmp_path: Path) -> None:
    tensors = random_tensors(5, layers=3, heads=2, kv_heads=2, tokens=12, dim=16)
    rule = LayerDrop(LayerDropConfig(name="test", source="test", part="attention", layers=(0, 2)))
    work = apply(trace_of(tmp_path / "trace", *tensors, prompt_tokens=10), rule).workload
    steps = layer_steps(work, FcModel.of(work.shape), prune_heads=True)
    assert steps["tokens"].tolist() == [10, 10, 10, 1, 1, 1, 1, 1, 1]
    assert steps["heads"].tolist() == [0, 2, 0] * 3
    assert (layer_steps(work, FcModel.of(work.shape))["heads"] == 2).all()


def test_prompt_and_lm_head_come_on_top() -> None:
    model = dataclasses.replace(MEDIUM, vocabulary=50257)
    run = fc(model, ARCH, generation(model, steps=2, prompt=100), STREAM)
    assert run.total("prefill")["macs"] == 100 * 24 * 12 * 1024**2 + 50257 * 1024
    assert run.total("decode")["macs"] == 2 * (24 * 12 * 1024**2 + 50257 * 1024)


def test_both_parts_add_up_and_attention_is_the_run(tmp_path: Path) -> None:
    run = simulate(pruned(tmp_path), ARCH)
    result = end_to_end(run, 8, stream=STREAM)
    parts = [result.part(phase) for phase in ("prefill", "decode")]
    for kind, cycles in (("fc", result.fc.cycles), ("attention", run.cycles)):
        assert sum(part[kind]["cycles"] for part in parts) == result.part()[kind]["cycles"] == cycles
    assert result.cycles == result.fc.cycles + run.cycles
    frame = result.frame()
    assert frame["attention_cycles"].sum() == run.cycles
    assert frame["fc_cycles"].sum() == result.fc.cycles
    assert frame["attention_macs"].sum() * 2 == result.part()["attention"]["flop"]
    assert frame["attention_bytes"].sum() == result.part()["attention"]["bytes_moved"]
    assert list(frame["phase"].unique()) == ["prefill", "decode"]


def test_dram_energy_is_that_of_the_scaled_commands() -> None:
    """909 pJ an activation, 3.48 pJ a bit moved, 30.4 nJ a refresh (HBM2)."""
    model = FcModel(layers=1, heads=2, head_dim=64)
    run = fc(model, ARCH, generation(model, steps=3), Stream(transactions=8, cycles=4, activations=1, refreshes=2))
    total = run.total()
    moved = sum(total[f"{kind}_transactions"] for kind in ("weight", "input", "output"))
    want = round(moved / 8) * 909 + moved * 256 * 3.48 + round(run.cycles / 2) * 30400
    energy = energy_joules(run.counters(), arch=ARCH, profile=load_profile())
    assert energy["dram"] == pytest.approx(want * 1e-12)
    assert energy["softmax"] == energy["topk"] == energy["importance"] == 0
    assert energy["qk"] == pytest.approx(energy["pv"])


def one_step(arch: Arch, **model: object) -> None:
    shape = FcModel(**{"layers": 2, "heads": 4, "head_dim": 64, **model})  # type: ignore[arg-type]
    fc(shape, arch, generation(shape, steps=1), STREAM)


@pytest.mark.parametrize(
    ("model", "settings", "match"),
    [
        ({"weight_bits": 7}, [], "unsupported width"),
        ({"ffn": 0}, [], "ffn is out of range"),
        ({"kv_heads": 5}, [], "kv_heads is out of range"),
        ({"ffn": 4097}, ["value_sram.lines=8"], r"value_sram\.lines"),
        ({"ffn": 4097}, ["key_sram.lines=16"], r"key_sram\.lines"),
        ({}, ["dram.channels=1", "dram.device.organisation.rows=1"], "weights do not fit the DRAM"),
    ],
)
def test_what_the_hardware_cannot_do_is_an_error(model: dict[str, object], settings: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        one_step(load_arch("spatten", settings), **model)


def test_a_prompt_beside_a_prefill_is_an_error(tmp_path: Path) -> None:
    work = pruned(tmp_path)
    run = RunResult(workload=work, arch=ARCH, counts=np.zeros((len(work.rows), 53), np.int64))
    with pytest.raises(ConfigError, match="prompt cannot be added"):
        end_to_end(run, prompt=5, stream=STREAM)
