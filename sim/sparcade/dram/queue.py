"""Read and write queues of a channel: requests in order of arrival, found by bank."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.dram.state import NONE, OPEN, Dram


@kernel
def append(dram: Dram, queue: int, line: int, entry: int) -> None:
    """Put a request at the end of its queue; `queue` and `line` are ids of the channel's and the bank's queue."""
    lines, entries, queues = dram.lines, dram.entries, dram.queues
    bank = entries[entry].bank
    queues[queue].requests += 1
    entries[entry].next = NONE
    entries[entry].previous = lines[line].tail
    if lines[line].tail == NONE:
        lines[line].head = entry
        slot = queues[queue].banks
        dram.occupied[queue, slot] = bank
        lines[line].slot = slot
        queues[queue].banks = slot + 1
    else:
        entries[lines[line].tail].next = entry
    lines[line].tail = entry
    if dram.banks[bank].state == OPEN:
        if entries[entry].row == dram.banks[bank].row:
            if lines[line].hit == NONE:
                lines[line].hit = entry
        elif lines[line].miss == NONE:
            lines[line].miss = entry


@kernel
def remove(dram: Dram, queue: int, line: int, entry: int) -> None:
    """Take a request out of its queue: a hit, or the head of a closed bank."""
    lines, entries, queues = dram.lines, dram.entries, dram.queues
    before, after = entries[entry].previous, entries[entry].next
    if lines[line].hit == entry:
        row, later = entries[entry].row, after
        while later != NONE and entries[later].row != row:
            later = entries[later].next
        lines[line].hit = later
    if before == NONE:
        lines[line].head = after
    else:
        entries[before].next = after
    if after == NONE:
        lines[line].tail = before
    else:
        entries[after].previous = before
    queues[queue].requests -= 1
    if lines[line].head == NONE:
        last = queues[queue].banks - 1
        moved = dram.occupied[queue, last]
        dram.occupied[queue, lines[line].slot] = moved
        lines[2 * moved + (line & 1)].slot = lines[line].slot
        queues[queue].banks = last


@kernel
def resort(dram: Dram, bank: int) -> None:
    """Find the oldest hit and miss of a bank anew: its row opened or closed."""
    lines, entries = dram.lines, dram.entries
    opened, row = dram.banks[bank].state == OPEN, dram.banks[bank].row
    for line in range(2 * bank, 2 * bank + 2):
        hit = miss = NONE
        entry = lines[line].head if opened else NONE
        while entry != NONE and (hit == NONE or miss == NONE):
            if entries[entry].row == row:
                if hit == NONE:
                    hit = entry
            elif miss == NONE:
                miss = entry
            entry = entries[entry].next
        lines[line].hit = hit
        lines[line].miss = miss


@kernel
def queued_write(dram: Dram, bank: int, row: int, column: int) -> bool:
    """True when a write to this place waits in the write queue."""
    entry = dram.lines[2 * bank + 1].head
    while entry != NONE:
        if dram.entries[entry].row == row and dram.entries[entry].column == column:
            return True
        entry = dram.entries[entry].next
    return False
