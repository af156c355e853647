"""The QKV fetcher, one cycle at a time: steps 1, 2 (memory, return) and 8 (issue) of docs/pipeline.md."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import OUTPUT_BITS, Plan
from sparcade.accelerator.state import (
    NO_PLANE,
    PLANE_K,
    PLANE_LSB,
    PLANE_OUT,
    PLANE_Q,
    PLANE_V,
    State,
)
from sparcade.dram.port import WRITE, advance, can_send, is_empty, locate, send

_BUSY = int(Count.FETCH_BUSY)
_ADDRESS_FIFO = int(Count.FETCH_ADDRESS_FIFO)
_DATA_FIFO = int(Count.FETCH_DATA_FIFO)
_CASCADE = int(Count.FETCH_CASCADE)
_LAYER = int(Count.FETCH_LAYER)
_K_PHASES = int(Count.FETCH_K_PHASES)
_KEY_SRAM = int(Count.FETCH_KEY_SRAM)
_VALUE_SRAM = int(Count.FETCH_VALUE_SRAM)
_KEY_WRITES = int(Count.KEY_SRAM_WRITES)
_VALUE_WRITES = int(Count.VALUE_SRAM_WRITES)
_TX = int(Count.TX_Q)  # then K-MSB, K-LSB, V, out: in the order of the planes
_BITS = int(Count.BITS_Q)
_STARTED = 0


@kernel
def advance_memory(t: int, plan: Plan, state: State) -> None:
    """Step 1: one cycle of every channel."""
    if is_empty(state.memory):
        return
    done = state.memory.dram.done
    for channel in range(plan.geometry.channels):
        advance(state.memory, channel, t)
        for index in range(1, done[channel, 0] + 1):
            state.ring[done[channel, index]].done = True
        done[channel, 0] = 0


@kernel
def return_data(t: int, plan: Plan, state: State) -> None:
    """Step 2: data leave the FIFOs in order of issue and become usable `fetch_latency` cycles later."""
    geometry, reg = plan.geometry, state.reg
    slot = t % geometry.fetch_latency
    plane = state.delay[slot].plane
    row = state.delay[slot].row
    if plane == PLANE_Q:
        state.rows[row].q_usable = state.delay[slot].complete
    elif plane == PLANE_K:
        state.blocks[plan.rows[row].block].k_usable = state.delay[slot].complete
    elif plane == PLANE_LSB:
        state.blocks[plan.rows[row].block].lsb_usable = state.delay[slot].complete
    elif plane == PLANE_V:
        state.rows[row].v_usable = state.delay[slot].complete
    state.delay[slot].plane = NO_PLANE
    size = state.ring.shape[0]
    count = 0
    before = 0
    while count < geometry.fetch_ports and reg.returned < reg.issued:
        place = reg.returned % size
        if not state.ring[place].done:
            break
        if count == 0:
            plane = state.ring[place].plane
            row = state.ring[place].row
            before = _usable_soon(state, plane, row)
        elif (
            state.ring[place].plane != plane
            or state.ring[place].row != row
            or state.ring[place].complete - before > geometry.vectors_per_return
        ):
            break
        state.delay[slot].plane = plane
        state.delay[slot].row = row
        state.delay[slot].complete = state.ring[place].complete
        state.ring[place].done = False
        reg.returned += 1
        count += 1
    if count > 0:
        reg.returned_complete = state.delay[slot].complete
        reg.returned_plane = plane
        reg.returned_row = row


@kernel
def _usable_soon(state: State, plane: int, row: int) -> int:
    """Vectors of the plane that left the data FIFOs before this cycle."""
    if state.reg.returned_plane == plane and state.reg.returned_row == row:
        return state.reg.returned_complete
    return 0


@kernel
def issue(t: int, plan: Plan, state: State) -> None:
    """Step 8: open a request if none is open, and issue its transactions."""
    if state.reg.plane == NO_PLANE:
        _open_request(t, plan, state)
    if state.reg.plane != NO_PLANE:
        _issue_open(plan, state)


@kernel
def _open_request(t: int, plan: Plan, state: State) -> None:
    reg, rows = state.reg, plan.rows
    first_source = (reg.last_source + 1) % 3
    offset = 0
    row_stall = -1
    value_stall = False
    while offset < 3:
        source = (first_source + offset) % 3
        if source == 0:
            if reg.lsb_head < reg.lsb_tail and state.blocks[reg.lsb_head].queued_when <= t:
                row = state.blocks[reg.lsb_head].queued_row
                reg.lsb_head += 1
                _open(state, source, PLANE_LSB, row)
                state.counts[row, _KEY_WRITES] += rows[row].key_lines
                state.counts[row, _BITS + PLANE_LSB] += rows[row].keys * plan.geometry.head_dim * rows[row].lsb_bits
                return
            if reg.next_row < rows.shape[0]:
                row_stall = _row_stall(t, plan, state, reg.next_row)
                if row_stall == _STARTED:
                    row = reg.next_row
                    if _start_row(plan, state, row):
                        return
                    offset = 0
                    row_stall = -1
                    continue
        elif source == 1:
            while reg.next_value_row < reg.value_rows and rows[reg.next_value_row].new == 0:
                reg.next_value_row += 1
            if reg.next_value_row < reg.value_rows:
                row = reg.next_value_row
                lines = rows[row].value_lines
                value_stall = lines > reg.value_lines or reg.value_live >= plan.geometry.live_allocations
                if not value_stall:
                    reg.next_value_row += 1
                    reg.value_lines -= lines
                    reg.value_live += 1
                    _open(state, source, PLANE_V, row)
                    state.counts[row, _VALUE_WRITES] += lines
                    state.counts[row, _BITS + PLANE_V] += rows[row].new * plan.geometry.head_dim * rows[row].value_bits
                    return
        elif plan.geometry.write_outputs and reg.next_output < reg.pv_done and state.jobs[reg.next_output].retired <= t:
            row = plan.jobs[reg.next_output].row
            reg.open_job = reg.next_output
            reg.next_output += 1
            _open(state, source, PLANE_OUT, row)
            state.counts[row, _BITS + PLANE_OUT] += plan.geometry.head_dim * OUTPUT_BITS
            return
        offset += 1
    if row_stall > 0:
        state.counts[reg.next_row, row_stall] += 1
    elif value_stall:
        state.counts[reg.next_value_row, _VALUE_SRAM] += 1


@kernel
def _row_stall(t: int, plan: Plan, state: State, row: int) -> int:
    """The counter of the first start condition that fails, or `_STARTED`."""
    reg, rows = state.reg, plan.rows
    first_job = rows[row].job_start
    if not plan.geometry.layers_overlap and row > 0 and rows[row].new_layer and state.jobs[first_job - 1].retired > t:
        return _LAYER
    if row > 0 and state.rows[row - 1].gate > t:
        return _CASCADE
    if reg.next_row - reg.qk_rows >= plan.geometry.k_phases:
        return _K_PHASES
    if rows[row].first_of_block and (
        rows[row].key_lines > reg.key_lines or reg.key_live >= plan.geometry.live_allocations
    ):
        return _KEY_SRAM
    return _STARTED


@kernel
def _start_row(plan: Plan, state: State, row: int) -> bool:
    """Start the next row; True when it opened a request."""
    reg, rows = state.reg, plan.rows
    reg.next_row += 1
    if rows[row].first_of_block:
        lines = rows[row].key_lines
        reg.key_lines -= lines
        reg.key_live += 1
        state.counts[row, _KEY_WRITES] += lines
        state.counts[row, _BITS + PLANE_K] += rows[row].keys * plan.geometry.head_dim * rows[row].msb_bits
    state.counts[row, _BITS + PLANE_Q] += rows[row].queries_fetched * plan.geometry.head_dim * rows[row].query_bits
    if rows[row].queries_fetched > 0:
        _open(state, 0, PLANE_Q, row)
    elif rows[row].first_of_block:
        _open(state, 0, PLANE_K, row)
    return reg.plane != NO_PLANE


@kernel
def _open(state: State, source: int, plane: int, row: int) -> None:
    reg = state.reg
    reg.last_source = source
    reg.plane = plane
    reg.open_row = row
    reg.vector = 0
    reg.piece = 0
    reg.last_transaction = -1


@kernel
def _issue_open(plan: Plan, state: State) -> None:
    reg, rows, geometry = state.reg, plan.rows, plan.geometry
    row = reg.open_row
    stall = 0
    count = 0
    while count < geometry.fetch_ports and reg.plane != NO_PLANE:
        plane = reg.plane
        vectors, bits, base = _request(plan, plane, row)
        low, high = _span(plan, _vector_id(plan, plane, row, reg.vector, reg.open_job), bits)
        if low == reg.last_transaction:
            low += 1
        transaction = low + reg.piece
        place, channel = locate(state.memory, base + transaction * geometry.transaction_bytes)
        if not can_send(state.memory, channel):
            stall = _ADDRESS_FIFO
            break
        if plane != PLANE_OUT and reg.issued - reg.returned >= geometry.data_fifo:
            stall = _DATA_FIFO
            break
        if transaction == high:
            reg.vector += 1
            reg.piece = 0
            reg.last_transaction = transaction if geometry.packed else -1
            while geometry.packed and reg.vector < vectors:
                following = _vector_id(plan, plane, row, reg.vector, reg.open_job)
                if _span(plan, following, bits)[1] != transaction:
                    break
                reg.vector += 1
        else:
            reg.piece += 1
        if plane == PLANE_OUT:
            send(state.memory, channel, place, WRITE, row)
        else:
            slot = reg.issued % geometry.data_fifo
            state.ring[slot].plane = plane
            state.ring[slot].row = row
            state.ring[slot].complete = reg.vector
            send(state.memory, channel, place, slot, row)
            reg.issued += 1
        state.counts[row, _TX + plane] += 1
        count += 1
        if reg.vector == vectors:
            reg.vector = 0
            reg.last_transaction = -1
            reg.plane = PLANE_K if plane == PLANE_Q and rows[row].first_of_block else NO_PLANE
    state.counts[row, _BUSY if count > 0 else stall] += 1


@kernel
def _request(plan: Plan, plane: int, row: int) -> tuple[int, int, int]:
    """(vectors, bits of a word, base address) of a plane of a row."""
    rows = plan.rows
    if plane == PLANE_Q:
        return rows[row].queries_fetched, rows[row].query_bits, plan.geometry.q_base
    if plane == PLANE_K:
        return rows[row].keys, rows[row].msb_bits, rows[row].k_base
    if plane == PLANE_LSB:
        return rows[row].keys, rows[row].lsb_bits, rows[row].lsb_base
    if plane == PLANE_V:
        return rows[row].new, rows[row].value_bits, rows[row].v_base
    return 1, OUTPUT_BITS, plan.geometry.out_base


@kernel
def _vector_id(plan: Plan, plane: int, row: int, index: int, job: int) -> int:
    """Position in its region of the index-th vector of a request."""
    rows = plan.rows
    if plane == PLANE_Q:
        return plan.jobs[rows[row].job_start + index].vector
    if plane == PLANE_V:
        return int(plan.new_values[rows[row].new_start + index])
    if plane == PLANE_OUT:
        return plan.jobs[job].vector
    return int(plan.key_ids[rows[row].key_start + index])


@kernel
def _span(plan: Plan, vector: int, bits: int) -> tuple[int, int]:
    """First and last transaction of a vector, counted from the base of its region."""
    geometry = plan.geometry
    words = geometry.head_dim * bits
    if geometry.packed:
        first = vector * words // 8 // geometry.transaction_bytes
        return first, (((vector + 1) * words + 7) // 8 - 1) // geometry.transaction_bytes
    size = (words + 8 * geometry.transaction_bytes - 1) // (8 * geometry.transaction_bytes)
    return vector * size, vector * size + size - 1
