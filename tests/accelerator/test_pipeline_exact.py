"""The kernel equals the plain-Python model written from docs/pipeline.md, counter by counter; its bounds hold."""

from __future__ import annotations

import random

import pytest

from oracles import pipeline_literal
from oracles.random_runs import random_arch, random_workload
from sparcade.accelerator import COUNTERS, Count
from sparcade.accelerator.bounds import least_counters
from sparcade.accelerator.plan import make_plan
from sparcade.accelerator.result import KINDS
from sparcade.accelerator.simulate import simulate_plan


@pytest.mark.parametrize("seed", range(320))
def test_kernel_equals_the_literal_pipeline(seed: int) -> None:
    rng = random.Random(seed)
    workload = random_workload(rng, evicts=seed >= 240)
    arch = random_arch(rng, workload)
    want = pipeline_literal.run(workload, arch)
    plan = make_plan(workload, arch)
    got = simulate_plan(plan, workload, arch)
    assert got.cycles == want.cycles
    for index, row in enumerate(want.rows):
        mine = {COUNTERS[column].name: int(got.counts[index, column]) for column in Count}
        assert {name: count for name, count in mine.items() if not name.startswith("dram_")} == {
            name: count for name, count in row.items() if not name.startswith("dram_")
        }, f"row {index}"
    total = got.total()
    assert {name: total[name] for name in total if not name.endswith("refreshes")} == {
        name: count for name, count in want.totals.items() if not name.endswith("refreshes")
    }
    least = least_counters(plan, arch, workload.shape.head_dim)
    assert {name: (count, total[name]) for name, count in least.items() if count > total[name]} == {}
    exact = ("macs_qk", "macs_pv", "refetches", *(name for name in total if name.startswith("bits_")))
    assert {name: least[name] for name in exact} == {name: total[name] for name in exact}
    if arch.layout == "padded":
        assert {kind: least[f"tx_{kind}"] for kind in KINDS} == {kind: total[f"tx_{kind}"] for kind in KINDS}
