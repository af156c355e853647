"""`simulate`: time one workload on one arch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sparcade.accelerator.counters import Count
from sparcade.accelerator.invariants import check
from sparcade.accelerator.kernel import has_ended, run_cycles
from sparcade.accelerator.log import COUNTED
from sparcade.accelerator.plan import Plan, make_plan
from sparcade.accelerator.result import RunResult
from sparcade.accelerator.state import State, initial_state
from sparcade.arch import Arch
from sparcade.dram.commands import Command
from sparcade.dram.port import Memory, catch_up, new_memory
from sparcade.dram.state import Count as DramCount
from sparcade.dram.system import stuck_error
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
    ConfigError
        When the DRAM's row policy locks a request out for ever.
    InvariantError
        When a conservation law fails: a bug in Sparcade.
    """
    return simulate_plan(make_plan(workload, arch), workload, arch, progress)


def simulate_plan(
    plan: Plan, workload: Workload, arch: Arch, progress: Callable[[float], None] | None = None
) -> RunResult:
    """`simulate` with the plan made already, for a caller that needs the plan too."""
    return checked_result(run_plan(plan, arch, progress), plan, workload, arch)


def checked_result(state: State, plan: Plan, workload: Workload, arch: Arch) -> RunResult:
    """The result of a plan that ran to its end, its conservation laws checked."""
    run = RunResult(workload=workload, arch=arch, counts=state.counts)
    check(run, plan, int(state.reg.reads_returned))
    return run


def run_plan(
    plan: Plan,
    arch: Arch,
    progress: Callable[[float], None] | None = None,
    *,
    slices: int = _SLICE,
    watch: Callable[[int, State], None] | None = None,
    log: bool = False,
) -> State:
    """Run a plan to its end; the state holds its counters and the times of its jobs.

    Parameters
    ----------
    watch : called with the next cycle and the state every `slices` cycles.
    log : note in `state.slices` what every module did; `watch` takes them away.
    """
    memory = _memory(arch, owners=len(plan.rows))
    tracks = tuple(COUNTED.values()) if log else ()
    state = initial_state(plan, memory, tracks=tracks, slices=len(tracks) * slices)
    jobs = len(plan.jobs)
    patience = _SLICE * (2 + arch.dram.ideal.latency)
    t, done, moved = 0, 0, 0
    while not has_ended(t - 1, plan, state):
        if done < int(state.reg.pv_done):
            done, moved = int(state.reg.pv_done), t
        if done < jobs and t - moved > patience:
            if arch.dram.kind == "controller" and arch.dram.device.controller.row_policy == "closed":
                raise stuck_error(arch.dram.device, memory.dram, t)
            raise InvariantError(f"no query finished in {patience} cycles: the pipeline model is stuck at cycle {t}")
        t = run_cycles(plan, state, t, t + slices)
        if watch is not None:
            watch(t, state)
        if progress is not None:
            progress(int(state.reg.pv_done) / jobs)
    if memory.dram.system.overflow:
        raise stuck_error(arch.dram.device, memory.dram, t)
    ends = state.jobs.retired[plan.rows.job_start + plan.rows.jobs - 1].copy()
    ends[-1] = t
    state.counts[:, Count.CYCLES] = np.diff(ends, prepend=0)
    for channel in range(arch.dram.channels if arch.dram.kind == "controller" else 0):
        catch_up(memory, channel, t)  # refreshes behind the last transaction
    _count_dram(state.counts, memory)
    return state


def _memory(arch: Arch, *, owners: int) -> Memory:
    dram = arch.dram
    ideal = dram.kind == "ideal"
    return new_memory(
        dram.device,
        dram.address_map(),
        channels=dram.channels,
        fifo=1,
        outstanding=dram.ideal.outstanding if ideal else dram.outstanding,
        early_reuse=dram.early_reuse,
        owners=owners,
        ticks_per_cycle=arch.dram_ticks_per_cycle,
        transaction_bytes=dram.transaction_bytes,
        ideal_latency=dram.ideal.latency if ideal else 0,
    )


def _count_dram(counts: npt.NDArray[np.int64], memory: Memory) -> None:
    """Charge the commands that a row's transactions caused, and refreshes since it last sent one, to the row."""
    dram = memory.dram.counts
    counts[:, Count.DRAM_ACTIVATIONS] = dram[:, Command.ACT]
    counts[:, Count.DRAM_REFRESHES] = dram[:, Command.REFAB]
    counts[:, Count.DRAM_BANK_REFRESHES] = dram[:, Command.REFPB]
    counts[:, Count.DRAM_FORWARDED] = dram[:, DramCount.FORWARDED]
    counts[:, Count.DRAM_COALESCED] = dram[:, DramCount.COALESCED]
    counts[:, Count.DRAM_ROW_HITS] = dram[:, DramCount.READ_HITS] + dram[:, DramCount.WRITE_HITS]
    counts[:, Count.DRAM_ROW_MISSES] = dram[:, DramCount.READ_MISSES] + dram[:, DramCount.WRITE_MISSES]
    counts[:, Count.DRAM_ROW_CONFLICTS] = dram[:, DramCount.READ_CONFLICTS] + dram[:, DramCount.WRITE_CONFLICTS]
