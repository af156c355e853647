"""What every module did in a cycle, for the event log: consecutive cycles of one thing for one query are one slice.

Nothing here changes a run. A counter that went up says what a module did; whose counter that can be, the registers say.
"""

from __future__ import annotations

from enum import IntEnum

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.state import NO_COUNT, State


class Track(IntEnum):
    """Modules of the log."""

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
    CASCADE = 11
    PV = 12


#: Most slices that a cycle can end: one a track, and two of cascade selections.
SLICES_A_CYCLE = len(Track) + 1

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
_CASCADE = int(Track.CASCADE)
_PV = int(Track.PV)
_FETCH_BUSY, _FETCH_LAST = int(Count.FETCH_BUSY), int(Count.FETCH_DATA_FIFO)
_QK_BUSY, _QK_LAST = int(Count.QK_BUSY), int(Count.QK_DECISION_FULL)
_SOFTMAX_BUSY, _SOFTMAX_LAST = int(Count.SOFTMAX_BUSY), int(Count.SOFTMAX_DECISION_FULL)
_TOPK_BUSY = int(Count.TOPK_BUSY)
_PV_BUSY, _PV_LAST = int(Count.PV_BUSY), int(Count.PV_WAIT_PROBABILITIES)
_ACCUMULATOR_BUSY = int(Count.ACCUMULATOR_BUSY)
_CASCADE_BUSY = int(Count.CASCADE_BUSY)


@kernel
def note(t: int, plan: Plan, state: State) -> None:
    """Note cycle t, at its end."""
    reg, past, jobs = state.reg, state.past, plan.jobs.shape[0]
    _note_fetch(t, plan, state)
    if reg.reads_returned != past.reads_returned:
        oldest = state.returns[reg.returns_head % state.returns.shape[0]]
        _extend(t, state, _DRAM, NO_COUNT, oldest.job, oldest.plane)
    if reg.written_tail != past.written_tail:
        entry = state.written[(reg.written_tail - 1) % state.written.shape[0]]
        _extend(t, state, _REALIGN, NO_COUNT, entry.job, entry.plane)
    if past.read_head < reg.read_tail:
        reader = state.readers[past.read_head]
        _note_charged(t, plan, state, _QK, _QK_BUSY, _QK_LAST, reader.job, int(reader.second))
    if past.softmax_head < reg.softmax_tail:
        row = state.softmax[past.softmax_head]
        _note_charged(t, plan, state, _SOFTMAX, _SOFTMAX_BUSY, _SOFTMAX_LAST, row.job, int(row.second))
    if reg.pipe_tail != past.pipe_tail:
        beat = state.pipe[(reg.pipe_tail - 1) % state.pipe.shape[0]]
        second = int(plan.jobs[beat.job].refetch and not beat.dropped)
        _extend(t, state, _DECISION, NO_COUNT, beat.job, second)
    _note_topk(t, plan, state)
    if reg.pv_next > 0:
        _note_charged(t, plan, state, _PV, _PV_BUSY, _PV_LAST, reg.pv_next - 1, 0)
        _note_head_selection(t, plan, state, reg.pv_next - 1)
    if past.order_job < jobs and (past.order_job != reg.order_job or past.order_beat != reg.order_beat):
        _note_left(t, plan, state, past.order_job)
    remember(state)


@kernel
def remember(state: State) -> None:
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
    past.selects = e.left > 0 or e.turn > 0
    past.chosen = e.chosen
    past.number = e.number
    past.beats_out = reg.beats_out
    past.order_job = reg.order_job
    past.order_beat = reg.order_beat


@kernel
def _note_fetch(t: int, plan: Plan, state: State) -> None:
    """The row pushed, else the split row that found the FIFOs full, else the query that is kept back."""
    reg = state.reg
    if reg.pushed != state.past.pushed:
        split = state.splits[1 - reg.split_head]
        _note_charged(t, plan, state, _FETCH, _FETCH_BUSY, _FETCH_BUSY, split.job, split.plane)
    elif reg.split_rows > 0:
        split = state.splits[reg.split_head]
        _note_charged(t, plan, state, _FETCH, _FETCH_BUSY, _FETCH_LAST, split.job, split.plane)
    else:
        job = min(reg.accepted, reg.issued)
        if job < plan.jobs.shape[0]:
            _note_charged(t, plan, state, _FETCH, _FETCH_BUSY, _FETCH_LAST, job, 0)


@kernel
def _note_topk(t: int, plan: Plan, state: State) -> None:
    """The top-k engine: occupied, a pass of its selection, a row of the kept out of it."""
    reg, past = state.reg, state.past
    if plan.geometry.topk_serial:
        if past.ranked_head < reg.ranked_tail:
            _note_charged(t, plan, state, _TOPK, _TOPK_BUSY, _TOPK_BUSY, state.ranked[past.ranked_head].job, 0)
    elif past.done < plan.list_jobs.shape[0]:
        _note_charged(t, plan, state, _TOPK, _TOPK_BUSY, _TOPK_BUSY, plan.list_jobs[past.done], 0)
        if past.selects:
            _extend(t, state, _SELECT, NO_COUNT, plan.list_jobs[past.chosen], past.number)
    if reg.beats_out != past.beats_out and plan.jobs[reg.begun - 1].ranked:
        _extend(t, state, _O, NO_COUNT, reg.begun - 1, 0)


@kernel
def _note_left(t: int, plan: Plan, state: State, job: int) -> None:
    """A beat left the reorder buffer; with a job's first, importance is accumulated and tokens may be selected."""
    if plan.jobs[job].ranked:
        _extend(t, state, _ELEMENTS, NO_COUNT, job, 0)
    if state.past.order_beat > 0:
        return
    row = plan.rows[plan.jobs[job].row]
    if row.accumulate:
        _write(state, _ACCUMULATOR, _ACCUMULATOR_BUSY, job, 0, t, t + plan.jobs[job].beats)
    if row.token_selection and job + 1 == row.job_start + row.jobs:
        end = state.reg.cascade_free
        _write(state, _CASCADE, _CASCADE_BUSY, job, 0, end - row.token_cycles, end)


@kernel
def _note_head_selection(t: int, plan: Plan, state: State, job: int) -> None:
    """Prob x V read the last value of a row's last query: heads may be selected."""
    number = plan.jobs[job].row
    row = plan.rows[number]
    if row.head_selection and state.jobs[job].pv_last == t and job + 1 == row.job_start + row.jobs:
        end = state.rows[number].gate
        _write(state, _CASCADE, _CASCADE_BUSY, job, 1, end - row.head_cycles, end)


@kernel
def _note_charged(t: int, plan: Plan, state: State, track: int, first: int, last: int, job: int, part: int) -> None:
    """The counter from `first` to `last` of the job's row that went up, if one did."""
    number = plan.jobs[job].row
    for column in range(first, last + 1):
        if state.counts[number, column] != state.seen[number, column]:
            state.seen[number, column] = state.counts[number, column]
            _extend(t, state, track, column, job, part)
            return


@kernel
def _extend(t: int, state: State, track: int, count: int, job: int, part: int) -> None:
    """Cycle t joins the last slice of a track, or begins the next one."""
    last = state.under_way[track]
    if last.end == t and last.job == job and last.count == count and last.part == part:
        last.end = t + 1
        return
    _write(state, track, last.count, last.job, last.part, last.begin, last.end)
    last.count = count
    last.job = job
    last.part = part
    last.begin = t
    last.end = t + 1


@kernel
def _write(state: State, track: int, count: int, job: int, part: int, begin: int, end: int) -> None:
    """A slice that is over, unless it has no cycles."""
    if end <= begin:
        return
    entry = state.slices[state.past.slices]
    entry.track = track
    entry.count = count
    entry.job = job
    entry.part = part
    entry.begin = begin
    entry.end = end
    state.past.slices += 1
