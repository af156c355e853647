"""State of all channels of a DRAM as flat arrays: what the controller kernels read and write.

Ids are global over the channels: bank b of channel c is c * banks + b; the two queues of a bank or channel are
2 * id (reads) and 2 * id + 1 (writes).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade._records import Record, Table, record, zeros
from sparcade.dram.commands import Command
from sparcade.dram.constraints import bus_table, constraint_table
from sparcade.dram.device import Device
from sparcade.dram.mapping import AddressMap

Ints = npt.NDArray[np.int64]

#: A time that never comes, and one before all others.
NEVER = 1 << 62
LONG_AGO = -(1 << 40)
#: "No entry", "no bank".
NONE = -1
#: States of a bank.
CLOSED, OPEN, ACTIVATING = range(3)
#: Tag of a transaction whose completion nobody waits for.
UNTAGGED = -1
#: Latencies of reads are counted up to this many ticks; longer ones share the last bin.
LATENCY_BINS = 1 << 20


class Count(IntEnum):
    """Columns of `counts` behind the commands: by the first command of a request, reads then writes."""

    READ_HITS = len(Command)
    READ_MISSES = READ_HITS + 1
    READ_CONFLICTS = READ_HITS + 2
    WRITE_HITS = READ_HITS + 3
    WRITE_MISSES = READ_HITS + 4
    WRITE_CONFLICTS = READ_HITS + 5
    FORWARDED = READ_HITS + 6  #: reads served from a queued write
    COALESCED = READ_HITS + 7  #: writes absorbed by a queued write


#: What the kernels read of the device and its controller.
SPEC = np.dtype(
    [
        (name, "i8")
        for name in (
            "channels",
            "banks",  # of a channel
            "upper_banks",  # of a pseudo-channel or rank
            "uppers",
            "two_buses",
            "half_ticks",  # HBM3: even ticks carry precharges only
            "split_activate",
            "one_completion",
            "lost_tick",
            "coalesces",
            "row_hit_first",
            "cap",  # 0: rows stay open
            "refresh",  # 0 none, 1 all-bank, 2 per-bank
            "refresh_interval",  # ticks between two REFab
            "read_queue",
            "write_queue",
            "write_high",
            "write_low",
            "read_latency",
            "act2_deadline",
            "clock_read",  # LPDDR5: data clock runs on after RD, WR
            "clock_write",
            "column_shift",
            "row_shift",
            "bank_shift",
            "pool",  # entries of a channel
            "slots",  # occupied banks a queue may have
            "jobs",  # priority queue of a channel
        )
    ]
)

CHANNEL = np.dtype(
    [
        (name, "i8")
        for name in (
            "writing",  # the queue being served: 0 reads, 1 writes
            "free",  # first free entry
            "sequence",  # entries queued so far
            "active",  # requests that got their ACT
            "pending_head",  # reads whose data are on the way
            "pending",
            "job_head",  # priority queue
            "job_count",
            "refreshes",  # requested so far
            "next_refresh",
            "outstanding",  # sent and not completed
            "wake",  # nothing happens before this tick
            "wake_active",
            "wake_column",
            "wake_row",
            "row_bus",  # free from this tick on
            "column_bus",
            "paired_edge",  # HBM3: even tick that the last rising-edge row command restricts
            "paired_upper",
            "paired_bank",  # NONE: all banks
            "act2_entry",  # LPDDR5: request between ACT1 and ACT2
            "act2_deadline",
            "cas_entry",  # request whose RD or WR follows the CAS of the last tick
            "cas_command",
            "cas_place",  # in the active buffer, or NONE: in a queue
            "clock_expiry",
        )
    ]
)

BANK = np.dtype(
    [
        (name, "i8")
        for name in (
            "upper",
            "state",
            "row",
            "active",  # requests in the active buffer
            "accesses",  # RD and WR since the row opened, for the closed policy
            "injected",  # a PRE of the closed policy is on its way
            "reads",  # for the heat map
            "writes",
            "activations",
        )
    ]
)

#: Requests of one queue to one bank: a list in order of arrival.
LINE = np.dtype(
    [
        (name, "i8")
        for name in (
            "head",
            "tail",
            "hit",  # oldest request to the open row
            "miss",  # oldest request to another row, while one is open
            "slot",  # where the bank stands in the queue's list of banks
        )
    ]
)

#: One queue of a channel.
QUEUE = np.dtype([("requests", "i8"), ("banks", "i8")])

ENTRY = np.dtype(
    [
        (name, "i8")
        for name in (
            "bank",
            "row",
            "column",
            "arrival",
            "sequence",
            "write",
            "owner",
            "tag",
            "classified",  # row statistics counted
            "next",
            "previous",
        )
    ]
)

PENDING = np.dtype([("depart", "i8"), ("arrival", "i8"), ("tag", "i8")])
#: Priority queue: a refresh of an upper node or bank, or a PRE of the closed policy.
JOB = np.dtype([("command", "i8"), ("bank", "i8")])
#: What all channels share.
SYSTEM = np.dtype(
    [
        (name, "i8")
        for name in (
            "owner",  # of the newest request: refreshes are charged to it
            "outstanding",  # sent and not completed, all channels
            "logged",  # commands in `log`
            "latency_sum",  # of completed reads
            "latency_max",
            "overflow",  # a priority queue overflowed: refreshes cannot issue
            "progress",  # tick of the last command or completion of a request
        )
    ]
)
LOG = np.dtype([("clock", "i8"), ("command", "i8"), ("bank", "i8"), ("row", "i8"), ("column", "i8"), ("type", "i8")])


class Dram(NamedTuple):
    """All channels; few arrays, because every call passes all of them."""

    spec: Record
    constraints: Table  #: CONSTRAINT, sorted by the earlier command
    starts: Ints  #: [commands + 1] where those of each command begin
    places: Ints  #: [bytes, 256] address map
    buses: Ints  #: [commands, 2] ticks a command keeps the row and the column bus
    ready: Ints  #: [commands, banks] earliest tick
    acts: Ints  #: [pseudo-channels or ranks, 4] last four ACT
    channels: Table
    banks: Table
    lines: Table  #: [banks * 2]
    queues: Table  #: [channels * 2]
    occupied: Ints  #: [channels * 2, slots] banks with requests
    entries: Table
    active: Ints  #: [channels, banks] entries in order of their ACT
    pending: Table  #: [channels * capacity] ring
    jobs: Table  #: [channels * jobs] ring
    done: Ints  #: [channels, capacity] tags of completed transactions; column 0 counts them
    counts: Ints  #: [owners, commands and `Count`]
    system: Record  #: SYSTEM
    latency: Ints  #: [bins] reads by latency; the last bin holds all longer ones
    log: Table  #: LOG; empty: commands are not logged


def new_dram(
    device: Device,
    mapping: AddressMap,
    channels: int,
    *,
    owners: int = 1,
    tags: int = 1,
    log: int = 0,
) -> Dram:
    """Empty channels at tick 0.

    Parameters
    ----------
    owners : rows of `counts`, for callers that charge commands to several owners.
    tags : completions of a channel kept until they are collected, plus 1; 1 where transactions are untagged.
    log : commands logged before the caller has to collect them.
    """
    organisation, controller, rules = device.organisation, device.controller, device.rules
    banks = organisation.channel_banks
    constraints, starts = constraint_table(device)
    pending = 64 + 2 * device.read_latency  # reads whose data are on the way, some forwarded ones too
    clock_tail = device.timing.n_bl + device.timing.n_wck_pst
    spec = record(
        SPEC,
        channels=channels,
        banks=banks,
        upper_banks=organisation.upper_banks,
        uppers=organisation.uppers,
        two_buses=rules.row_and_column_bus,
        half_ticks=rules.ticks_per_ck == 2,
        split_activate=rules.split_activate,
        one_completion=rules.one_completion_per_tick,
        lost_tick=rules.blocked_precharge_loses_tick,
        coalesces=rules.coalesces_writes,
        row_hit_first=controller.scheduler == "fr-fcfs-row-hit",
        cap=controller.cap if controller.row_policy == "closed" else 0,
        refresh=("none", "all-bank", "per-bank").index(controller.refresh),
        refresh_interval=device.timing.n_refi * rules.ticks_per_ck,
        read_queue=controller.read_queue,
        write_queue=controller.write_queue,
        write_high=controller.write_high,
        write_low=controller.write_low,
        read_latency=device.read_latency,
        act2_deadline=device.timing.n_aad,
        clock_read=device.timing.n_cl + clock_tail,
        clock_write=device.timing.n_cwl + clock_tail,
        column_shift=mapping.column_shift,
        row_shift=mapping.row_shift,
        bank_shift=mapping.bank_shift,
        pool=controller.read_queue + controller.write_queue + banks + 1,
        slots=min(banks, max(controller.read_queue, controller.write_queue)),
        jobs=4 * banks + 64,
    )
    state = Dram(
        spec=spec,
        constraints=constraints,
        starts=starts,
        places=mapping.table,
        buses=bus_table(device),
        ready=np.full((len(Command), channels * banks), LONG_AGO, np.int64),
        acts=np.full((channels * organisation.uppers, 4), LONG_AGO, np.int64),
        channels=zeros(channels, CHANNEL),
        banks=zeros(channels * banks, BANK),
        lines=zeros(channels * banks * 2, LINE),
        queues=zeros(channels * 2, QUEUE),
        occupied=np.zeros((channels * 2, spec.slots), np.int64),
        entries=zeros(channels * spec.pool, ENTRY),
        active=np.zeros((channels, banks), np.int64),
        pending=zeros(channels * pending, PENDING),
        jobs=zeros(channels * spec.jobs, JOB),
        done=np.zeros((channels, tags), np.int64),
        counts=np.zeros((owners, max(Count) + 1), np.int64),
        system=record(SYSTEM, owner=0),
        latency=np.zeros(LATENCY_BINS, np.int64),
        log=zeros(log, LOG),
    )
    state.banks.upper = np.arange(channels * banks) // spec.upper_banks
    for name in LINE.names or ():
        state.lines[name] = NONE
    state.entries.next = np.where(
        np.arange(len(state.entries)) % spec.pool == spec.pool - 1, NONE, np.arange(1, len(state.entries) + 1)
    )
    state.channels.free = np.arange(channels) * spec.pool
    state.channels.next_refresh = _first_refresh(device)
    state.channels.act2_entry = state.channels.cas_entry = NONE
    for name in ("wake_active", "wake_column", "wake_row"):
        state.channels[name] = NEVER
    state.channels.wake = 1  # with no read waiting, the first tick turns to the writes
    return state


def _first_refresh(device: Device) -> int:
    interval = device.timing.n_refi * device.rules.ticks_per_ck
    kind = device.controller.refresh
    return {"none": NEVER, "all-bank": interval, "per-bank": interval // device.organisation.channel_banks}[kind]


@kernel
def finish(dram: Dram, channel: int, tag: int) -> None:
    """Note the tag of a completed transaction for the caller."""
    if tag != UNTAGGED:
        dram.done[channel, 0] += 1
        dram.done[channel, dram.done[channel, 0]] = tag


@kernel
def complete(dram: Dram, channel: int, tag: int) -> None:
    """A transaction is outstanding no more."""
    dram.channels[channel].outstanding -= 1
    dram.system.outstanding -= 1
    finish(dram, channel, tag)
