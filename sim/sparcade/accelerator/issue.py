"""Issue: queries are accepted in order, hold buffer lines, and enter their K phase; recomputations go first."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.state import PLANE_K, PLANE_LSB, PLANE_Q, State

_CASCADE = int(Count.FETCH_CASCADE)
_LAYER = int(Count.FETCH_LAYER)
_K_PHASES = int(Count.FETCH_K_PHASES)
_KEY_SRAM = int(Count.FETCH_KEY_SRAM)
_WINDOW = int(Count.FETCH_WINDOW)
_REORDER = int(Count.FETCH_REORDER)
_KEY_WRITES = int(Count.KEY_SRAM_WRITES)
_BITS = int(Count.BITS_Q)
NOTHING, ACCEPTED, RECOMPUTATION = range(3)


@kernel
def issue(t: int, plan: Plan, state: State) -> None:
    """Choose what goes next, recomputations first, and keep to it; issue it when a K phase is free."""
    reg = state.reg
    while reg.ended_head < reg.ended_tail and state.ended[reg.ended_head] <= t:
        reg.ended_head += 1
        reg.phases -= 1
    if reg.selected == NOTHING:
        if reg.redo_head < reg.redo_tail and state.redo[reg.redo_head].ready <= t:
            reg.selected = RECOMPUTATION
        elif reg.issued < reg.accepted and reg.accepted_at < t and _issue_stall(plan, state, reg.issued) == 0:
            reg.selected = ACCEPTED
    if reg.selected == NOTHING or reg.phases >= plan.geometry.k_phases:
        return
    second = reg.selected == RECOMPUTATION
    job = reg.issued
    if second:
        job = state.redo[reg.redo_head].job
        reg.redo_head += 1
    else:
        reg.issued += 1
        reg.reorder_free -= plan.jobs[job].beats
        if plan.rows[plan.jobs[job].row].lsb_bits > 0:
            reg.window += 1
    if second:
        state.jobs[job].reissued = t
    else:
        state.jobs[job].issued = t
    reg.selected = NOTHING
    reg.phases += 1
    entry = state.readers[reg.read_tail]
    entry.job = job
    entry.second = second
    entry.ready = t + plan.geometry.read_latency
    reg.read_tail += 1
    _fetch(t, plan, state, job, second)


@kernel
def _issue_stall(plan: Plan, state: State, job: int) -> int:
    """The counter of what a new job finds no room in, undecided queries or the reorder buffer; 0 for nothing."""
    reg = state.reg
    if plan.rows[plan.jobs[job].row].lsb_bits > 0 and reg.window >= plan.geometry.decision_queries:
        return _WINDOW
    return _REORDER if plan.jobs[job].beats > reg.reorder_free else 0


@kernel
def _fetch(t: int, plan: Plan, state: State, job: int, second: bool) -> None:
    """Ask the fetcher for what the job's pass through Q x K needs and nobody asked for."""
    dim, number = plan.geometry.head_dim, plan.jobs[job].row
    row = plan.rows[number]
    if second:
        group = plan.jobs[job].lsb_group
        if not state.jobs[group].lsb_asked:
            state.jobs[group].lsb_asked = True
            _ask(t, plan, state, PLANE_LSB, job)
            state.counts[number, _BITS + PLANE_LSB] += row.keys * dim * row.lsb_bits
            state.counts[number, _KEY_WRITES] += row.key_lines // row.heads_fetched
        return
    if plan.geometry.fetch_queries:
        _ask(t, plan, state, PLANE_Q, job)
        state.counts[number, _BITS + PLANE_Q] += dim * row.query_bits
    if row.first_of_block and job == row.job_start:
        _ask(t, plan, state, PLANE_K, job)
        state.counts[number, _BITS + PLANE_K] += row.keys * dim * row.msb_bits * row.heads_fetched


@kernel
def _ask(t: int, plan: Plan, state: State, plane: int, job: int) -> None:
    request = state.requests[state.reg.requests_tail]
    request.plane = plane
    request.job = job
    request.ready = t + plan.geometry.issue_latency
    state.reg.requests_tail += 1


@kernel
def accept(t: int, plan: Plan, state: State) -> None:
    """Free the keys of one block at most, in order; then take the next job into the register before issue."""
    reg, rows, jobs = state.reg, plan.rows, plan.jobs
    last = False
    while not last and reg.freed < jobs.shape[0] and state.jobs[reg.freed].key_free <= t:
        row = jobs[reg.freed].row
        last = rows[row].last_of_block and reg.freed + 1 == rows[row].job_start + rows[row].jobs
        if last:
            reg.key_lines += rows[_first_row(plan, row)].key_alloc
            reg.key_live -= 1
        reg.freed += 1
    if reg.accepted == jobs.shape[0] or reg.accepted > reg.issued:
        return
    job = reg.accepted
    number = jobs[job].row
    row = rows[number]
    if _accept_stall(t, plan, state, job) > 0:
        return
    if row.first_of_block and job == row.job_start:
        reg.key_lines -= row.key_alloc
        reg.key_live += 1
        state.counts[number, _KEY_WRITES] += row.key_lines
    state.jobs[job].accepted = t
    reg.accepted += 1
    reg.accepted_at = t


@kernel
def _accept_stall(t: int, plan: Plan, state: State, job: int) -> int:
    """The counter of what keeps the next job from being accepted, 0 for nothing."""
    reg, number = state.reg, plan.jobs[job].row
    row = plan.rows[number]
    if job != row.job_start:
        return 0
    if not plan.geometry.layers_overlap and number > 0 and row.new_layer and state.jobs[job - 1].retired > t:
        return _LAYER
    if row.waits_for >= 0 and state.rows[row.waits_for].gate > t:
        return _CASCADE
    if row.first_of_block and (row.key_alloc > reg.key_lines or reg.key_live >= plan.geometry.live_allocations):
        return _KEY_SRAM
    return 0


@kernel
def _first_row(plan: Plan, row: int) -> int:
    while not plan.rows[row].first_of_block:
        row -= 1
    return row


@kernel
def stall(t: int, plan: Plan, state: State) -> None:
    """Charge a cycle in which the fetcher had no request to what keeps the next query back."""
    reg, jobs = state.reg, plan.jobs
    if reg.accepted > reg.issued:
        job = reg.issued
        cause = _K_PHASES if reg.phases >= plan.geometry.k_phases else _issue_stall(plan, state, job)
    elif reg.accepted < jobs.shape[0]:
        job = reg.accepted
        cause = _accept_stall(t, plan, state, job)
    else:
        return
    if cause > 0:
        state.counts[jobs[job].row, cause] += 1
