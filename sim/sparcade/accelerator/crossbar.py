"""Address and data crossbars between the ports and the memory, a cycle each (docs/pipeline.md, steps 10 and 11)."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.accelerator.state import EMPTY, NO_PORT, PADDING, PLANE_OUT, READ, WRITE_OUT, State
from sparcade.dram.port import WRITE, advance, can_send, is_empty, send

_TX = int(Count.TX_Q)  # then K-MSB, K-LSB, V, out: in the order of the planes


@kernel
def take_words(t: int, plan: Plan, state: State) -> None:
    """Data crossbar: each channel offers its oldest completed word; a port takes one a cycle, lowest channel first."""
    size, returns = state.done.shape[1], state.returns.shape[0]
    for channel in range(plan.geometry.channels):
        queue = state.channels[channel]
        queue.waiting = max(0, queue.done_tail - queue.done_head - 1)
        if queue.done_head == queue.done_tail:
            continue
        tag = state.done[channel, queue.done_head % size]
        port = tag % plan.geometry.fetch_ports
        if state.ports[port].taken_at == t:
            continue
        state.ports[port].taken_at = t
        queue.done_head += 1
        slot = tag // plan.geometry.fetch_ports
        if plan.geometry.in_order_pairing:
            slot = state.fills[port, state.ports[port].fill_head % state.fills.shape[1]]
            state.ports[port].fill_head += 1
        row = state.returns[slot % returns]
        row.missing -= 1
        row.ready = t + plan.geometry.fifo_latency
        state.reg.reads_returned += 1


@kernel
def cross(t: int, plan: Plan, state: State) -> bool:
    """Address crossbar: one transaction a channel, of the lowest port or the oldest row; then ports take their next.

    The lowest port is chosen even while the channel is busy, and keeps its turn.

    Returns True when the address FIFOs had no room for a row, as the cycle before began.
    """
    reg, geometry = state.reg, plan.geometry
    full = reg.pushed - reg.oldest_before >= geometry.address_fifo
    reg.oldest_before = reg.oldest
    if reg.held == 0 and reg.oldest == reg.pushed:
        return full
    size, ports = state.address_rows.shape[0], geometry.fetch_ports
    for port in range(ports):
        mine = state.ports[port]
        if mine.holds == PADDING:
            mine.holds = EMPTY
            reg.held -= 1
        elif mine.holds == WRITE_OUT or (mine.holds == READ and mine.in_flight < geometry.data_fifo):
            queue = state.channels[state.addresses[mine.slot, port].channel]
            if queue.candidate == NO_PORT or (geometry.oldest_first and mine.next < state.ports[queue.candidate].next):
                queue.candidate = port
    for channel in range(geometry.channels):
        queue = state.channels[channel]
        if queue.candidate != NO_PORT:
            sent = can_send(state.memory, channel)
            if sent:
                _send(plan, state, queue.candidate)
            if sent or geometry.oldest_first:
                queue.candidate = NO_PORT
    for port in range(ports):
        mine = state.ports[port]
        if mine.holds != EMPTY or mine.next == reg.pushed:
            continue
        slot = mine.next % size
        row = state.address_rows[slot]
        if row.pushed + geometry.fifo_latency > t + 1:
            continue
        mine.slot = slot
        mine.next += 1
        row.taken += 1
        reg.held += 1
        if port >= row.words:
            mine.holds = PADDING
        elif row.plane == PLANE_OUT:
            mine.holds = WRITE_OUT
        else:
            mine.holds = READ
    while reg.oldest < reg.pushed and state.address_rows[reg.oldest % size].taken == ports:
        reg.oldest += 1
    return full


@kernel
def _send(plan: Plan, state: State, port: int) -> None:
    """The address in a port's register goes into the register of its channel."""
    mine = state.ports[port]
    row, address = state.address_rows[mine.slot], state.addresses[mine.slot, port]
    state.counts[row.owner, _TX + row.plane] += 1
    if mine.holds == WRITE_OUT:
        send(state.memory, address.channel, address.place, WRITE, row.owner)
    else:
        tag = row.returns * plan.geometry.fetch_ports + port
        mine.in_flight += 1
        send(state.memory, address.channel, address.place, tag, row.owner)
        if plan.geometry.in_order_pairing:
            queue = state.channels[address.channel]
            state.sent[address.channel, queue.sent_tail % state.sent.shape[1]] = tag
            queue.sent_tail += 1
            state.fills[port, mine.fill_tail % state.fills.shape[1]] = row.returns
            mine.fill_tail += 1
    mine.holds = EMPTY
    state.reg.held -= 1


@kernel
def advance_memory(t: int, plan: Plan, state: State) -> None:
    """One cycle of every channel; completed reads queue up for the data crossbar."""
    if is_empty(state.memory):
        return
    done, size = state.memory.dram.done, state.done.shape[1]
    for channel in range(plan.geometry.channels):
        queue = state.channels[channel]
        advance(state.memory, channel, t, queue.waiting)
        for index in range(1, done[channel, 0] + 1):
            tag = done[channel, index]
            if plan.geometry.in_order_pairing:
                tag = state.sent[channel, queue.sent_head % size]
                queue.sent_head += 1
            state.done[channel, queue.done_tail % size] = tag
            queue.done_tail += 1
        done[channel, 0] = 0
