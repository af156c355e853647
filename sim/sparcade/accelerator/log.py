"""What every module did in a cycle, for the event log: consecutive cycles of one thing for one query are one slice.

Nothing here changes a run. The registers say for which query a module can have worked, and its counters whether it did.
"""

from __future__ import annotations

from enum import IntEnum

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.state import NO_COUNT, NO_JOB, State


class Track(IntEnum):
    """What is noted: modules, and the two kinds of selections of the cascade engine."""

    FETCH = 0
    DRAM = 1
    REALIGN = 2
    QK = 3
    SOFTMAX = 4
    DECISION = 5
    TOPK = 6
    TOPK_ELEMENTS = 7
    TOPK_SELECT = 8
    TOPK_O = 9
    ACCUMULATOR = 10
    CASCADE_TOKENS = 11
    CASCADE_HEADS = 12
    PV = 13


_UNCOUNTED = (0, 0)
#: First and last counter of each track, of which at most one goes up in a cycle.
COUNTED = {
    Track.FETCH: (Count.FETCH_BUSY, Count.FETCH_DATA_FIFO),
    Track.DRAM: _UNCOUNTED,
    Track.REALIGN: _UNCOUNTED,
    Track.QK: (Count.QK_BUSY, Count.QK_DECISION_FULL),
    Track.SOFTMAX: (Count.SOFTMAX_BUSY, Count.SOFTMAX_DECISION_FULL),
    Track.DECISION: _UNCOUNTED,
    Track.TOPK: (Count.TOPK_BUSY, Count.TOPK_BUSY),
    Track.TOPK_ELEMENTS: _UNCOUNTED,
    Track.TOPK_SELECT: _UNCOUNTED,
    Track.TOPK_O: _UNCOUNTED,
    Track.ACCUMULATOR: (Count.ACCUMULATOR_BUSY, Count.ACCUMULATOR_BUSY),
    Track.CASCADE_TOKENS: (Count.CASCADE_BUSY, Count.CASCADE_BUSY),
    Track.CASCADE_HEADS: (Count.CASCADE_BUSY, Count.CASCADE_BUSY),
    Track.PV: (Count.PV_BUSY, Count.PV_WAIT_PROBABILITIES),
}

_FETCH = int(Track.FETCH)
_DRAM = int(Track.DRAM)
_REALIGN = int(Track.REALIGN)
_QK = int(Track.QK)
_SOFTMAX = int(Track.SOFTMAX)
_DECISION = int(Track.DECISION)
_TOPK = int(Track.TOPK)
_ELEMENTS = int(Track.TOPK_ELEMENTS)
_SELECT = int(Track.TOPK_SELECT)
_O = int(Track.TOPK_O)
_ACCUMULATOR = int(Track.ACCUMULATOR)
_TOKENS = int(Track.CASCADE_TOKENS)
_HEADS = int(Track.CASCADE_HEADS)
_PV = int(Track.PV)


@kernel
def note(t: int, plan: Plan, state: State) -> None:
    """Note cycle t, at its end."""
    _look_at_fetch(plan, state)
    _look_at_scores(plan, state)
    _look_at_local_v(t, plan, state)
    _look_at_values(t, plan, state)
    for track in range(state.now.shape[0]):
        if state.now[track].job != NO_JOB:
            _join(t, track, plan, state)
    _remember(state)


@kernel
def _look_at_fetch(plan: Plan, state: State) -> None:
    """The row pushed, else the split row that found the FIFOs full, else the query that is kept back; what came back.

    Words that came back are put down to the oldest request under way.
    """
    reg, past = state.reg, state.past
    job, part = min(reg.accepted, reg.issued), 0
    if reg.pushed != past.pushed or reg.split_rows > 0:
        split = state.splits[reg.split_head if reg.pushed == past.pushed else 1 - reg.split_head]
        job, part = split.job, split.plane
    if job < plan.jobs.shape[0]:
        state.now[_FETCH].job = job
        state.now[_FETCH].part = part
    if reg.reads_returned != past.reads_returned:
        oldest = state.returns[reg.returns_head % state.returns.shape[0]]
        state.now[_DRAM].job = oldest.job
        state.now[_DRAM].part = oldest.plane
    if reg.written_tail != past.written_tail:
        entry = state.written[(reg.written_tail - 1) % state.written.shape[0]]
        state.now[_REALIGN].job = entry.job
        state.now[_REALIGN].part = entry.plane


@kernel
def _look_at_scores(plan: Plan, state: State) -> None:
    """Q x K, softmax and decision; part 1 is a second pass."""
    reg, past = state.reg, state.past
    if past.read_head < reg.read_tail:
        reader = state.readers[past.read_head]
        state.now[_QK].job = reader.job
        state.now[_QK].part = reader.second
    if past.softmax_head < reg.softmax_tail:
        row = state.softmax[past.softmax_head]
        state.now[_SOFTMAX].job = row.job
        state.now[_SOFTMAX].part = row.second
    if reg.pipe_tail != past.pipe_tail:
        beat = state.pipe[(reg.pipe_tail - 1) % state.pipe.shape[0]]
        state.now[_DECISION].job = beat.job
        state.now[_DECISION].part = plan.jobs[beat.job].refetch and not beat.dropped


@kernel
def _look_at_local_v(t: int, plan: Plan, state: State) -> None:
    """The top-k engine, its passes and its output; a beat out of the reorder buffer, and what that makes begin."""
    reg, e, past = state.reg, state.engine, state.past
    if plan.geometry.topk_serial:
        if past.ranked_head < reg.ranked_tail:
            state.now[_TOPK].job = state.ranked[past.ranked_head].job
    elif past.done < plan.list_jobs.shape[0]:
        state.now[_TOPK].job = plan.list_jobs[past.done]
        if past.turn > 0 or e.left < past.left:
            state.now[_SELECT].job = plan.list_jobs[past.chosen]
            state.now[_SELECT].part = past.number
    if reg.beats_out != past.beats_out and plan.jobs[reg.begun - 1].ranked:
        state.now[_O].job = reg.begun - 1
    if past.order_job == reg.order_job and past.order_beat == reg.order_beat:
        return
    job = past.order_job
    if plan.jobs[job].ranked:
        state.now[_ELEMENTS].job = job
    if past.order_beat > 0:
        return
    row = plan.rows[plan.jobs[job].row]
    state.now[_ACCUMULATOR].job = job
    state.now[_ACCUMULATOR].begin = t
    state.now[_ACCUMULATOR].end = t + plan.jobs[job].beats
    if row.token_selection and job + 1 == row.job_start + row.jobs:
        state.now[_TOKENS].job = job
        state.now[_TOKENS].begin = reg.cascade_free - row.token_cycles
        state.now[_TOKENS].end = reg.cascade_free


@kernel
def _look_at_values(t: int, plan: Plan, state: State) -> None:
    """Prob x V, and the head selection that the last value of a row makes begin."""
    job = state.reg.pv_next - 1
    if job < 0:
        return
    state.now[_PV].job = job
    number = plan.jobs[job].row
    row = plan.rows[number]
    if row.head_selection and state.jobs[job].pv_last == t and job + 1 == row.job_start + row.jobs:
        state.now[_HEADS].job = job
        state.now[_HEADS].begin = state.rows[number].gate - row.head_cycles
        state.now[_HEADS].end = state.rows[number].gate


@kernel
def _join(t: int, track: int, plan: Plan, state: State) -> None:
    """What a module did joins its last slice or begins the next one; nothing, if none of its counters went up."""
    now, last, number = state.now[track], state.under_way[track], plan.jobs[state.now[track].job].row
    job, begin, end = now.job, now.begin, now.end
    now.job, now.end = NO_JOB, 0
    if end == 0:
        begin, end = t, t + 1
    count = NO_COUNT
    for column in range(now.first, now.last + 1 if now.first > 0 else 0):
        if state.counts[number, column] != state.seen[number, column]:
            state.seen[number, column] = state.counts[number, column]
            count = column
    if count == NO_COUNT and now.first > 0:
        return
    if last.end == begin and last.job == job and last.count == count and last.part == now.part:
        last.end = end
        return
    if last.end > last.begin:
        entry = state.slices[state.past.slices]
        entry.track = track
        entry.count = last.count
        entry.job = last.job
        entry.part = last.part
        entry.begin = last.begin
        entry.end = last.end
        state.past.slices += 1
    last.count = count
    last.job = job
    last.part = now.part
    last.begin = begin
    last.end = end


@kernel
def _remember(state: State) -> None:
    """Keep the registers that the next cycle is compared with."""
    reg, e, past = state.reg, state.engine, state.past
    past.pushed = reg.pushed
    past.reads_returned = reg.reads_returned
    past.written_tail = reg.written_tail
    past.read_head = reg.read_head
    past.softmax_head = reg.softmax_head
    past.pipe_tail = reg.pipe_tail
    past.ranked_head = reg.ranked_head
    past.done = e.done
    past.left = e.left
    past.turn = e.turn
    past.chosen = e.chosen
    past.number = e.number
    past.beats_out = reg.beats_out
    past.order_job = reg.order_job
    past.order_beat = reg.order_beat
