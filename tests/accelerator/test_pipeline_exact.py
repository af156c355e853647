"""The kernel equals the plain-Python model written from docs/pipeline.md, counter by counter."""

from __future__ import annotations

import random

import pytest

from oracles import pipeline_literal
from oracles.random_runs import random_arch, random_workload
from sparcade.accelerator import COUNTERS, Count, simulate


@pytest.mark.parametrize("seed", range(320))
def test_kernel_equals_the_literal_pipeline(seed: int) -> None:
    rng = random.Random(seed)
    workload = random_workload(rng, evicts=seed >= 240)
    arch = random_arch(rng, workload)
    want = pipeline_literal.run(workload, arch)
    got = simulate(workload, arch)
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
