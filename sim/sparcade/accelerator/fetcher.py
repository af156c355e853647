"""Addresses: rows of requests are taken in turn, split and pushed into the FIFOs (docs/pipeline.md, step 12)."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import VALUES_BY_BEAT, Plan
from sparcade.accelerator.requests import base_of, span_of, vector_id, vectors_of
from sparcade.accelerator.state import (
    NO_SOURCE,
    PLANE_K,
    PLANE_LSB,
    PLANE_OUT,
    PLANE_Q,
    PLANE_V,
    READ,
    SOURCE_KEYS,
    SOURCE_VALUES,
    State,
)
from sparcade.dram.port import locate

_BUSY = int(Count.FETCH_BUSY)
_ADDRESS_FIFO = int(Count.FETCH_ADDRESS_FIFO)
_DATA_FIFO = int(Count.FETCH_DATA_FIFO)


@kernel
def generate(t: int, full: bool, plan: Plan, state: State) -> None:
    """Push addresses into the FIFOs, split the row in preparation, then take the next row of a request."""
    reg = state.reg
    _push_oldest(t, full, plan, state)
    if reg.row_open and reg.split_rows == reg.split_aside:
        _split(plan, state)
    if not reg.row_open:
        _take_row(t, plan, state)
    if reg.pending_beat and not _group_full(plan, state):
        _group_beat(plan, state)


@kernel
def _push_oldest(t: int, full: bool, plan: Plan, state: State) -> None:
    """The oldest split row goes into the FIFOs, or, when they are full, counts as aside and lets the next be split."""
    reg = state.reg
    if reg.split_rows == 0:
        return
    row = plan.jobs[state.splits[reg.split_head].job].row
    if full:
        state.counts[row, _full_cause(plan, state)] += 1
        reg.split_aside = plan.geometry.split_register
        return
    state.counts[row, _BUSY] += 1
    _push(t, plan, state)
    reg.split_head = 1 - reg.split_head
    reg.split_rows -= 1
    reg.split_aside = 0


@kernel
def _full_cause(plan: Plan, state: State) -> int:
    """Why the port whose FIFO is full does not move on."""
    for port in range(plan.geometry.fetch_ports):
        mine = state.ports[port]
        if mine.next == state.reg.oldest and mine.holds == READ and mine.in_flight >= plan.geometry.data_fifo:
            return _DATA_FIFO
    return _ADDRESS_FIFO


@kernel
def _push(t: int, plan: Plan, state: State) -> None:
    reg, geometry = state.reg, plan.geometry
    split = state.splits[reg.split_head]
    slot = reg.pushed % state.address_rows.shape[0]
    row = state.address_rows[slot]
    row.pushed = t
    row.taken = 0
    row.words = split.words
    row.owner = plan.jobs[split.job].row
    row.plane = split.plane
    base = base_of(plan, split.plane, split.job)
    for port in range(split.words):
        address = base + state.split_transactions[reg.split_head, port] * geometry.transaction_bytes
        place, channel = locate(state.memory, address)
        state.addresses[slot, port].place = place
        state.addresses[slot, port].channel = channel
    if split.plane != PLANE_OUT:
        row.returns = reg.returns_tail % state.returns.shape[0]
        back = state.returns[row.returns]
        back.plane = split.plane
        back.job = split.job
        back.words = split.words
        back.missing = split.words
        back.complete = split.complete
        back.last = split.complete == vectors_of(plan, split.plane, split.job)
        back.ready = t
        reg.returns_tail += 1
    reg.pushed += 1


@kernel
def _split(plan: Plan, state: State) -> None:
    """The next addresses of the row in preparation, at most one a port."""
    reg, geometry = state.reg, plan.geometry
    plane, job = reg.row_plane, reg.row_job
    slot, words = (reg.split_head + reg.split_rows) % 2, 0
    while words < geometry.fetch_ports and reg.row_vector < reg.row_end:
        low, high = span_of(plan, plane, job, vector_id(plan, plane, job, _rotated(plan, state, reg.row_vector)))
        if low == reg.row_transaction:
            low += 1
        if low > high:  # packed: wholly in the transaction before
            reg.row_vector += 1
            reg.row_piece = 0
            continue
        transaction = low + reg.row_piece
        state.split_transactions[slot, words] = transaction
        words += 1
        if transaction == high:
            reg.row_vector += 1
            reg.row_piece = 0
            reg.row_transaction = transaction if geometry.packed else -1
        else:
            reg.row_piece += 1
    while geometry.packed and reg.row_vector < reg.row_end and reg.row_piece == 0:
        if span_of(plan, plane, job, vector_id(plan, plane, job, reg.row_vector))[1] != reg.row_transaction:
            break
        reg.row_vector += 1
    if reg.row_vector == reg.row_end:
        reg.row_open = 0
    split = state.splits[slot]
    split.plane = plane
    split.job = job
    split.words = words
    split.complete = reg.row_vector
    reg.split_rows += 1


@kernel
def _rotated(plan: Plan, state: State, vector: int) -> int:
    """Value addresses of a full row by beats of probabilities, rotated as the released hardware does."""
    reg, geometry = state.reg, plan.geometry
    shift = geometry.value_rotation * geometry.width
    if shift == 0 or reg.row_plane != PLANE_V or reg.row_end - reg.row_first < geometry.fetch_ports:
        return vector
    return reg.row_first + (vector - reg.row_first + shift) % geometry.fetch_ports


@kernel
def _take_row(t: int, plan: Plan, state: State) -> None:
    """Round robin over the sources, locked to one until its request is through."""
    reg = state.reg
    for offset in range(1, 4):
        source = (reg.last_source + offset) % 3 if reg.lock == NO_SOURCE else reg.lock
        if source == SOURCE_KEYS:
            taken = _take_keys(t, plan, state)
        elif source == SOURCE_VALUES:
            taken = _take_values(plan, state)
        else:
            taken = _take_output(t, plan, state)
        if taken:
            if reg.row_first == 0:
                _note_sent(t, state, reg.row_plane, reg.row_job)
            reg.last_source = source
            done = reg.row_end == vectors_of(plan, reg.row_plane, reg.row_job)
            reg.lock = NO_SOURCE if done else source
            reg.row_open = 1
            reg.row_piece = 0
            return
        if reg.lock != NO_SOURCE:
            return


@kernel
def _note_sent(t: int, state: State, plane: int, job: int) -> None:
    """For the event log: the first addresses of a request."""
    times = state.jobs[job]
    if plane == PLANE_Q:
        times.q_sent = t
    elif plane == PLANE_K:
        times.k_sent = t
    elif plane == PLANE_LSB:
        times.lsb_sent = t
    elif plane == PLANE_V:
        times.v_sent = t


@kernel
def _take_keys(t: int, plan: Plan, state: State) -> bool:
    reg = state.reg
    if reg.requests_head == reg.requests_tail or state.requests[reg.requests_head].ready > t:
        return False
    request = state.requests[reg.requests_head]
    vectors, first = vectors_of(plan, request.plane, request.job), _next_vector(state, request.plane, request.job)
    if request.plane == PLANE_K:
        reading = reg.read_head < reg.read_tail and state.readers[reg.read_head].job == request.job
        read = reg.read_beat * plan.geometry.width if reading else 0
        if first + plan.geometry.fetch_ports > read + plan.rows[plan.jobs[request.job].row].key_window:
            return False
    _begin(plan, state, request.plane, request.job, first, vectors)
    if reg.row_end == vectors:
        reg.requests_head += 1
    return True


@kernel
def _next_vector(state: State, plane: int, job: int) -> int:
    """First vector of the next row of the request at the head: behind the last row, if that was of it."""
    reg = state.reg
    return reg.row_end if reg.lock == SOURCE_KEYS and reg.row_plane == plane and reg.row_job == job else 0


@kernel
def _take_values(plan: Plan, state: State) -> bool:
    reg = state.reg
    if reg.values_head == reg.values_tail:
        return False
    row = state.values[reg.values_head]
    job = plan.rows[row].job_start
    if plan.rows[row].value_mode == VALUES_BY_BEAT:
        if reg.group_job != job or not _group_ready(plan, state):
            return False
        read = reg.pv_beat * plan.geometry.width if reg.pv_job == job else 0
        if reg.values_next + plan.geometry.fetch_ports > read + plan.rows[row].value_window:
            return False
        _begin(plan, state, PLANE_V, job, reg.values_next, reg.group_vectors)
        reg.group_taken = reg.row_end
    else:
        if not state.rows[row].v_known:
            return False
        _begin(plan, state, PLANE_V, job, reg.values_next, plan.rows[row].new)
    reg.values_next = reg.row_end
    if reg.row_end == plan.rows[row].new:
        reg.values_head += 1
        reg.values_next = 0
    return True


@kernel
def _take_output(t: int, plan: Plan, state: State) -> bool:
    reg = state.reg
    if not plan.geometry.write_outputs or reg.next_output == reg.pv_done or state.jobs[reg.next_output].retired > t:
        return False
    _begin(plan, state, PLANE_OUT, reg.next_output, 0, 1)
    reg.next_output += 1
    return True


@kernel
def _begin(plan: Plan, state: State, plane: int, job: int, first: int, end: int) -> None:
    """Start a row of addresses: vectors first, ... of a request, one a port at most."""
    reg = state.reg
    if first == 0:
        reg.row_transaction = -1
    reg.row_plane = plane
    reg.row_job = job
    reg.row_first = first
    reg.row_vector = first
    reg.row_end = min(end, first + plan.geometry.fetch_ports)


@kernel
def _group_ready(plan: Plan, state: State) -> bool:
    """True when the group of value ids makes a row of addresses: full, or the last of its request."""
    reg = state.reg
    waiting = reg.group_vectors - reg.group_taken
    if waiting >= plan.geometry.fetch_ports:
        return True
    return waiting > 0 and reg.group_vectors == plan.rows[plan.jobs[reg.group_job].row].new


@kernel
def _group_full(plan: Plan, state: State) -> bool:
    """True when no beat may join: the group makes a row, or two while the first row of its request is not taken."""
    reg = state.reg
    waiting = reg.group_vectors - reg.group_taken
    if reg.pending_job != reg.group_job:
        return waiting > 0
    return waiting >= (2 if reg.group_taken == 0 else 1) * plan.geometry.fetch_ports


@kernel
def _group_beat(plan: Plan, state: State) -> None:
    """A beat of probabilities joins the group whose value addresses make a row."""
    reg = state.reg
    reg.pending_beat = 0
    if reg.pending_job != reg.group_job:
        reg.group_job = reg.pending_job
        reg.group_vectors = 0
        reg.group_taken = 0
    reg.group_vectors = min(plan.rows[plan.jobs[reg.group_job].row].new, reg.group_vectors + plan.geometry.width)
