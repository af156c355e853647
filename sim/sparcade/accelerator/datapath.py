"""The datapath, one cycle of one module per function: steps 3 to 7 of docs/pipeline.md."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.state import NO_JOB, State

_QK_BUSY = int(Count.QK_BUSY)
_QK_WAIT_Q = int(Count.QK_WAIT_Q)
_QK_WAIT_K = int(Count.QK_WAIT_K)
_QK_WAIT_LSB = int(Count.QK_WAIT_LSB)
_QK_SOFTMAX_FULL = int(Count.QK_SOFTMAX_FULL)
_QK_WINDOW = int(Count.QK_WINDOW)
_SOFTMAX_BUSY = int(Count.SOFTMAX_BUSY)
_TOPK_BUSY = int(Count.TOPK_BUSY)
_PV_BUSY = int(Count.PV_BUSY)
_PV_WAIT_V = int(Count.PV_WAIT_V)
_ACCUMULATOR_BUSY = int(Count.ACCUMULATOR_BUSY)
_CASCADE_BUSY = int(Count.CASCADE_BUSY)
_KEY_READS = int(Count.KEY_SRAM_READS)
_VALUE_READS = int(Count.VALUE_SRAM_READS)
_MACS_QK = int(Count.MACS_QK)
_MACS_PV = int(Count.MACS_PV)
_SOFTMAX_ELEMENTS = int(Count.SOFTMAX_ELEMENTS)
_IMPORTANCE_UPDATES = int(Count.IMPORTANCE_UPDATES)
_TOPK_PASSES = int(Count.TOPK_PASSES)
_TOPK_ELEMENTS = int(Count.TOPK_ELEMENTS)
_REFETCHES = int(Count.REFETCHES)


@kernel
def weigh_values(t: int, plan: Plan, state: State) -> None:
    """Step 3: prob x V."""
    reg, rows, jobs = state.reg, plan.rows, plan.jobs
    if reg.pv_job == NO_JOB:
        if reg.pv_done == reg.topk_done:
            return
        reg.pv_job = reg.pv_done
        reg.pv_beat = 0
        reg.pv_cycle = 0
    job = reg.pv_job
    row = jobs[job].row
    if reg.pv_cycle == 0:
        need = min(rows[row].new, (reg.pv_beat + 1) * plan.geometry.width)
        if rows[row].jobs > 1 and jobs[job].values < jobs[job].visible:
            need = rows[row].new
        if state.rows[row].v_usable < need:
            state.counts[row, _PV_WAIT_V] += 1
            return
    state.counts[row, _PV_BUSY] += 1
    state.counts[row, _VALUE_READS] += 1
    reg.pv_cycle += 1
    if reg.pv_cycle < plan.geometry.dwell:
        return
    reg.pv_cycle = 0
    reg.pv_beat += 1
    if reg.pv_beat * plan.geometry.width < jobs[job].values:
        return
    reg.pv_job = NO_JOB
    reg.pv_done += 1
    state.jobs[job].retired = t + plan.geometry.pv_latency
    state.counts[row, _MACS_PV] += jobs[job].values * plan.geometry.head_dim
    if job + 1 == rows[row].job_start + rows[row].jobs:
        _end_row(t, plan, state, row)


@kernel
def _end_row(t: int, plan: Plan, state: State, row: int) -> None:
    """The row's last job left prob x V: free the block's values, start the head selection."""
    reg, rows = state.reg, plan.rows
    if rows[row].last_of_block:
        member = row
        while member >= 0 and rows[member].block == rows[row].block:
            if rows[member].new > 0:
                reg.value_lines += rows[member].value_lines
                reg.value_live -= 1
            member -= 1
    if rows[row].head_selection:
        start = max(t + plan.geometry.pv_latency, state.rows[row].token_end)
        state.rows[row].gate = start + rows[row].head_cycles
        state.counts[row, _CASCADE_BUSY] += rows[row].head_cycles


@kernel
def rank_values(t: int, plan: Plan, state: State) -> None:
    """Step 4: local V top-k, one job at a time."""
    reg, jobs = state.reg, plan.jobs
    if reg.topk_done == reg.passed:
        return
    job = reg.topk_done
    row = jobs[job].row
    if jobs[job].topk_cycles > 0:
        if not reg.topk_busy:
            reg.topk_busy = 1
            reg.topk_until = t + jobs[job].topk_cycles - 1
        state.counts[row, _TOPK_BUSY] += 1
        if t < reg.topk_until:
            return
        reg.topk_busy = 0
    state.counts[row, _TOPK_PASSES] += jobs[job].topk_passes
    state.counts[row, _TOPK_ELEMENTS] += jobs[job].topk_elements
    reg.topk_done += 1
    if job == plan.rows[row].job_start:
        reg.value_rows = row + 1


@kernel
def decide(t: int, plan: Plan, state: State) -> None:
    """Step 5: pass one job on, in order; free its keys; accumulate importance; start the token selection."""
    reg, rows, jobs = state.reg, plan.rows, plan.jobs
    if (
        reg.passed == reg.qk_started
        or state.jobs[reg.passed].known > t
        or reg.release > t
        or reg.passed - reg.pv_done >= plan.geometry.probability_queries
    ):
        return
    job = reg.passed
    row = jobs[job].row
    reg.passed += 1
    if rows[row].lsb_bits > 0:
        reg.window -= 1
    beats = (jobs[job].visible + plan.geometry.width - 1) // plan.geometry.width
    reg.release = t + beats
    if rows[row].accumulate:
        state.counts[row, _ACCUMULATOR_BUSY] += beats
        state.counts[row, _IMPORTANCE_UPDATES] += jobs[job].visible
    if job + 1 < rows[row].job_start + rows[row].jobs:
        return
    if rows[row].last_of_block:
        reg.key_lines += rows[row].key_lines
        reg.key_live -= 1
    state.counts[row, _TOPK_PASSES] += rows[row].cascade_passes
    state.counts[row, _TOPK_ELEMENTS] += rows[row].cascade_elements
    if rows[row].token_selection:
        state.counts[row, _CASCADE_BUSY] += rows[row].token_cycles
        state.rows[row].token_end = t + beats + rows[row].token_cycles
        if not rows[row].head_selection:
            state.rows[row].gate = state.rows[row].token_end


@kernel
def drain_softmax(t: int, plan: Plan, state: State) -> None:
    """Step 6: one beat out of softmax; with the row's last, its LSB decision is scheduled."""
    reg, jobs = state.reg, plan.jobs
    if not reg.softmax_draining:
        if reg.softmax_head == reg.softmax_tail or state.softmax[reg.softmax_head].ready > t:
            return
        reg.softmax_draining = 1
        reg.softmax_beat = 0
    job = state.softmax[reg.softmax_head].job
    row = jobs[job].row
    state.counts[row, _SOFTMAX_BUSY] += 1
    reg.softmax_credits -= 1
    reg.softmax_beat += 1
    if reg.softmax_beat * plan.geometry.width < jobs[job].visible:
        return
    second = state.softmax[reg.softmax_head].second
    reg.softmax_draining = 0
    reg.softmax_head += 1
    state.counts[row, _SOFTMAX_ELEMENTS] += jobs[job].visible
    when = t + plan.geometry.decision_latency
    if second or not jobs[job].refetch:
        state.jobs[job].known = when
        return
    state.counts[row, _REFETCHES] += 1
    block = plan.rows[row].block
    if not state.blocks[block].lsb_asked:
        state.blocks[block].lsb_asked = True
        state.blocks[reg.lsb_tail].queued_row = row
        state.blocks[reg.lsb_tail].queued_when = when
        reg.lsb_tail += 1
    state.jobs[reg.redo_tail].redo_job = job
    state.jobs[reg.redo_tail].redo_when = when
    reg.redo_tail += 1


@kernel
def multiply_keys(t: int, plan: Plan, state: State) -> None:
    """Step 7: Q x K."""
    reg, rows, jobs, width = state.reg, plan.rows, plan.jobs, plan.geometry.width
    if reg.qk_job == NO_JOB and not _take_job(t, plan, state):
        return
    job = reg.qk_job
    row = jobs[job].row
    if reg.qk_cycle == 0:
        stall = _beat_stall(plan, state, job, min(jobs[job].visible, (reg.qk_beat + 1) * width))
        if stall:
            state.counts[row, stall] += 1
            return
    state.counts[row, _QK_BUSY] += 1
    state.counts[row, _KEY_READS] += 1
    reg.qk_cycle += 1
    if reg.qk_cycle < plan.geometry.dwell:
        return
    reg.qk_cycle = 0
    reg.qk_beat += 1
    reg.softmax_credits += 1
    if reg.qk_beat * width < jobs[job].visible:
        return
    state.counts[row, _MACS_QK] += jobs[job].visible * plan.geometry.head_dim
    state.softmax[reg.softmax_tail].job = job
    state.softmax[reg.softmax_tail].second = reg.qk_second
    state.softmax[reg.softmax_tail].ready = t + plan.geometry.qk_to_softmax
    reg.softmax_tail += 1
    if not reg.qk_second and job + 1 == rows[row].job_start + rows[row].jobs:
        reg.qk_rows += 1
    reg.qk_job = NO_JOB


@kernel
def _take_job(t: int, plan: Plan, state: State) -> bool:
    """Give Q x K its next job: a recomputation whose first LSBs are usable, else the next new job."""
    reg, jobs = state.reg, plan.jobs
    if reg.redo_head < reg.redo_tail and state.jobs[reg.redo_head].redo_when <= t:
        job = state.jobs[reg.redo_head].redo_job
        first = min(jobs[job].visible, plan.geometry.width)
        if state.blocks[plan.rows[jobs[job].row].block].lsb_usable >= first:
            reg.redo_head += 1
            reg.qk_job = job
            reg.qk_second = 1
            reg.qk_beat = 0
            return True
    if reg.qk_started == jobs.shape[0] or jobs[reg.qk_started].row >= reg.next_row:
        if reg.redo_head < reg.redo_tail and state.jobs[reg.redo_head].redo_when <= t:
            state.counts[jobs[state.jobs[reg.redo_head].redo_job].row, _QK_WAIT_LSB] += 1
        return False
    row = jobs[reg.qk_started].row
    if plan.rows[row].lsb_bits > 0:
        if reg.window >= plan.geometry.decision_queries:
            state.counts[row, _QK_WINDOW] += 1
            return False
        reg.window += 1
    reg.qk_job = reg.qk_started
    reg.qk_second = 0
    reg.qk_beat = 0
    reg.qk_started += 1
    return True


@kernel
def _beat_stall(plan: Plan, state: State, job: int, need: int) -> int:
    """The counter of the first thing the beat waits for, or 0."""
    row = plan.jobs[job].row
    block = plan.rows[row].block
    if plan.rows[row].queries_fetched > 0 and state.rows[row].q_usable <= job - plan.rows[row].job_start:
        return _QK_WAIT_Q
    if state.blocks[block].k_usable < need:
        return _QK_WAIT_K
    if state.reg.qk_second and state.blocks[block].lsb_usable < need:
        return _QK_WAIT_LSB
    if state.reg.softmax_credits >= plan.geometry.softmax_fifo:
        return _QK_SOFTMAX_FULL
    return 0
