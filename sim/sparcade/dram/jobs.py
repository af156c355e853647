"""The priority queue of a channel: refreshes, and precharges of the closed row policy. Served in order, head only."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.dram.commands import Command
from sparcade.dram.state import CLOSED, NONE, Dram

_PRE, _PREAB = int(Command.PRE), int(Command.PREAB)
_REFAB, _REFPB = int(Command.REFAB), int(Command.REFPB)
_ALL_BANK = 1


@kernel
def add_job(dram: Dram, channel: int, command: int, bank: int) -> None:
    """Queue a command for a bank, or for the upper node that begins with it."""
    state, size = dram.channels[channel], dram.spec.jobs
    if state.job_count == size:
        dram.system.overflow = 1
        return
    slot = dram.jobs[channel * size + (state.job_head + state.job_count) % size]
    slot.command = command
    slot.bank = bank
    state.job_count += 1


@kernel
def request_refresh(dram: Dram, channel: int) -> None:
    """Queue what is due now: one REFab per pseudo-channel or rank, or the REFpb of the next bank in turn.

    Per bank, the k-th REFpb is due at floor(k * nREFI / banks): every bank once in nREFI.
    """
    state, spec = dram.channels[channel], dram.spec
    first = channel * spec.banks
    if spec.refresh == _ALL_BANK:
        for upper in range(spec.uppers):
            add_job(dram, channel, _REFAB, first + upper * spec.upper_banks)
        state.next_refresh += spec.refresh_interval
    else:
        add_job(dram, channel, _REFPB, first + state.refreshes % spec.banks)
        state.refreshes += 1
        state.next_refresh = (state.refreshes + 1) * spec.refresh_interval // spec.banks


@kernel
def request_precharges(dram: Dram, channel: int, now: int) -> None:
    """Closed policy: queue a PRE for every bank that had its column accesses and may precharge."""
    first = channel * dram.spec.banks
    for bank in range(first, first + dram.spec.banks):
        fields = dram.banks[bank]
        ready = max(dram.ready[_PRE, bank], dram.channels[channel].row_bus)
        if fields.accesses >= dram.spec.cap and not fields.injected and ready <= now:
            fields.injected = 1
            add_job(dram, channel, _PRE, bank)


@kernel
def job_command(dram: Dram, channel: int) -> tuple[int, int]:
    """The next command of the head of the priority queue and when it is ready; NONE while it may not issue.

    A precharge waits while it would close a row in use, a refresh while a row is half activated.
    """
    job = dram.jobs[channel * dram.spec.jobs + dram.channels[channel].job_head]
    command, bank, upper_banks = job.command, job.bank, 1
    if command == _REFAB:
        upper_banks = dram.spec.upper_banks
    closed, used = True, False
    for member in range(bank, bank + upper_banks):
        closed = closed and dram.banks[member].state == CLOSED
        used = used or dram.banks[member].active > 0
    act2 = dram.channels[channel].act2_entry
    if act2 != NONE:
        used = used or bank <= dram.entries[act2].bank < bank + upper_banks
    if command == _REFAB and not closed:
        command = _PREAB
    elif command == _REFPB and not closed:
        command = _PRE
    ready = max(dram.ready[command, bank], dram.channels[channel].row_bus)
    closes = command in (_PREAB, _PRE)
    blocked = used if closes else dram.channels[channel].act2_entry != NONE
    return (NONE if blocked else command), ready
