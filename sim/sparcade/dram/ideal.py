"""The `ideal` memory: every channel takes one transaction per cycle and answers in order after a fixed latency.

Interface of a memory model, as the fetcher uses it: `can_send`, `send`, `tick` (one call per cycle and channel,
returning the tag of the completed transaction, `WRITE`, or `NOTHING`) and `pending`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel

Ints = npt.NDArray[np.int64]

#: Tags that are no read: a write, and "nothing completed".
WRITE = -1
NOTHING = -2


class IdealMemory(NamedTuple):
    """State of all channels: two ring buffers each, of queued and of in-flight transactions (tags)."""

    latency: int
    queue: Ints  #: [channels, queue capacity]
    queue_head: Ints  #: [channels]
    queued: Ints  #: [channels]
    flight: Ints  #: [channels, outstanding]
    flight_done: Ints  #: [channels, outstanding] completion time
    flight_head: Ints  #: [channels]
    flying: Ints  #: [channels]
    pending: Ints  #: [1] transactions sent and not completed, all channels


def ideal_memory(*, channels: int, queue: int, outstanding: int, latency: int) -> IdealMemory:
    """An empty memory; `queue` is the address FIFO capacity per channel [transactions]."""
    return IdealMemory(
        latency=latency,
        queue=np.zeros((channels, queue), np.int64),
        queue_head=np.zeros(channels, np.int64),
        queued=np.zeros(channels, np.int64),
        flight=np.zeros((channels, outstanding), np.int64),
        flight_done=np.zeros((channels, outstanding), np.int64),
        flight_head=np.zeros(channels, np.int64),
        flying=np.zeros(channels, np.int64),
        pending=np.zeros(1, np.int64),
    )


@kernel
def can_send(memory: IdealMemory, channel: int) -> bool:
    """True when the channel's address queue has room."""
    return memory.queued[channel] < memory.queue.shape[1]


@kernel
def send(memory: IdealMemory, channel: int, tag: int) -> None:
    """Queue a transaction; its tag comes back from `tick`."""
    memory.queue[channel, _wrap(memory.queue_head[channel] + memory.queued[channel], memory.queue.shape[1])] = tag
    memory.queued[channel] += 1
    memory.pending[0] += 1


@kernel
def tick(memory: IdealMemory, channel: int, t: int) -> int:
    """One cycle of one channel: complete the oldest due transaction (its tag, or `NOTHING`), accept a queued one."""
    tag = NOTHING
    outstanding = memory.flight.shape[1]
    head = memory.flight_head[channel]
    if memory.flying[channel] > 0 and memory.flight_done[channel, head] <= t:
        tag = memory.flight[channel, head]
        memory.flight_head[channel] = _wrap(head + 1, outstanding)
        memory.flying[channel] -= 1
        memory.pending[0] -= 1
    if memory.queued[channel] > 0 and memory.flying[channel] < outstanding:
        first = memory.queue_head[channel]
        slot = _wrap(memory.flight_head[channel] + memory.flying[channel], outstanding)
        memory.flight[channel, slot] = memory.queue[channel, first]
        memory.flight_done[channel, slot] = t + memory.latency
        memory.flying[channel] += 1
        memory.queue_head[channel] = _wrap(first + 1, memory.queue.shape[1])
        memory.queued[channel] -= 1
    return tag


@kernel
def _wrap(index: int, size: int) -> int:
    """`index % size` for an index below 2 * size: a division costs more than the rest of a cycle."""
    return index - size if index >= size else index
