"""The cycle loop: every module once per cycle, in the order of docs/pipeline.md."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.crossbar import advance_memory, cross, take_words
from sparcade.accelerator.datapath import drain_softmax, multiply_keys, weigh_values
from sparcade.accelerator.decision import decide, reorder
from sparcade.accelerator.fetcher import generate
from sparcade.accelerator.issue import accept, issue, stall
from sparcade.accelerator.local_v import rank_values
from sparcade.accelerator.log import note
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.realign import convert, leave, make_readable
from sparcade.accelerator.state import State
from sparcade.dram.port import is_empty


@kernel
def run_cycles(plan: Plan, state: State, start: int, limit: int) -> int:
    """Advance from cycle `start` until the run has ended or `limit` is reached; returns the next cycle.

    The run has ended when every job has retired and the memory is empty: see `has_ended`.
    """
    reg = state.reg
    t = start
    while t < limit and not has_ended(t - 1, plan, state):
        make_readable(t, plan, state)
        weigh_values(t, plan, state)
        reorder(t, plan, state)
        rank_values(t, plan, state)
        decide(t, plan, state)
        drain_softmax(t, plan, state)
        multiply_keys(t, plan, state)
        issue(t, plan, state)
        accept(t, plan, state)
        before = convert(t, plan, state)
        leave(t, before, plan, state)
        take_words(t, plan, state)
        advance_memory(t, plan, state)
        full = cross(t, plan, state)
        if reg.row_open + reg.split_rows == 0 and reg.requests_head == reg.requests_tail:
            stall(t, plan, state)
        generate(t, full, plan, state)
        if state.slices.shape[0] > 0:
            note(t, plan, state)
        t += 1
    return t


@kernel
def has_ended(t: int, plan: Plan, state: State) -> bool:
    """True when, after cycle t, every job has retired, every output is written, and no data are on their way."""
    reg, jobs = state.reg, plan.jobs.shape[0]
    if reg.pv_done < jobs or state.jobs[jobs - 1].retired > t:
        return False
    if plan.geometry.write_outputs and reg.next_output < jobs:
        return False
    if reg.row_open + reg.split_rows + reg.held > 0 or reg.oldest < reg.pushed or reg.returns_head < reg.returns_tail:
        return False
    return is_empty(state.memory)
