"""The kernel equals the plain-Python model written from docs/pipeline.md, counter by counter."""

from __future__ import annotations

import random

import pytest

from oracles import pipeline_literal
from oracles.random_runs import random_arch, random_workload
from sparcade.accelerator import COUNTERS, Count, simulate


@pytest.mark.parametrize("seed", range(240))
def test_kernel_equals_the_literal_pipeline(seed: int) -> None:
    rng = random.Random(seed)
    workload = random_workload(rng)
    arch = random_arch(rng, workload)
    want = pipeline_literal.run(workload, arch)
    got = simulate(workload, arch)
    assert got.cycles == want.cycles
    for index, row in enumerate(want.rows):
        mine = {COUNTERS[column].name: int(got.counts[index, column]) for column in Count}
        assert mine == row, f"row {index}"
