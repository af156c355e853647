"""The QKV fetcher, one cycle at a time: addresses, crossbars, FIFOs, realignment (docs/pipeline.md, "Fetcher")."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import OUTPUT_BITS, VALUES_BY_BEAT, Plan
from sparcade.accelerator.state import (
    EMPTY,
    NO_PORT,
    NO_SOURCE,
    PADDING,
    PLANE_K,
    PLANE_LSB,
    PLANE_OUT,
    PLANE_Q,
    PLANE_V,
    READ,
    REALIGN_LIST,
    SOURCE_KEYS,
    SOURCE_VALUES,
    WRITE_OUT,
    State,
)
from sparcade.dram.port import WRITE, advance, can_send, is_empty, locate, send

_BUSY = int(Count.FETCH_BUSY)
_ADDRESS_FIFO = int(Count.FETCH_ADDRESS_FIFO)
_DATA_FIFO = int(Count.FETCH_DATA_FIFO)
_TX = int(Count.TX_Q)  # then K-MSB, K-LSB, V, out: in the order of the planes


@kernel
def make_readable(t: int, plan: Plan, state: State) -> None:
    """Converted vectors become readable in their buffer."""
    reg, size = state.reg, state.written.shape[0]
    while reg.written_head < reg.written_tail and state.written[reg.written_head % size].ready <= t:
        entry = state.written[reg.written_head % size]
        job = entry.job
        row = plan.jobs[job].row
        times = state.jobs[job]
        if entry.plane == PLANE_Q:
            times.q_usable = entry.complete
            times.q_there = t
        elif entry.plane == PLANE_K:
            state.jobs[plan.rows[row].block].k_usable = entry.complete
            times.k_there = t
        elif entry.plane == PLANE_LSB:
            state.jobs[plan.jobs[job].lsb_group].lsb_usable = entry.complete
            times.lsb_there = t
        else:
            if state.rows[row].v_usable < entry.complete == plan.rows[row].new:
                reg.values_there += 1
                reg.value_there_at = t
            state.rows[row].v_usable = entry.complete
            times.v_there = t
        reg.written_head += 1


@kernel
def convert(t: int, plan: Plan, state: State) -> int:
    """Take one group of vectors out of realignment and convert it; returns the words held before."""
    reg = state.reg
    before = reg.realign_words
    if reg.realign_head == reg.realign_tail:
        return before
    head = state.realign[reg.realign_head % REALIGN_LIST]
    if head.plane != reg.realign_plane or head.job != reg.realign_job:
        reg.realign_plane = head.plane
        reg.realign_job = head.job
        reg.realign_taken = 0
    vectors, transactions = _group(plan, head.plane, head.job)
    if vectors == 0:  # whole rows
        reg.realign_words -= head.words
        reg.realign_head += 1
        _write(t, plan, state, head.plane, head.job, head.complete)
        return before
    quota, words, ended, place = vectors * transactions, 0, False, reg.realign_head
    while place < reg.realign_tail and words < quota and not ended:
        entry = state.realign[place % REALIGN_LIST]
        words += entry.words
        ended = entry.last
        place += 1
    if words < quota and not ended:
        return before
    left = min(words, quota)
    reg.realign_words -= left
    reg.realign_taken += left
    complete = reg.realign_taken // transactions
    while left > 0:
        entry = state.realign[reg.realign_head % REALIGN_LIST]
        taken = min(left, entry.words)
        entry.words -= taken
        left -= taken
        if entry.words == 0:
            if entry.last:
                reg.realign_plane = -1
            reg.realign_head += 1
    _write(t, plan, state, head.plane, head.job, complete)
    return before


@kernel
def _write(t: int, plan: Plan, state: State, plane: int, job: int, complete: int) -> None:
    """`complete` vectors of a request are converted, and readable soon."""
    entry = state.written[state.reg.written_tail % state.written.shape[0]]
    entry.plane = plane
    entry.job = job
    entry.complete = complete
    entry.ready = t + plan.geometry.convert_latency
    state.reg.written_tail += 1


@kernel
def _group(plan: Plan, plane: int, job: int) -> tuple[int, int]:
    """(vectors converted at once, transactions of a vector); zeros: whole rows are converted."""
    geometry = plan.geometry
    row = plan.rows[plan.jobs[job].row]
    if geometry.packed:
        return 0, 0
    transactions = _transactions(plan, plane, job)
    heads = row.heads_fetched if plane in (PLANE_K, PLANE_V) else 1
    room = geometry.fetch_ports * max(1, geometry.realign_rows - 1)
    vectors = min(max(1, geometry.vectors_per_pop // heads), room // transactions)
    return vectors, transactions


@kernel
def leave(t: int, before: int, plan: Plan, state: State) -> None:
    """A row leaves the data FIFOs when every port has its word and realignment had room."""
    reg, geometry = state.reg, plan.geometry
    if reg.returns_head == reg.returns_tail:
        return
    size = state.returns.shape[0]
    row = state.returns[reg.returns_head % size]
    if row.missing > 0 or row.ready > t:
        return
    if before > (geometry.realign_rows - 1) * geometry.fetch_ports or reg.realign_tail - reg.realign_head >= (
        REALIGN_LIST - 1
    ):
        return
    for port in range(row.words):
        state.ports[port].in_flight -= 1
    entry = state.realign[reg.realign_tail % REALIGN_LIST]
    entry.plane = row.plane
    entry.job = row.job
    entry.words = row.words
    entry.complete = row.complete
    entry.last = row.last
    reg.realign_tail += 1
    reg.realign_words += row.words
    reg.returns_head += 1


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


@kernel
def generate(t: int, full: bool, plan: Plan, state: State) -> None:
    """Push addresses into the FIFOs, split the row in preparation, then take the next row of a request."""
    reg = state.reg
    _push_oldest(t, full, plan, state)
    if reg.row_open and reg.split_rows == reg.split_aside:
        _split(plan, state)
    if not reg.row_open:
        _take_row(t, plan, state)
    if reg.pending_beat and not _group_ready(plan, state):
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
    base = _base(plan, split.plane, split.job)
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
        back.last = split.complete == _vectors(plan, split.plane, split.job)
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
        low, high = _span(plan, plane, job, _vector_id(plan, plane, job, _rotated(plan, state, reg.row_vector)))
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
        if _span(plan, plane, job, _vector_id(plan, plane, job, reg.row_vector))[1] != reg.row_transaction:
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
            done = reg.row_end == _vectors(plan, reg.row_plane, reg.row_job)
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
    vectors, first = _vectors(plan, request.plane, request.job), _next_vector(state, request.plane, request.job)
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
def _group_beat(plan: Plan, state: State) -> None:
    """A beat of probabilities joins the group whose value addresses make a row."""
    reg = state.reg
    reg.pending_beat = 0
    if reg.pending_job != reg.group_job:
        reg.group_job = reg.pending_job
        reg.group_vectors = 0
        reg.group_taken = 0
    reg.group_vectors = min(plan.rows[plan.jobs[reg.group_job].row].new, reg.group_vectors + plan.geometry.width)


@kernel
def _vectors(plan: Plan, plane: int, job: int) -> int:
    """Vectors of a request."""
    row = plan.rows[plan.jobs[job].row]
    if plane in (PLANE_K, PLANE_LSB):
        return row.keys
    return row.new if plane == PLANE_V else 1


@kernel
def _bits(plan: Plan, plane: int, job: int) -> int:
    """Bits of a vector of a request, over the heads it carries, per word."""
    row = plan.rows[plan.jobs[job].row]
    if plane == PLANE_Q:
        return row.query_bits
    if plane == PLANE_K:
        return row.msb_bits * row.heads_fetched
    if plane == PLANE_LSB:
        return row.lsb_bits
    if plane == PLANE_V:
        return row.value_bits * row.heads_fetched
    return OUTPUT_BITS


@kernel
def _base(plan: Plan, plane: int, job: int) -> int:
    """Base address of the region of a request."""
    row = plan.rows[plan.jobs[job].row]
    if plane == PLANE_Q:
        return plan.geometry.q_base
    if plane == PLANE_K:
        return row.k_base
    if plane == PLANE_LSB:
        return row.lsb_base
    return row.v_base if plane == PLANE_V else plan.geometry.out_base


@kernel
def _vector_id(plan: Plan, plane: int, job: int, index: int) -> int:
    """Position in its region of the index-th vector of a request."""
    row = plan.rows[plan.jobs[job].row]
    if plane in (PLANE_Q, PLANE_OUT):
        return plan.jobs[job].vector
    if plane == PLANE_V:
        return int(plan.new_values[row.new_start + index])
    return int(plan.key_ids[row.key_start + index])


@kernel
def _transactions(plan: Plan, plane: int, job: int) -> int:
    """Transactions of one padded vector."""
    size = 8 * plan.geometry.transaction_bytes
    return (plan.geometry.head_dim * _bits(plan, plane, job) + size - 1) // size


@kernel
def _span(plan: Plan, plane: int, job: int, vector: int) -> tuple[int, int]:
    """First and last transaction of a vector, counted from the base of its region."""
    geometry = plan.geometry
    if geometry.packed:
        words = geometry.head_dim * _bits(plan, plane, job)
        first = vector * words // 8 // geometry.transaction_bytes
        return first, (((vector + 1) * words + 7) // 8 - 1) // geometry.transaction_bytes
    size = _transactions(plan, plane, job)
    return vector * size, vector * size + size - 1
