"""Realignment and conversion: rows leave the data FIFOs, and become readable (docs/pipeline.md, steps 1, 9, 10)."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.requests import transactions_of
from sparcade.accelerator.state import PLANE_K, PLANE_LSB, PLANE_Q, PLANE_V, REALIGN_LIST, State


@kernel
def make_readable(t: int, plan: Plan, state: State) -> None:
    """Converted vectors become readable in their buffer."""
    reg, size = state.reg, state.written.shape[0]
    while reg.written_head < reg.written_tail and state.written[reg.written_head % size].ready <= t:
        entry = state.written[reg.written_head % size]
        job = entry.job
        row = plan.jobs[job].row
        times = state.jobs[job]
        if entry.plane == PLANE_Q:
            times.q_usable = entry.complete
            times.q_there = t
        elif entry.plane == PLANE_K:
            state.jobs[plan.rows[row].block].k_usable = entry.complete
            times.k_there = t
        elif entry.plane == PLANE_LSB:
            state.jobs[plan.jobs[job].lsb_group].lsb_usable = entry.complete
            times.lsb_there = t
        else:
            if state.rows[row].v_usable < entry.complete == plan.rows[row].new:
                reg.values_there += 1
                reg.value_there_at = t
            state.rows[row].v_usable = entry.complete
            times.v_there = t
        reg.written_head += 1


@kernel
def convert(t: int, plan: Plan, state: State) -> int:
    """Take one group of vectors out of realignment and convert it; returns the words held before."""
    reg = state.reg
    before = reg.realign_words
    if reg.realign_head == reg.realign_tail:
        return before
    head = state.realign[reg.realign_head % REALIGN_LIST]
    if head.plane != reg.realign_plane or head.job != reg.realign_job:
        reg.realign_plane = head.plane
        reg.realign_job = head.job
        reg.realign_taken = 0
    vectors, transactions = _group(plan, head.plane, head.job)
    if vectors == 0:  # whole rows
        reg.realign_words -= head.words
        reg.realign_head += 1
        _write(t, plan, state, head.plane, head.job, head.complete)
        return before
    quota, words, ended, place = vectors * transactions, 0, False, reg.realign_head
    while place < reg.realign_tail and words < quota and not ended:
        entry = state.realign[place % REALIGN_LIST]
        words += entry.words
        ended = entry.last
        place += 1
    if words < quota and not ended:
        return before
    left = min(words, quota)
    reg.realign_words -= left
    reg.realign_taken += left
    complete = reg.realign_taken // transactions
    while left > 0:
        entry = state.realign[reg.realign_head % REALIGN_LIST]
        taken = min(left, entry.words)
        entry.words -= taken
        left -= taken
        if entry.words == 0:
            if entry.last:
                reg.realign_plane = -1
            reg.realign_head += 1
    _write(t, plan, state, head.plane, head.job, complete)
    return before


@kernel
def _write(t: int, plan: Plan, state: State, plane: int, job: int, complete: int) -> None:
    """`complete` vectors of a request are converted, and readable soon."""
    entry = state.written[state.reg.written_tail % state.written.shape[0]]
    entry.plane = plane
    entry.job = job
    entry.complete = complete
    entry.ready = t + plan.geometry.convert_latency
    state.reg.written_tail += 1


@kernel
def _group(plan: Plan, plane: int, job: int) -> tuple[int, int]:
    """(vectors converted at once, transactions of a vector); zeros: whole rows are converted."""
    geometry = plan.geometry
    row = plan.rows[plan.jobs[job].row]
    if geometry.packed:
        return 0, 0
    transactions = transactions_of(plan, plane, job)
    heads = row.heads_fetched if plane in (PLANE_K, PLANE_V) else 1
    room = geometry.fetch_ports * max(1, geometry.realign_rows - 1)
    vectors = min(max(1, geometry.vectors_per_pop // heads), room // transactions)
    return vectors, transactions


@kernel
def leave(t: int, before: int, plan: Plan, state: State) -> None:
    """A row leaves the data FIFOs when every port has its word and realignment had room."""
    reg, geometry = state.reg, plan.geometry
    if reg.returns_head == reg.returns_tail:
        return
    size = state.returns.shape[0]
    row = state.returns[reg.returns_head % size]
    if row.missing > 0 or row.ready > t:
        return
    if before > (geometry.realign_rows - 1) * geometry.fetch_ports or reg.realign_tail - reg.realign_head >= (
        REALIGN_LIST - 1
    ):
        return
    for port in range(row.words):
        state.ports[port].in_flight -= 1
    entry = state.realign[reg.realign_tail % REALIGN_LIST]
    entry.plane = row.plane
    entry.job = row.job
    entry.words = row.words
    entry.complete = row.complete
    entry.last = row.last
    reg.realign_tail += 1
    reg.realign_words += row.words
    reg.returns_head += 1
