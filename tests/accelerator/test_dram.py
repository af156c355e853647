"""The accelerator on DRAM controllers: streaming bandwidth, clock crossing, energy from counted commands, capacity."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sparcade.accelerator import RunResult, simulate
from sparcade.arch import Arch, load_arch
from sparcade.dram import DramSystem, Injection, requests
from sparcade.energy import energy_joules, load_profile
from sparcade.errors import WorkloadError
from sparcade.policy import apply
from sparcade.workload import Workload
from support import policy, random_tensors, trace_of

PROFILE = load_profile()


def dense(folder: Path, *, prompt: int, steps: int, heads: int, layers: int = 1, dim: int = 64) -> Workload:
    """A dense decoder; only its decode steps, in which K and V are read once each."""
    tensors = random_tensors(3, layers=layers, heads=heads, kv_heads=heads, tokens=prompt + steps, dim=dim)
    work = apply(trace_of(folder / "trace", *tensors, prompt_tokens=prompt), policy()).workload
    decode = work.rows["step"] > 0
    rows = work.rows[decode].copy()
    for what in ("key", "value", "query"):
        rows[f"{what}_start"] -= rows[f"{what}_start"][0]
    first = work.rows[decode][0]
    return dataclasses.replace(
        work,
        rows=rows,
        queries=work.queries[first["query_start"] :],
        key_ids=work.key_ids[first["key_start"] :],
        value_ids=work.value_ids[first["value_start"] :],
    )


def dram_joules(run: RunResult) -> float:
    return energy_joules(run.total(), arch=run.arch, profile=PROFILE)["dram"]


def test_dense_k_and_v_stream_at_70_to_90_percent_of_peak() -> None:
    """16 channels of HBM2, 16 outstanding each: K of a head, then V, one head after the other (12 bit, 1,024 keys)."""
    head = np.arange(1024 * 96 // 32) * 32
    keys, values = (np.concatenate([head + (2 * i + plane) * (1 << 20) for i in range(48)]) for plane in (0, 1))
    order = np.stack([keys.reshape(48, -1), values.reshape(48, -1)], axis=1).ravel()
    result = DramSystem("hbm2", channels=16).run([requests(order)], Injection(max_outstanding_per_channel=16))
    assert 0.70 < result.achieved_gbps / 512 < 0.90


def test_the_fetcher_streams_dense_k_and_v_at_70_to_90_percent_of_peak(tmp_path: Path) -> None:
    """The same through the pipeline: long contexts, layers that may overlap, so that only the DRAM limits."""
    work = dense(tmp_path, prompt=960, steps=4, heads=24)
    run = simulate(work, load_arch("spatten", ["layers_overlap=true", "multipliers=2048", "max_scores_per_cycle=32"]))
    moved = sum(run.total()[f"tx_{kind}"] for kind in ("k_msb", "v")) * 32
    assert 0.70 < moved / run.cycles / 512 < 0.90


@pytest.mark.parametrize("clock", [0.5, 0.9, 1.0, 1.7])
def test_dram_time_does_not_follow_the_core_clock(tmp_path: Path, clock: float) -> None:
    """A DRAM-bound run takes the DRAM's nanoseconds, whatever the core's clock."""
    work = dense(tmp_path, prompt=400, steps=3, heads=8)
    settings = ["dram.channels=1", "layers_overlap=true", "dram.device=ddr4-3200"]
    base = simulate(work, load_arch("spatten", settings))
    run = simulate(work, load_arch("spatten", [*settings, f"clock_ghz={clock}"]))
    assert run.cycles / clock == pytest.approx(base.cycles, rel=0.03)


def test_energy_is_that_of_the_counted_commands(tmp_path: Path) -> None:
    run = simulate(dense(tmp_path, prompt=60, steps=3, heads=4), load_arch("spatten"))
    total = run.total()
    reads = sum(total[f"tx_{kind}"] for kind in ("q", "k_msb", "k_lsb", "v"))
    want = total["dram_activations"] * 909 + total["dram_refreshes"] * 30400
    want += (reads + total["tx_out"]) * 256 * (1.51 + 1.17 + 0.80)
    assert dram_joules(run) == pytest.approx(want * 1e-12)
    still = dataclasses.replace(run, arch=load_arch("spatten", ["dram.toggle_rate=0"]))
    assert dram_joules(run) - dram_joules(still) == pytest.approx((reads + total["tx_out"]) * 256 * 1.97e-12)


def test_energy_moves_with_row_locality(tmp_path: Path) -> None:
    """The same transactions on a mapping that opens a row for each of them cost more."""
    work = dense(tmp_path, prompt=300, steps=2, heads=4)
    scattered = "channel,pc,bg,ba,row,column"
    near, far = (simulate(work, load_arch("spatten", [f"dram.mapping={m}"])) for m in ("PcBgCo", scattered))
    extra = far.total()["dram_activations"] - near.total()["dram_activations"]
    refreshes = far.total()["dram_refreshes"] - near.total()["dram_refreshes"]
    assert extra > 1000
    assert dram_joules(far) - dram_joules(near) == pytest.approx((extra * 909 + refreshes * 30400) * 1e-12)


def test_standby_is_charged_on_request(tmp_path: Path) -> None:
    run = simulate(dense(tmp_path, prompt=40, steps=2, heads=2), load_arch("spatten"))
    awake = dataclasses.replace(run, arch=load_arch("spatten", ["dram.standby=true"]))
    assert dram_joules(awake) - dram_joules(run) == pytest.approx(run.cycles * 1e-9 * 16 * 37.5e-3)


def test_commands_of_rows_add_up_and_refresh_goes_on(tmp_path: Path) -> None:
    run = simulate(dense(tmp_path, prompt=300, steps=6, heads=4, layers=2), load_arch("spatten"))
    total = run.total()
    assert total["dram_row_misses"] + total["dram_row_conflicts"] == total["dram_activations"]
    assert total["dram_refreshes"] == run.cycles // 3900 * 2 * 16


def test_a_context_that_the_device_cannot_hold(tmp_path: Path) -> None:
    arch: Arch = load_arch("spatten", ["dram.channels=1", "dram.device.organisation.rows=1"])
    with pytest.raises(WorkloadError, match="does not fit the DRAM"):
        simulate(dense(tmp_path, prompt=30, steps=1, heads=4), arch)
