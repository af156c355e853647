"""The attention datapath, one cycle of one module per function (docs/pipeline.md, "Datapath")."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.decision import complete, is_full
from sparcade.accelerator.plan import OUTPUT_BITS, Plan
from sparcade.accelerator.state import NO_JOB, PLANE_OUT, State

_QK_BUSY = int(Count.QK_BUSY)
_QK_WAIT_Q = int(Count.QK_WAIT_Q)
_QK_WAIT_K = int(Count.QK_WAIT_K)
_QK_WAIT_LSB = int(Count.QK_WAIT_LSB)
_QK_SOFTMAX_FULL = int(Count.QK_SOFTMAX_FULL)
_QK_DECISION = int(Count.QK_DECISION_FULL)
_SOFTMAX_BUSY = int(Count.SOFTMAX_BUSY)
_SOFTMAX_DECISION = int(Count.SOFTMAX_DECISION_FULL)
_TOPK_BUSY = int(Count.TOPK_BUSY)
_PV_BUSY = int(Count.PV_BUSY)
_PV_WAIT_V = int(Count.PV_WAIT_V)
_PV_WAIT_P = int(Count.PV_WAIT_PROBABILITIES)
_ACCUMULATOR_BUSY = int(Count.ACCUMULATOR_BUSY)
_CASCADE_BUSY = int(Count.CASCADE_BUSY)
_KEY_READS = int(Count.KEY_SRAM_READS)
_VALUE_READS = int(Count.VALUE_SRAM_READS)
_VALUE_WRITES = int(Count.VALUE_SRAM_WRITES)
_BITS = int(Count.BITS_Q)
_MACS_QK = int(Count.MACS_QK)
_MACS_PV = int(Count.MACS_PV)
_SOFTMAX_ELEMENTS = int(Count.SOFTMAX_ELEMENTS)
_IMPORTANCE_UPDATES = int(Count.IMPORTANCE_UPDATES)
_TOPK_PASSES = int(Count.TOPK_PASSES)
_TOPK_ELEMENTS = int(Count.TOPK_ELEMENTS)


@kernel
def weigh_values(t: int, plan: Plan, state: State) -> None:
    """Prob x V: one beat of values a cycle, when they and their probabilities are there."""
    reg, geometry = state.reg, plan.geometry
    if reg.pv_job == NO_JOB:
        if reg.pv_next == reg.begun:
            return
        if t < max(state.jobs[reg.pv_next].first_beat + geometry.pv_start, reg.pv_last + 1):
            return
        reg.pv_job = reg.pv_next
        reg.pv_next += 1
        reg.pv_beat = 0
        reg.pv_at = t
        state.jobs[reg.pv_job].pv_first = t
    job = reg.pv_job
    number = plan.jobs[job].row
    if reg.pv_cycle == 0 and not _values_there(t, plan, state, job, number):
        return
    state.counts[number, _PV_BUSY] += 1
    state.counts[number, _VALUE_READS] += 1
    reg.pv_at = t + 1
    reg.pv_cycle += 1
    if reg.pv_cycle < geometry.dwell:
        return
    reg.pv_cycle = 0
    state.reads[reg.pv_reads % state.reads.shape[0]] = t
    reg.pv_reads += 1
    reg.pv_beat += 1
    left = plan.jobs[job].value_beats - reg.pv_beat
    row = plan.rows[number]
    if left > 0:
        return
    reg.pv_job = NO_JOB
    reg.pv_done += 1
    reg.pv_last = t
    state.jobs[job].pv_last = t
    state.jobs[job].retired = t + geometry.pv_latency
    state.counts[number, _MACS_PV] += plan.jobs[job].values * geometry.head_dim
    if geometry.write_outputs:
        state.counts[number, _BITS + PLANE_OUT] += geometry.head_dim * OUTPUT_BITS
    if job + 1 == row.job_start + row.jobs:
        _end_row(t, plan, state, number)


@kernel
def _values_there(t: int, plan: Plan, state: State, job: int, number: int) -> bool:
    """Try to read the next beat; a line that is not there is tried again `read_retry` cycles later."""
    reg, geometry, row = state.reg, plan.geometry, plan.rows[number]
    need = min(row.new, (reg.pv_beat + 1) * geometry.width)
    if row.jobs > 1 and plan.jobs[job].values < plan.jobs[job].visible and not geometry.shared_value_ids:
        need = row.new
    usable = state.rows[number].v_usable >= need
    if t >= reg.pv_at and usable and state.jobs[job].beats_out > reg.pv_beat:
        return True
    if t >= reg.pv_at:
        reg.pv_at = t + geometry.read_retry
    state.counts[number, _PV_WAIT_P if usable and state.jobs[job].beats_out <= reg.pv_beat else _PV_WAIT_V] += 1
    return False


@kernel
def _end_row(t: int, plan: Plan, state: State, number: int) -> None:
    """The row's last job left prob x V: free the block's values, start the head selection."""
    reg, rows = state.reg, plan.rows
    if rows[number].last_of_block:
        member = number
        while member >= 0 and rows[member].block == rows[number].block:
            if rows[member].new > 0:
                reg.value_lines += rows[member].value_alloc
                reg.value_live -= 1
            member -= 1
    if rows[number].head_selection:
        start = max(t + plan.geometry.pv_latency, reg.cascade_free)
        state.rows[number].gate = reg.cascade_free = start + rows[number].head_cycles
        state.counts[number, _CASCADE_BUSY] += rows[number].head_cycles


@kernel
def drain_softmax(t: int, plan: Plan, state: State) -> None:
    """One beat out of softmax; the row's last completes it for the decision."""
    reg = state.reg
    if not reg.softmax_draining:
        if reg.softmax_head == reg.softmax_tail or state.softmax[reg.softmax_head].ready > t:
            return
        reg.softmax_draining = 1
        reg.softmax_beat = 0
    entry = state.softmax[reg.softmax_head]
    number = plan.jobs[entry.job].row
    if is_full(t, plan.geometry.decision_skid, plan, state):
        state.counts[number, _SOFTMAX_DECISION] += 1
        return
    state.counts[number, _SOFTMAX_BUSY] += 1
    reg.softmax_credits -= 1
    reg.softmax_beat += 1
    reg.entered += 1
    if reg.softmax_beat < plan.jobs[entry.job].beats:
        return
    reg.softmax_draining = 0
    reg.softmax_head += 1
    state.counts[number, _SOFTMAX_ELEMENTS] += plan.jobs[entry.job].visible
    complete(state, entry.job, entry.second, t)


@kernel
def multiply_keys(t: int, plan: Plan, state: State) -> None:
    """Q x K: one beat of keys a cycle, queries in the order of their issue."""
    reg, geometry = state.reg, plan.geometry
    if reg.read_head == reg.read_tail:
        return
    entry = state.readers[reg.read_head]
    job = entry.job
    number = plan.jobs[job].row
    if reg.read_cycle == 0:
        if reg.read_beat == 0 and reg.read_at <= reg.read_last:
            reg.read_at = max(entry.ready, reg.read_last + 1)
            reg.read_stall = 0
        if reg.read_held:
            reg.read_held = is_full(t, geometry.decision_skid - 1, plan, state)
            if not reg.read_held:
                reg.read_at = t + geometry.read_retry
        if t < reg.read_at or reg.read_held:
            if reg.read_stall > 0:
                state.counts[number, reg.read_stall] += 1
            return
        reg.read_stall = _beat_stall(t, plan, state, job, entry.second)
        if reg.read_stall > 0:
            missing = reg.read_stall != _QK_DECISION and reg.read_stall != _QK_SOFTMAX_FULL
            reg.read_at = t + (geometry.read_retry if missing else 1)
            reg.read_held = missing and _is_stuck(t, plan, state)
            state.counts[number, reg.read_stall] += 1
            return
    state.counts[number, _QK_BUSY] += 1
    state.counts[number, _KEY_READS] += 1
    if reg.read_beat == 0 and reg.read_cycle == 0:
        if entry.second:
            state.jobs[job].qk_second_first = t
        else:
            state.jobs[job].qk_first = t
    reg.read_at = t + 1
    reg.read_cycle += 1
    if reg.read_cycle < geometry.dwell:
        return
    reg.read_cycle = 0
    reg.read_beat += 1
    if geometry.softmax_latency == 0:
        reg.entered += 1
    else:
        reg.softmax_credits += 1
    if reg.read_beat < plan.jobs[job].beats:
        return
    if entry.second:
        state.jobs[job].qk_second_last = t
    else:
        state.jobs[job].qk_last = t
    reg.read_beat = 0
    reg.read_last = t
    reg.read_at = t
    reg.read_head += 1
    state.ended[reg.ended_tail] = t + geometry.phase_gap
    reg.ended_tail += 1
    state.counts[number, _MACS_QK] += plan.jobs[job].visible * geometry.head_dim
    if geometry.softmax_latency == 0:
        state.counts[number, _SOFTMAX_ELEMENTS] += plan.jobs[job].visible
        complete(state, job, entry.second, t + geometry.qk_latency)
        return
    waiting = state.softmax[reg.softmax_tail]
    waiting.job = job
    waiting.second = entry.second
    waiting.ready = t + geometry.qk_latency + geometry.softmax_latency
    reg.softmax_tail += 1


@kernel
def _is_stuck(t: int, plan: Plan, state: State) -> bool:
    """True when a missing line takes the last place before the decision: it is tried again when that moves on."""
    skid = plan.geometry.decision_skid
    if plan.geometry.softmax_latency > 0 or not is_full(t, skid - 1, plan, state):
        return False
    return not is_full(t, skid, plan, state)


@kernel
def _beat_stall(t: int, plan: Plan, state: State, job: int, second: bool) -> int:
    """The counter of what keeps the next beat of Q x K back, 0 for nothing."""
    reg, geometry = state.reg, plan.geometry
    need = min(plan.jobs[job].visible, (reg.read_beat + 1) * geometry.width)
    if geometry.fetch_queries and state.jobs[job].q_usable == 0:
        return _QK_WAIT_Q
    if state.jobs[plan.rows[plan.jobs[job].row].block].k_usable < need:
        return _QK_WAIT_K
    if second and state.jobs[plan.jobs[job].lsb_group].lsb_usable < need:
        return _QK_WAIT_LSB
    if geometry.softmax_latency > 0:
        return 0 if reg.softmax_credits < geometry.softmax_fifo else _QK_SOFTMAX_FULL
    return _QK_DECISION if is_full(t, plan.geometry.decision_skid, plan, state) else 0
