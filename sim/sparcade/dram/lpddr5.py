"""LPDDR5: activation in two commands, and a CAS that wakes the data clock before RD or WR."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.dram.commands import Command
from sparcade.dram.issue import issue_active, issue_job, issue_queued, make_active, record_command
from sparcade.dram.jobs import job_command
from sparcade.dram.queue import resort
from sparcade.dram.schedule import COLUMN, ROW, serve_active, serve_queue
from sparcade.dram.state import NONE, OPEN, Dram

_RD, _WR, _ACT2 = int(Command.RD), int(Command.WR), int(Command.ACT2)
_CAS_RD, _CAS_WR = int(Command.CAS_RD), int(Command.CAS_WR)


@kernel
def tick_split_activate(dram: Dram, channel: int, now: int) -> None:
    """One command of an LPDDR5 channel."""
    state = dram.channels[channel]
    if state.cas_entry != NONE:
        _issue_after_cas(dram, channel, now)
        return
    if state.act2_entry != NONE and state.act2_deadline <= now:
        _issue_act2(dram, channel, now)
        return
    place, command = serve_active(dram, channel, now, COLUMN | ROW)
    entry = NONE
    if place != NONE:
        entry = dram.active[channel, place]
    elif state.job_count > 0:
        command, ready = job_command(dram, channel)
        if command != NONE and ready <= now:
            issue_job(dram, channel, command, now)
            return
    else:
        entry, command = serve_queue(dram, channel, now, COLUMN | ROW)
    if entry == NONE:
        if state.act2_entry != NONE:
            _issue_act2(dram, channel, now)
        return
    if command in (_RD, _WR) and now >= state.clock_expiry:
        _wake_slots(dram, channel, now)
        if state.act2_entry != NONE and state.act2_deadline <= now + 1:
            _issue_act2(dram, channel, now)
        else:
            _issue_cas(dram, channel, place, entry, command, now)
        return
    _run_clock(dram, channel, command, now)
    if place != NONE:
        issue_active(dram, channel, place, command, now)
    else:
        issue_queued(dram, channel, entry, command, now)


@kernel
def _issue_cas(dram: Dram, channel: int, place: int, entry: int, command: int, now: int) -> None:
    """Wake the data clock; the RD or WR of this request takes the next tick."""
    state, fields = dram.channels[channel], dram.entries[entry]
    cas = _CAS_RD if command == _RD else _CAS_WR
    record_command(dram, channel, cas, fields.bank, fields.owner, now, fields.row, fields.column, fields.write)
    state.cas_entry = entry
    state.cas_place = place
    state.cas_command = command


@kernel
def _issue_after_cas(dram: Dram, channel: int, now: int) -> None:
    state = dram.channels[channel]
    if dram.ready[state.cas_command, dram.entries[state.cas_entry].bank] > now:
        return
    _run_clock(dram, channel, state.cas_command, now)
    if state.cas_place != NONE:
        issue_active(dram, channel, state.cas_place, state.cas_command, now)
    else:
        issue_queued(dram, channel, state.cas_entry, state.cas_command, now)
    state.cas_entry = NONE


@kernel
def _run_clock(dram: Dram, channel: int, command: int, now: int) -> None:
    """The data clock runs on until the burst and its postamble are over."""
    state = dram.channels[channel]
    if command == _RD:
        state.clock_expiry = max(state.clock_expiry, now + dram.spec.clock_read)
    elif command == _WR:
        state.clock_expiry = max(state.clock_expiry, now + dram.spec.clock_write)


@kernel
def _issue_act2(dram: Dram, channel: int, now: int) -> None:
    """Second half of an activation: the row is open."""
    state = dram.channels[channel]
    entry = state.act2_entry
    fields = dram.entries[entry]
    record_command(dram, channel, _ACT2, fields.bank, fields.owner, now, fields.row, fields.column, fields.write)
    dram.banks[fields.bank].state = OPEN
    resort(dram, fields.bank)
    state.act2_entry = NONE
    make_active(dram, channel, entry, now)
    _wake_slots(dram, channel, now)


@kernel
def _wake_slots(dram: Dram, channel: int, now: int) -> None:
    state = dram.channels[channel]
    state.wake_active = now + 1
    state.wake_column = now + 1
    state.wake_row = now + 1
