"""Local V, one cycle: probabilities through the top-k engine or around it, to prob x V (docs/pipeline.md, step 3)."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.decision import leave_pipe, may_leave, waits_its_turn
from sparcade.accelerator.plan import VALUES_AT_FIRST, VALUES_AT_LAST, VALUES_BY_BEAT, Plan
from sparcade.accelerator.state import NO_JOB, PLANE_V, State
from sparcade.topk.engine import accepts, step

_TOPK_BUSY = int(Count.TOPK_BUSY)
_ACCUMULATOR_BUSY = int(Count.ACCUMULATOR_BUSY)
_CASCADE_BUSY = int(Count.CASCADE_BUSY)
_VALUE_WRITES = int(Count.VALUE_SRAM_WRITES)
_BITS = int(Count.BITS_Q)
_IMPORTANCE_UPDATES = int(Count.IMPORTANCE_UPDATES)
_TOPK_PASSES = int(Count.TOPK_PASSES)
_TOPK_ELEMENTS = int(Count.TOPK_ELEMENTS)


@kernel
def rank_values(t: int, plan: Plan, state: State) -> None:
    """Probabilities leave the reorder buffer in order, through the top-k engine or around it."""
    reg = state.reg
    size = state.reads.shape[0]
    while reg.beats_done < reg.pv_reads and state.reads[reg.beats_done % size] + plan.geometry.probability_latency <= t:
        reg.beats_done += 1
    if plan.geometry.topk_serial:
        _through_released(t, plan, state)
    else:
        _through_engine(t, plan, state)


@kernel
def _through_engine(t: int, plan: Plan, state: State) -> None:
    """A cycle of the engine: its row of the kept is emitted, and a beat enters it or goes around it."""
    reg, e, jobs = state.reg, state.engine, plan.jobs
    lists = plan.list_jobs.shape[0]
    tried = takes = False
    if reg.ranked_tail > e.done:
        state.counts[jobs[plan.list_jobs[e.done]].row, _TOPK_BUSY] += 1
    if e.full == 1:
        job = plan.list_jobs[e.done]
        tried = e.count > 0
        takes = not tried or _emit(t, plan, state, job, state.jobs[job].beats_out)
        if takes and state.jobs[job].ranked == 0:
            state.jobs[job].ranked = t
    job = reg.order_job
    enters = False
    if job < jobs.shape[0] and may_leave(t, plan, state, job, reg.order_beat):
        if jobs[job].ranked:
            enters = accepts(plan.engine, e)
        elif not tried and reg.ranked_tail == e.done:
            _go_around(t, plan, state, job)
    if e.done < lists:
        asks = e.asked < lists and plan.list_jobs[e.asked] < reg.accepted
        before = e.chosen
        step(plan.engine, plan.lists, e, asks, enters, takes)
        if e.chosen != before:
            state.jobs[plan.list_jobs[e.chosen]].selected = t
    if enters:
        reg.ranked_tail += reg.order_beat == 0
        _leave_order(t, plan, state)


@kernel
def _go_around(t: int, plan: Plan, state: State, job: int) -> None:
    """A beat of a job without a selection: emitted, or dropped behind those of its values."""
    reg = state.reg
    if reg.order_beat >= plan.jobs[job].value_beats or _emit(t, plan, state, job, reg.order_beat):
        _leave_order(t, plan, state)


@kernel
def _through_released(t: int, plan: Plan, state: State) -> None:
    """The released engine, a FIFO with a delay: the first beats of the oldest job are emitted, the rest dropped."""
    reg, geometry, jobs = state.reg, plan.geometry, plan.jobs
    _start_selection(t, plan, state)
    emitted = NO_JOB
    if reg.ranked_head < reg.ranked_started:
        head = state.ranked[reg.ranked_head]
        job = head.job
        state.counts[jobs[job].row, _TOPK_BUSY] += 1
        if t >= head.out and head.beats > reg.ranked_beat:
            if reg.ranked_beat >= jobs[job].value_beats:
                _next_ranked(plan, state, job)
            else:
                emitted = job
                if _emit(t, plan, state, job, reg.ranked_beat):
                    if reg.ranked_beat + 1 == jobs[job].value_beats:
                        reg.ranked_out += 1
                    _next_ranked(plan, state, job)
    job = reg.order_job
    if job == jobs.shape[0] or not may_leave(t, plan, state, job, reg.order_beat):
        return
    if not jobs[job].ranked:
        if emitted == NO_JOB and reg.ranked_out == reg.ranked_tail:
            _go_around(t, plan, state, job)
        return
    if reg.fifo_beats < geometry.topk_fifo:
        if reg.order_beat == 0:
            entry = state.ranked[reg.ranked_tail]
            entry.job = job
            entry.arrived = t
            reg.ranked_tail += 1
        state.ranked[reg.ranked_tail - 1].beats += 1
        reg.fifo_beats += 1
        _leave_order(t, plan, state)


@kernel
def _start_selection(t: int, plan: Plan, state: State) -> None:
    """Start the next selection of the released engine: behind the last element out of the one before."""
    reg = state.reg
    if reg.ranked_started == reg.ranked_tail or reg.ranked_started > reg.ranked_head:
        return
    entry = state.ranked[reg.ranked_started]
    if entry.arrived + plan.geometry.topk_latency > t:
        return
    entry.out = t + plan.jobs[entry.job].topk_cycles
    state.jobs[entry.job].selected = t
    state.jobs[entry.job].ranked = entry.out
    reg.ranked_started += 1


@kernel
def _next_ranked(plan: Plan, state: State, job: int) -> None:
    """One element row of the engine's FIFO is put out or dropped."""
    reg = state.reg
    reg.ranked_beat += 1
    reg.fifo_beats -= 1
    if reg.ranked_beat == plan.jobs[job].beats:
        reg.ranked_head += 1
        reg.ranked_beat = 0


@kernel
def _leave_order(t: int, plan: Plan, state: State) -> None:
    """One beat leaves the reorder buffer; with a job's first, importance is accumulated."""
    reg, jobs = state.reg, plan.jobs
    job = reg.order_job
    if waits_its_turn(plan, job):
        leave_pipe(t, plan, state)
    if reg.order_beat == 0:
        _pass(t, plan, state, job)
    reg.order_beat += 1
    if reg.order_beat == jobs[job].beats:
        reg.order_beat = 0
        reg.order_job += 1
        reg.reorder_free += jobs[job].beats


@kernel
def _pass(t: int, plan: Plan, state: State, job: int) -> None:
    """Importance accumulation, and the selections it makes possible."""
    rows, number, beats = plan.rows, plan.jobs[job].row, plan.jobs[job].beats
    state.counts[number, _TOPK_PASSES] += plan.jobs[job].topk_passes
    state.counts[number, _TOPK_ELEMENTS] += plan.jobs[job].topk_elements
    if rows[number].accumulate:
        state.counts[number, _ACCUMULATOR_BUSY] += beats
        state.counts[number, _IMPORTANCE_UPDATES] += plan.jobs[job].visible
    if job + 1 < rows[number].job_start + rows[number].jobs:
        return
    state.counts[number, _TOPK_PASSES] += rows[number].cascade_passes
    state.counts[number, _TOPK_ELEMENTS] += rows[number].cascade_elements
    if rows[number].token_selection:
        state.counts[number, _CASCADE_BUSY] += rows[number].token_cycles
        state.reg.cascade_free = max(t + beats, state.reg.cascade_free) + rows[number].token_cycles
        if not rows[number].head_selection:
            state.rows[number].gate = state.reg.cascade_free


@kernel
def _emit(t: int, plan: Plan, state: State, job: int, beat: int) -> bool:
    """Pass one beat of probabilities to prob x V and the V fetch, if both have room."""
    reg, geometry = state.reg, plan.geometry
    number = plan.jobs[job].row
    row = plan.rows[number]
    fetches = row.new > 0 and job == row.job_start
    if beat == 0:
        if reg.begun == job:
            state.jobs[job].first_beat = t
            reg.begun += 1
        if fetches and _value_stall(t, plan, state, number):
            return False
    if reg.pending_beat or reg.beats_out - reg.beats_done >= geometry.probability_fifo:
        return False
    if beat == 0 and fetches:
        reg.value_lines -= row.value_alloc
        reg.value_live += 1
        state.counts[number, _VALUE_WRITES] += row.value_lines
        state.counts[number, _BITS + PLANE_V] += row.new * geometry.head_dim * row.value_bits * row.heads_fetched
        state.values[reg.values_tail] = number
        reg.values_tail += 1
    if fetches:
        if row.value_mode == VALUES_BY_BEAT:
            reg.pending_beat = 1
            reg.pending_job = job
        elif row.value_mode == VALUES_AT_FIRST or (
            row.value_mode == VALUES_AT_LAST and beat + 1 == plan.jobs[job].value_beats
        ):
            state.rows[number].v_known = True
    reg.beats_out += 1
    state.jobs[job].beats_out += 1
    return True


@kernel
def _value_stall(t: int, plan: Plan, state: State, number: int) -> bool:
    """True when a V fetch may not begin: no lines, no allocation, or the ones before are too far from their end.

    With `value_overlap_lines` there is one V write command, free when the last line of the fetch before is written, and
    one V read command, whose lines go ahead of their reading in a window.
    """
    reg, geometry = state.reg, plan.geometry
    if geometry.value_overlap_lines < geometry.value_lines:
        written = reg.values_there == reg.values_tail and reg.value_there_at < t
        if not written or reg.beats_out - reg.pv_reads > geometry.value_overlap_lines:
            return True
    return plan.rows[number].value_alloc > reg.value_lines or reg.value_live >= geometry.live_allocations
