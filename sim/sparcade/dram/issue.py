"""Issuing a command: statistics, log, timing, the state of its bank, and where its request goes next."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.dram.commands import Command
from sparcade.dram.queue import remove, resort
from sparcade.dram.schedule import bank_wakes
from sparcade.dram.state import ACTIVATING, CLOSED, NONE, OPEN, Count, Dram, complete
from sparcade.dram.timing import restrict

_ACT, _PRE, _PREAB, _RD, _WR = (int(c) for c in (Command.ACT, Command.PRE, Command.PREAB, Command.RD, Command.WR))
_RDA, _WRA, _REFAB, _REFPB = (int(c) for c in (Command.RDA, Command.WRA, Command.REFAB, Command.REFPB))
_READ_HITS = int(Count.READ_HITS)
#: Requests of the controller itself, in the log.
_OWN = -1


@kernel
def issue_queued(dram: Dram, channel: int, entry: int, command: int, now: int) -> None:
    """Issue the next command of a queued request: after RD or WR it is done, after ACT it is active."""
    bank, write = dram.entries[entry].bank, dram.entries[entry].write
    crowded = command == _ACT and dram.channels[channel].active == dram.spec.banks
    if command != _PRE and not crowded:
        remove(dram, 2 * channel + write, 2 * bank + write, entry)
    command = _issue(dram, channel, entry, command, now)
    if crowded:  # the active buffer is full: the request stays in its queue
        dram.channels[channel].wake_column = now + 1
    elif command != _PRE:
        _move_on(dram, channel, entry, command, now)
    bank_wakes(dram, channel, bank, dram.channels[channel].writing, now)


@kernel
def issue_active(dram: Dram, channel: int, place: int, command: int, now: int) -> None:
    """Issue the next command of an active request; an ACT (its row was closed again) puts it last."""
    state, entry = dram.channels[channel], dram.active[channel, place]
    bank = dram.entries[entry].bank
    command = _issue(dram, channel, entry, command, now)
    if command != _PRE:
        state.active -= 1
        dram.banks[bank].active -= 1
        for later in range(place, state.active):
            dram.active[channel, later] = dram.active[channel, later + 1]
        _move_on(dram, channel, entry, command, now)
    else:
        state.wake_active = now + 1
    bank_wakes(dram, channel, bank, state.writing, now)


@kernel
def _move_on(dram: Dram, channel: int, entry: int, command: int, now: int) -> None:
    """Where a request goes after its ACT, RD or WR."""
    if command != _ACT:
        _retire(dram, channel, entry, now)
    elif dram.spec.split_activate:
        dram.channels[channel].act2_entry = entry
        dram.channels[channel].act2_deadline = now + dram.spec.act2_deadline
    else:
        make_active(dram, channel, entry, now)


@kernel
def make_active(dram: Dram, channel: int, entry: int, now: int) -> None:
    """Put a request whose row is open into the active buffer."""
    state, bank = dram.channels[channel], dram.entries[entry].bank
    dram.active[channel, state.active] = entry
    state.active += 1
    dram.banks[bank].active += 1
    ready = dram.ready[_WR if dram.entries[entry].write else _RD, bank]
    state.wake_active = max(now + 1, min(state.wake_active, ready))


@kernel
def _issue(dram: Dram, channel: int, entry: int, command: int, now: int) -> int:
    """Issue a request's command, RDA or WRA for the last RD or WR of a row under the closed policy; what was issued."""
    fields = dram.entries[entry]
    bank = fields.bank
    may_close = dram.spec.cap > 0 and dram.channels[channel].cas_entry == NONE
    if may_close and command in (_RD, _WR) and dram.banks[bank].accesses >= dram.spec.cap:
        closing = _RDA if command == _RD else _WRA
        if dram.ready[closing, bank] <= now:
            command = closing
    if not fields.classified:
        kind = 1 if command == _ACT else 2 if command == _PRE else 0
        dram.counts[fields.owner, _READ_HITS + 3 * fields.write + kind] += 1
        fields.classified = 1
    record_command(dram, channel, command, bank, fields.owner, now, fields.row, fields.column, fields.write)
    if command in (_RD, _WR):
        dram.banks[bank].accesses += 1
    else:
        set_bank(dram, channel, bank, command, fields.row, now)
    if fields.write:
        dram.banks[bank].writes += command in (_WR, _WRA)
    else:
        dram.banks[bank].reads += command in (_RD, _RDA)
    return command


@kernel
def record_command(
    dram: Dram, channel: int, command: int, bank: int, owner: int, now: int, row: int, column: int, kind: int
) -> None:
    """Count, log and time a command; on HBM3, note what a row command forbids at its paired falling edge."""
    dram.counts[owner, command] += 1
    if kind != _OWN:
        dram.system.progress = now
    restrict(dram, channel, bank, command, now)
    if dram.spec.half_ticks and now & 1 and command in (_ACT, _PRE, _PREAB, _REFAB, _REFPB):
        state = dram.channels[channel]
        state.paired_edge = now + (3 if command == _ACT else 1)
        state.paired_upper = dram.banks[bank].upper
        state.paired_bank = NONE if command in (_PREAB, _REFAB) else bank
    if dram.log.shape[0] > 0:
        line = dram.log[dram.system.logged]
        line.clock = now
        line.command = command
        line.bank = bank
        line.row = row
        line.column = column
        line.type = kind
        dram.system.logged += 1


@kernel
def set_bank(dram: Dram, channel: int, bank: int, command: int, row: int, now: int) -> None:
    """Open or close the row of a bank."""
    fields, state = dram.banks[bank], dram.channels[channel]
    if command == _ACT:
        fields.state = ACTIVATING if dram.spec.split_activate else OPEN
        fields.row = row
        fields.activations += 1
    else:
        fields.state = CLOSED
        fields.injected = 0
        fields.accesses = 0
    if fields.active > 0:  # the next command of a request in the active buffer changed
        state.wake_active = now + 1
    resort(dram, bank)


@kernel
def _retire(dram: Dram, channel: int, entry: int, now: int) -> None:
    """After RD the data are on their way; after WR the write is done."""
    fields, state = dram.entries[entry], dram.channels[channel]
    if fields.write:
        complete(dram, channel, fields.tag)
    else:
        add_pending(dram, channel, now + dram.spec.read_latency, fields.arrival, fields.tag)
    fields.next = state.free
    state.free = entry


@kernel
def add_pending(dram: Dram, channel: int, depart: int, arrival: int, tag: int) -> None:
    """Put a read whose data arrive at `depart` behind those on their way."""
    state, size = dram.channels[channel], dram.pending.shape[0] // dram.spec.channels
    slot = dram.pending[channel * size + (state.pending_head + state.pending) % size]
    slot.depart = depart
    slot.arrival = arrival
    slot.tag = tag
    state.pending += 1


@kernel
def issue_job(dram: Dram, channel: int, command: int, now: int) -> None:
    """Issue a command of the priority queue; its last one takes it out."""
    state = dram.channels[channel]
    job = dram.jobs[channel * dram.spec.jobs + state.job_head]
    first, members = job.bank, 1
    if job.command == _REFAB:
        members = dram.spec.upper_banks
    record_command(dram, channel, command, first, dram.system.owner, now, NONE, NONE, _OWN)
    if command in (_PRE, _PREAB):
        for bank in range(first, first + members):
            set_bank(dram, channel, bank, command, NONE, now)
    if command == job.command:
        state.job_head = (state.job_head + 1) % dram.spec.jobs
        state.job_count -= 1
    state.wake_column = now + 1
    state.wake_row = now + 1
