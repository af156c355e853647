"""FR-FCFS: which request of a buffer gets the next command.

A request's next command follows from its bank: closed -> ACT, right row open -> RD or WR, other row -> PRE. The
first request in queue order whose next command may issue wins; a row hit has no priority of its own. Requests of a
bank that need the same command are ready together, so only the oldest of each kind is looked at.
"""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade._records import Record
from sparcade.dram.commands import Command
from sparcade.dram.state import ACTIVATING, CLOSED, NEVER, NONE, OPEN, Dram

_ACT, _PRE, _RD, _WR = int(Command.ACT), int(Command.PRE), int(Command.RD), int(Command.WR)
#: Kinds of commands a slot takes: column, row, precharges of a falling edge only.
COLUMN, ROW, FALLING = 1, 2, 4


@kernel
def next_command(dram: Dram, entry: int) -> int:
    """The command a request needs next; NONE while its bank is between ACT1 and ACT2."""
    bank = dram.entries[entry].bank
    state = dram.banks[bank].state
    if state == CLOSED:
        return _ACT
    if state == ACTIVATING:
        return NONE
    if dram.banks[bank].row != dram.entries[entry].row:
        return _PRE
    return _WR if dram.entries[entry].write else _RD


@kernel
def switches(dram: Dram, channel: int) -> bool:
    """True when the other queue is to be served: write drain with two watermarks."""
    reads, writes = dram.queues[2 * channel].requests, dram.queues[2 * channel + 1].requests
    if dram.channels[channel].writing:
        return bool(writes <= dram.spec.write_low and reads > 0)
    return bool(writes >= dram.spec.write_high or reads == 0)


@kernel
def serve_active(dram: Dram, channel: int, now: int, slot: int) -> tuple[int, int]:
    """Choose among the requests that got their ACT: (place in the active buffer or NONE, command)."""
    state = dram.channels[channel]
    if state.active == 0 or now < state.wake_active:
        return NONE, NONE
    place, command, later = _pick_active(dram, channel, now, slot)
    state.wake_active = max(now + 1, later)
    return place, command


@kernel
def serve_queue(dram: Dram, channel: int, now: int, slot: int) -> tuple[int, int]:
    """Choose in the queue being served, after switching queues if it is time: (entry or NONE, command)."""
    state = dram.channels[channel]
    if switches(dram, channel):
        state.writing = 1 - state.writing
        state.wake_column = now
        state.wake_row = now
    column_waits = not slot & COLUMN or now < max(state.wake_column, state.column_bus)
    if column_waits and (slot == COLUMN or now < max(state.wake_row, state.row_bus)):
        return NONE, NONE
    entry, command, later = _pick_queued(dram, channel, state.writing, now, slot)
    later = max(now + 1, later)
    if slot & COLUMN:
        state.wake_column = later
    if slot != COLUMN:
        state.wake_row = later
    if dram.spec.lost_tick and command == _PRE and dram.banks[dram.entries[entry].bank].active > 0:
        state.wake_row = now + 1
        return NONE, NONE
    return entry, command


@kernel
def _pick_active(dram: Dram, channel: int, tick: int, slot: int) -> tuple[int, int, int]:
    """Among the requests that got their ACT: (place in the buffer or NONE, command, when another may be ready)."""
    state = dram.channels[channel]
    best, best_command, best_arrival, later = NONE, NONE, NEVER, NEVER
    for place in range(state.active):
        entry = dram.active[channel, place]
        command = next_command(dram, entry)
        is_column = command in (_RD, _WR)
        if command == NONE or (not is_column and (not slot & ROW or not _may_row(dram, channel, entry, command))):
            continue
        ready = max(dram.ready[command, dram.entries[entry].bank], state.column_bus if is_column else state.row_bus)
        if ready <= tick and dram.entries[entry].arrival < best_arrival:
            if best != NONE:
                later = tick
            best, best_command, best_arrival = place, command, dram.entries[entry].arrival
        elif ready < later:
            later = ready
    return best, best_command, later


@kernel
def _may_row(dram: Dram, channel: int, entry: int, command: int) -> bool:
    """An active request whose row was closed again may need a row command (one command bus only)."""
    if command == _ACT:
        return bool(dram.channels[channel].act2_entry == NONE)
    if not dram.spec.row_hit_first:
        return True
    for place in range(dram.channels[channel].active):
        other = dram.active[channel, place]
        same_bank = dram.entries[other].bank == dram.entries[entry].bank
        if (
            same_bank
            and dram.entries[other].row == dram.banks[dram.entries[entry].bank].row
            and dram.entries[other].arrival <= dram.entries[entry].arrival
        ):
            return False
    return True


@kernel
def _pick_queued(dram: Dram, channel: int, write: int, tick: int, slot: int) -> tuple[int, int, int]:
    """Among the reads or writes of a channel: (entry or NONE, command, when another may be ready)."""
    banks, lines, entries, ready_table = dram.banks, dram.lines, dram.entries, dram.ready
    row_bus, column_bus = dram.channels[channel].row_bus, dram.channels[channel].column_bus
    queue = 2 * channel + write
    column = _WR if write else _RD
    may_act = dram.channels[channel].act2_entry == NONE
    best, best_command, best_sequence, later = NONE, NONE, NEVER, NEVER
    for place in range(dram.queues[queue].banks):
        bank = dram.occupied[queue, place]
        line = 2 * bank + write
        state = banks[bank].state
        if state == OPEN:
            entry = lines[line].hit
            if entry != NONE and slot & COLUMN:
                ready = max(ready_table[column, bank], column_bus)
                if ready > tick:
                    later = min(later, ready)
                elif entries[entry].sequence < best_sequence:
                    if best != NONE:
                        later = tick
                    best, best_command, best_sequence = entry, column, entries[entry].sequence
                else:
                    later = tick
            entry = lines[line].miss
            command = _PRE
            if entry == NONE or not slot & (ROW | FALLING) or not _may_precharge(dram, bank, line):
                continue
        elif state == CLOSED and may_act:
            if not slot & ROW:
                if slot & FALLING:
                    later = min(later, max(tick, ready_table[_ACT, bank]))
                continue
            entry = lines[line].head
            command = _ACT
        else:
            continue
        ready = max(ready_table[command, bank], row_bus)
        if ready > tick:
            later = min(later, ready)
        elif slot & FALLING and is_paired(dram, channel, tick, bank, False):
            later = tick
        elif entries[entry].sequence < best_sequence:
            if best != NONE:
                later = tick
            best, best_command, best_sequence = entry, command, entries[entry].sequence
        else:
            later = tick
    return best, best_command, later


@kernel
def _may_precharge(dram: Dram, bank: int, line: int) -> bool:
    """False while the oldest miss of a bank may not close its row."""
    if dram.banks[bank].active > 0 and not dram.spec.lost_tick:
        return False
    hit, miss = dram.lines[line].hit, dram.lines[line].miss
    if not dram.spec.row_hit_first or hit == NONE:
        return True
    return bool(dram.entries[hit].arrival > dram.entries[miss].arrival)


@kernel
def is_paired(dram: Dram, channel: int, tick: int, bank: int, all_banks: bool) -> bool:
    """HBM3: True when the row command of the last rising edge forbids this precharge at its paired falling edge."""
    state = dram.channels[channel]
    if tick != state.paired_edge or dram.banks[bank].upper != state.paired_upper:
        return False
    return all_banks or state.paired_bank == NONE or state.paired_bank == bank


@kernel
def bank_wakes(dram: Dram, channel: int, bank: int, write: int, tick: int) -> None:
    """Wake the queue's slots no later than this bank's requests may get a command, from tick + 1 on."""
    state, line, soon = dram.channels[channel], 2 * bank + write, tick + 1
    if dram.banks[bank].state == OPEN:
        if dram.lines[line].hit != NONE and state.wake_column > soon:
            ready = dram.ready[_WR if write else _RD, bank]
            state.wake_column = min(state.wake_column, max(soon, ready))
        if dram.lines[line].miss != NONE and state.wake_row > soon and _may_precharge(dram, bank, line):
            ready = dram.ready[_PRE, bank]
            state.wake_row = min(state.wake_row, max(soon, ready))
    elif dram.lines[line].head != NONE and state.wake_row > soon:
        ready = dram.ready[_ACT, bank]
        state.wake_row = min(state.wake_row, max(soon, ready))


@kernel
def queue_wake(state: Record) -> int:
    """The tick from which the queue being served may get a command."""
    return min(max(state.wake_column, state.column_bus), max(state.wake_row, state.row_bus))
