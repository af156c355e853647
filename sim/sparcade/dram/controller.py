"""The controller of a channel, one tick at a time: completions, refresh, then one command per bus.

The rules are those of Ramulator 2.1's controllers, and of 2.0a's for the `HBM2-release` protocol; reference runs hold
them. A tick in which nothing can happen is known in advance (`wake`) and costs nothing.
"""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade._records import Record
from sparcade.dram.commands import Command
from sparcade.dram.issue import add_pending, issue_active, issue_job, issue_queued
from sparcade.dram.jobs import job_command, request_precharges, request_refresh
from sparcade.dram.lpddr5 import tick_split_activate
from sparcade.dram.queue import append, queued_write
from sparcade.dram.schedule import (
    COLUMN,
    FALLING,
    ROW,
    bank_wakes,
    is_paired,
    queue_wake,
    serve_active,
    serve_queue,
    switches,
)
from sparcade.dram.state import LATENCY_BINS, NEVER, NONE, Count, Dram, complete, finish

_PRE, _PREAB = int(Command.PRE), int(Command.PREAB)
_FORWARDED, _COALESCED = int(Count.FORWARDED), int(Count.COALESCED)
#: Answers of `send`.
REFUSED, ACCEPTED, PENDING_FULL = range(3)


@kernel
def send(dram: Dram, place: int, write: int, tag: int, owner: int, now: int) -> int:
    """Offer a transaction after tick `now`: ACCEPTED, REFUSED (queue full), PENDING_FULL (too many forwarded)."""
    spec = dram.spec
    channel = place >> spec.bank_shift
    bank = channel * spec.banks + ((place >> spec.row_shift) & (spec.banks - 1))
    row = (place >> spec.column_shift) & ((1 << (spec.row_shift - spec.column_shift)) - 1)
    column = place & ((1 << spec.column_shift) - 1)
    state, queue = dram.channels[channel], 2 * channel + write
    if (
        dram.queues[2 * channel + 1].requests > 0
        and (not write or spec.coalesces)
        and queued_write(dram, bank, row, column)
    ):
        if write:
            dram.counts[owner, _COALESCED] += 1
            finish(dram, channel, tag)
        else:
            if state.pending + spec.read_latency + 2 > dram.pending.shape[0] // spec.channels:
                return PENDING_FULL
            dram.counts[owner, _FORWARDED] += 1
            add_pending(dram, channel, now + 1, now, tag)
            state.wake = min(state.wake, now + 1)
            _sent(dram, state, owner)
        return ACCEPTED
    if dram.queues[queue].requests >= (spec.write_queue if write else spec.read_queue):
        return REFUSED
    entry = state.free
    fields = dram.entries[entry]
    state.free = fields.next
    fields.bank = bank
    fields.row = row
    fields.column = column
    fields.arrival = now
    fields.sequence = state.sequence
    fields.write = write
    fields.owner = owner
    fields.tag = tag
    fields.classified = 0
    state.sequence += 1
    append(dram, queue, 2 * bank + write, entry)
    _sent(dram, state, owner)
    if write == state.writing:
        bank_wakes(dram, channel, bank, write, now)
    if state.job_count == 0:
        if switches(dram, channel):
            state.wake = now + 1
        elif write == state.writing:
            state.wake = min(state.wake, max(now + 1, queue_wake(state)))
    return ACCEPTED


@kernel
def _sent(dram: Dram, state: Record, owner: int) -> None:
    state.outstanding += 1
    dram.system.outstanding += 1
    dram.system.owner = owner


@kernel
def _complete(dram: Dram, channel: int, now: int) -> None:
    """Hand over reads whose data are there, in order."""
    state, size = dram.channels[channel], dram.pending.shape[0] // dram.spec.channels
    while state.pending > 0:
        slot = dram.pending[channel * size + state.pending_head]
        if slot.depart > now:
            return
        dram.system.progress = now
        latency = slot.depart - slot.arrival
        dram.latency[min(latency, LATENCY_BINS - 1)] += 1
        dram.system.latency_sum += latency
        dram.system.latency_max = max(dram.system.latency_max, latency)
        state.pending_head += 1
        if state.pending_head == size:
            state.pending_head = 0
        state.pending -= 1
        complete(dram, channel, slot.tag)
        if dram.spec.one_completion:
            return


@kernel
def tick(dram: Dram, channel: int, now: int) -> None:
    """Tick `now` of a channel (the first is 1); calls before its `wake` may be left out."""
    state, spec = dram.channels[channel], dram.spec
    if now < state.wake:
        return
    _complete(dram, channel, now)
    if now == state.next_refresh:
        request_refresh(dram, channel)
    if spec.cap > 0:
        request_precharges(dram, channel, now)
    if spec.split_activate:
        tick_split_activate(dram, channel, now)
    elif spec.two_buses:
        rising = not spec.half_ticks or now & 1
        if rising and not _serve_active(dram, channel, now, COLUMN):
            _serve_waiting(dram, channel, now, COLUMN)
        _serve_waiting(dram, channel, now, ROW if rising else FALLING)
    elif not _serve_active(dram, channel, now, COLUMN | ROW):
        _serve_waiting(dram, channel, now, COLUMN | ROW)
    state.wake = _next_wake(dram, channel, now)


@kernel
def _serve_active(dram: Dram, channel: int, now: int, slot: int) -> bool:
    """Issue for a request that got its ACT; True if one was ready."""
    place, command = serve_active(dram, channel, now, slot)
    if place == NONE:
        return False
    issue_active(dram, channel, place, command, now)
    return True


@kernel
def _serve_waiting(dram: Dram, channel: int, now: int, slot: int) -> None:
    """Issue for the head of the priority queue; while that is empty, for the queue being served."""
    state = dram.channels[channel]
    if state.job_count == 0:
        entry, command = serve_queue(dram, channel, now, slot)
        if entry != NONE:
            issue_queued(dram, channel, entry, command, now)
        return
    command, ready = job_command(dram, channel)
    if command == NONE or ready > now or slot == COLUMN:
        return
    if slot == FALLING:
        bank = dram.jobs[channel * dram.spec.jobs + state.job_head].bank
        if (command != _PRE and command != _PREAB) or is_paired(dram, channel, now, bank, command == _PREAB):
            return
    issue_job(dram, channel, command, now)


@kernel
def _next_wake(dram: Dram, channel: int, now: int) -> int:
    """The next tick in which something may happen."""
    state, size = dram.channels[channel], dram.pending.shape[0] // dram.spec.channels
    wake = state.next_refresh
    if state.pending > 0:
        wake = min(wake, dram.pending[channel * size + state.pending_head].depart)
    if state.active > 0:
        wake = min(wake, state.wake_active)
    if state.act2_entry != NONE or state.cas_entry != NONE:
        return now + 1
    if state.job_count > 0:
        command, ready = job_command(dram, channel)
        if command != NONE:
            wake = min(wake, ready)
    elif switches(dram, channel):
        return now + 1
    elif dram.queues[2 * channel + state.writing].requests > 0:
        wake = min(wake, queue_wake(state))
    if dram.spec.cap > 0:
        first = channel * dram.spec.banks
        for bank in range(first, first + dram.spec.banks):
            if dram.banks[bank].accesses >= dram.spec.cap and not dram.banks[bank].injected:
                wake = min(wake, max(dram.ready[_PRE, bank], state.row_bus))
    return max(wake, now + 1)


@kernel
def wake_of(dram: Dram) -> int:
    """The next tick in which something may happen in any channel; NEVER when nothing ever will."""
    wake = NEVER
    for channel in range(dram.spec.channels):
        wake = min(wake, dram.channels[channel].wake)
    return wake
