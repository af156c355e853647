"""The memory behind the fetcher: an address FIFO per channel, then DRAM controllers or the `ideal` memory.

`ideal`: every channel takes one transaction per cycle and answers in order after a fixed latency. The clocks of core
and DRAM cross on exact times: DRAM ticks up to and including a core edge run first.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from sparcade._jit import kernel
from sparcade._records import Record, Table, record, zeros
from sparcade.dram.controller import ACCEPTED, tick
from sparcade.dram.controller import send as send_to_controller
from sparcade.dram.device import Device
from sparcade.dram.mapping import AddressMap, place_of
from sparcade.dram.state import UNTAGGED, Dram, complete, new_dram

#: Tag of a write: nobody waits for it.
WRITE = UNTAGGED

PORT = np.dtype(
    [
        (name, "i8")
        for name in (
            "ideal",
            "latency",  # of the ideal memory [cycles]
            "outstanding",  # per channel
            "early_reuse",
            "transaction_bytes",
            "tick_numerator",  # DRAM ticks in a core cycle, as a fraction
            "tick_denominator",
            "queued",  # transactions in all address FIFOs
        )
    ]
)
FIFO = np.dtype([("head", "i8"), ("queued", "i8"), ("flight_head", "i8")])
#: A transaction in an address FIFO; `place` is an address in the ideal memory.
REQUEST = np.dtype([("place", "i8"), ("tag", "i8"), ("owner", "i8")])
FLIGHT = np.dtype([("tag", "i8"), ("done", "i8")])


class Memory(NamedTuple):
    """State of all channels. Both kinds count outstanding transactions, and note completed tags, in `dram`."""

    port: Record
    fifos: Table  #: [channels]
    requests: Table  #: [channels * capacity] rings
    flights: Table  #: [channels * outstanding] rings of the ideal memory
    dram: Dram


def new_memory(
    device: Device,
    mapping: AddressMap,
    *,
    channels: int,
    fifo: int,
    outstanding: int,
    early_reuse: bool,
    owners: int,
    ticks_per_cycle: Fraction,
    transaction_bytes: int,
    ideal_latency: int = 0,
) -> Memory:
    """An empty memory.

    Parameters
    ----------
    fifo : address FIFO per channel [transactions].
    early_reuse : a transaction may take the place of one that completes in the same cycle.
    owners : rows that commands are charged to.
    ideal_latency : cycles of the ideal memory; 0 for the controllers.
    """
    return Memory(
        port=record(
            PORT,
            ideal=ideal_latency > 0,
            latency=ideal_latency,
            outstanding=outstanding,
            early_reuse=early_reuse,
            transaction_bytes=transaction_bytes,
            tick_numerator=ticks_per_cycle.numerator,
            tick_denominator=ticks_per_cycle.denominator,
        ),
        fifos=zeros(channels, FIFO),
        requests=zeros(channels * fifo, REQUEST),
        flights=zeros(channels * outstanding, FLIGHT),
        dram=new_dram(device, mapping, channels, owners=owners, tags=outstanding + 1),
    )


@kernel
def locate(memory: Memory, address: int) -> tuple[int, int]:
    """(place, channel) of a byte address."""
    if memory.port.ideal:
        return address, address // memory.port.transaction_bytes & (memory.dram.spec.channels - 1)
    place = place_of(memory.dram.places, address)
    return place, place >> memory.dram.spec.bank_shift


@kernel
def can_send(memory: Memory, channel: int) -> bool:
    """True when the channel's address FIFO has room."""
    return memory.fifos[channel].queued * memory.dram.spec.channels < memory.requests.shape[0]


@kernel
def send(memory: Memory, channel: int, place: int, tag: int, owner: int) -> None:
    """Queue a transaction; the tag of a read is noted in `dram.done` when its data are there."""
    fifo, capacity = memory.fifos[channel], memory.requests.shape[0] // memory.dram.spec.channels
    request = memory.requests[channel * capacity + _wrap(fifo.head + fifo.queued, capacity)]
    request.place = place
    request.tag = tag
    request.owner = owner
    fifo.queued += 1
    memory.port.queued += 1


@kernel
def is_empty(memory: Memory) -> bool:
    """True when nothing is queued or under way."""
    return memory.port.queued == 0 and memory.dram.system.outstanding == 0


@kernel
def advance(memory: Memory, channel: int, t: int, waiting: int) -> None:
    """Core cycle t of one channel: completions, then at most one transaction leaves the address FIFO.

    It leaves if fewer than `outstanding` are on their way. Without `early_reuse` those count that were as the cycle
    began, and with them `waiting` completed reads that nobody has taken.
    """
    fifo, state = memory.fifos[channel], memory.dram.channels[channel]
    full = state.outstanding + waiting >= memory.port.outstanding
    if memory.port.ideal:
        _complete_ideal(memory, channel, t)
    else:
        catch_up(memory, channel, t)
    if memory.port.early_reuse:
        full = state.outstanding >= memory.port.outstanding
    if fifo.queued == 0 or full:
        return
    capacity = memory.requests.shape[0] // memory.dram.spec.channels
    request = memory.requests[channel * capacity + fifo.head]
    if memory.port.ideal:
        flight = memory.flights[
            channel * memory.port.outstanding + _wrap(fifo.flight_head + state.outstanding, memory.port.outstanding)
        ]
        flight.tag = request.tag
        flight.done = t + memory.port.latency
        state.outstanding += 1
        memory.dram.system.outstanding += 1
    else:
        write, now = int(request.tag == WRITE), _tick_of(memory, t)
        if send_to_controller(memory.dram, request.place, write, request.tag, request.owner, now) != ACCEPTED:
            return
    fifo.head = _wrap(fifo.head + 1, capacity)
    fifo.queued -= 1
    memory.port.queued -= 1


@kernel
def catch_up(memory: Memory, channel: int, t: int) -> None:
    """Run the DRAM ticks of a channel up to the edge of core cycle t; those in which nothing can happen are skipped."""
    state, now = memory.dram.channels[channel], _tick_of(memory, t)
    while state.wake <= now:
        tick(memory.dram, channel, state.wake)


@kernel
def _tick_of(memory: Memory, t: int) -> int:
    """The last DRAM tick up to the edge of core cycle t."""
    return t * memory.port.tick_numerator // memory.port.tick_denominator


@kernel
def _complete_ideal(memory: Memory, channel: int, t: int) -> None:
    fifo, state = memory.fifos[channel], memory.dram.channels[channel]
    flight = memory.flights[channel * memory.port.outstanding + fifo.flight_head]
    if state.outstanding > 0 and flight.done <= t:
        fifo.flight_head = _wrap(fifo.flight_head + 1, memory.port.outstanding)
        complete(memory.dram, channel, flight.tag)


@kernel
def _wrap(index: int, size: int) -> int:
    """`index % size` for an index below 2 * size: a division costs more than the rest of a cycle."""
    return index - size if index >= size else index
