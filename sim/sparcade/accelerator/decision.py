"""The LSB decision on complete rows of scores, and the pipeline behind it (docs/pipeline.md, steps 3 and 4)."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.state import NEVER, NO_JOB, State

_REFETCHES = int(Count.REFETCHES)


@kernel
def complete(state: State, job: int, second: bool, ready: int) -> None:
    """A row of scores is complete before the decision at `ready`."""
    reg = state.reg
    row = state.decisions[reg.decision_tail]
    row.job = job
    row.second = second
    row.ready = ready
    row.mark = reg.entered
    reg.decision_tail += 1


@kernel
def is_full(t: int, skid: int, plan: Plan, state: State) -> bool:
    """True when the most rows that may wait do, and at least `skid` beats have entered behind them."""
    reg = state.reg
    last = reg.decision_head + plan.geometry.decision_maxima - 1
    if last >= reg.decision_tail or reg.release <= t or state.decisions[last].ready > t:
        return False
    return reg.entered - state.decisions[last].mark >= skid


@kernel
def decide(t: int, plan: Plan, state: State) -> None:
    """The oldest complete row leaves, one beat a cycle, as far as the pipeline behind has room."""
    reg, geometry = state.reg, plan.geometry
    if reg.leaving == NO_JOB:
        row = state.decisions[reg.decision_head]
        if reg.decision_head == reg.decision_tail or row.ready + geometry.decision_latency > t:
            return
        reg.leaving = row.job
        reg.leaving_second = row.second
        reg.leaving_beat = 0
        reg.decision_head += 1
        reg.release = NEVER
    if reg.pipe_tail - reg.pipe_head == geometry.decided_stages:
        return
    job = reg.leaving
    beat = state.pipe[reg.pipe_tail % state.pipe.shape[0]]
    beat.job = job
    beat.index = reg.leaving_beat
    beat.entered = t
    beat.dropped = plan.jobs[job].refetch and not reg.leaving_second
    reg.pipe_tail += 1
    if reg.leaving_beat == 0:
        if reg.leaving_second:
            state.jobs[job].redecided = t
        else:
            state.jobs[job].decided = t
    if reg.pipe_tail - 1 - reg.pipe_head < geometry.decided_stages - geometry.requantise_latency:
        _conclude(t, reg.pipe_tail - 1, plan, state)
    reg.leaving_beat += 1
    if reg.leaving_beat == plan.jobs[job].beats:
        reg.leaving = NO_JOB
        reg.release = t + 1


@kernel
def reorder(t: int, plan: Plan, state: State) -> None:
    """The oldest beat of the pipeline reaches the reorder buffer or is dropped, unless it waits for its turn."""
    reg = state.reg
    if reg.pipe_head == reg.pipe_tail:
        return
    beat = state.pipe[reg.pipe_head % state.pipe.shape[0]]
    if beat.entered + plan.geometry.decided_stages > t or (not beat.dropped and waits_its_turn(plan, beat.job)):
        return
    if beat.index == 0 and not beat.dropped:
        state.jobs[beat.job].final = t + plan.geometry.reorder_latency
    leave_pipe(t, plan, state)


@kernel
def leave_pipe(t: int, plan: Plan, state: State) -> None:
    """The oldest beat leaves the pipeline, and the others move up."""
    reg = state.reg
    reg.pipe_head += 1
    reg.pipe_left = t
    moved = reg.pipe_head + plan.geometry.decided_stages - plan.geometry.requantise_latency - 1
    if moved < reg.pipe_tail:
        _conclude(t, moved, plan, state)


@kernel
def _conclude(t: int, place: int, plan: Plan, state: State) -> None:
    """With a row's first beat at the stage `requantise_latency`: ask for LSBs, or free the keys."""
    reg, geometry = state.reg, plan.geometry
    beat = state.pipe[place % state.pipe.shape[0]]
    if beat.index > 0:
        return
    job, at = beat.job, max(beat.entered + geometry.requantise_latency, t)
    number = plan.jobs[job].row
    if beat.dropped:
        state.counts[number, _REFETCHES] += 1
        redo = state.redo[reg.redo_tail]
        redo.job = job
        redo.ready = at
        reg.redo_tail += 1
        return
    state.jobs[job].key_free = at + geometry.key_free_latency
    if plan.rows[number].lsb_bits > 0:
        reg.window -= 1


@kernel
def waits_its_turn(plan: Plan, job: int) -> bool:
    """True when a job's final row is not buffered: it stays in the pipeline until the reorder buffer comes to it."""
    return plan.jobs[job].refetch and not plan.geometry.reorder_recomputed


@kernel
def may_leave(t: int, plan: Plan, state: State, job: int, index: int) -> bool:
    """True when a beat of the job whose turn it is may go on to local V."""
    reg = state.reg
    if not waits_its_turn(plan, job):
        return state.jobs[job].final + index <= t
    if reg.pipe_head == reg.pipe_tail or reg.pipe_left == t:
        return False
    oldest = state.pipe[reg.pipe_head % state.pipe.shape[0]]
    return oldest.job == job and not oldest.dropped and oldest.entered + plan.geometry.decided_stages <= t
