"""`simulate`: time one workload on one arch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sparcade.accelerator.counters import Count
from sparcade.accelerator.invariants import check
from sparcade.accelerator.kernel import has_ended, run_cycles
from sparcade.accelerator.plan import make_plan
from sparcade.accelerator.result import RunResult
from sparcade.accelerator.state import initial_state
from sparcade.arch import Arch
from sparcade.dram.ideal import ideal_memory
from sparcade.errors import InvariantError
from sparcade.workload import Workload

#: Cycles between two reports of progress.
_SLICE = 1 << 18


def simulate(workload: Workload, arch: Arch, progress: Callable[[float], None] | None = None) -> RunResult:
    """Time one workload on one accelerator: cycles, stalls, DRAM transactions, SRAM accesses, operations.

    Deterministic: equal arguments give equal results. docs/pipeline.md is the contract.

    Parameters
    ----------
    progress : called now and then with the fraction of queries done.

    Raises
    ------
    WorkloadError
        When a row does not fit the arch; the error names the arch field.
    InvariantError
        When a conservation law fails: a bug in Sparcade.
    """
    plan = make_plan(workload, arch)
    memory = ideal_memory(
        channels=arch.dram.channels,
        queue=arch.address_fifo * arch.fetch_ports // arch.dram.channels,
        outstanding=arch.dram.outstanding,
        latency=arch.dram.latency,
    )
    state = initial_state(plan, memory)
    jobs = len(plan.jobs)
    t, done = 0, -1
    while not has_ended(t - 1, plan, state):
        if done == state.reg.pv_done and done < jobs and t > _SLICE * (2 + arch.dram.latency):
            raise InvariantError(f"no query finished in {_SLICE} cycles: the pipeline model is stuck at cycle {t}")
        done = int(state.reg.pv_done)
        t = run_cycles(plan, state, t, t + _SLICE)
        if progress is not None:
            progress(int(state.reg.pv_done) / jobs)
    ends = state.jobs.retired[plan.rows.job_start + plan.rows.jobs - 1]
    ends[-1] = t
    state.counts[:, Count.CYCLES] = np.diff(ends, prepend=0)
    run = RunResult(workload=workload, arch=arch, counts=state.counts)
    check(run, plan, int(state.reg.returned))
    return run
