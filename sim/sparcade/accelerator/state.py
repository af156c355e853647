"""Registers and queues of the pipeline during a run; jobs move in order, so most queues are two counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade._records import Record, Table, zeros
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.dram.port import Memory
from sparcade.topk.engine import empty_engine

Ints = npt.NDArray[np.int64]

#: A time that never comes, and one before all others.
NEVER = 1 << 62
LONG_AGO = -(1 << 40)
NO_JOB = -1
#: A slice of the event log that no counter counts.
NO_COUNT = -1

#: Tensor planes of DRAM requests.
PLANE_Q, PLANE_K, PLANE_LSB, PLANE_V, PLANE_OUT = range(5)
#: Sources of the fetcher: Q, K and LSB planes; V; outputs.
SOURCE_KEYS, SOURCE_VALUES, SOURCE_OUTPUTS = range(3)
NO_SOURCE = NO_PORT = -1
#: What a port's register holds.
EMPTY, READ, WRITE_OUT, PADDING = range(4)
#: Rows that realignment can list: more than it holds.
REALIGN_LIST = 64

_REGISTERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            # Issue
            "accepted",  # jobs accepted so far
            "accepted_at",  # when the last one was
            "issued",  # new jobs issued so far
            "selected",  # what waits for issue: 0 nothing, 1 the accepted job, 2 a recomputation
            "redo_head",
            "redo_tail",
            "phases",  # K phases under way
            "ended_head",  # K phases whose last line is read, and that still count
            "ended_tail",
            "window",  # jobs with an LSB plane issued and not decided
            "reorder_free",  # beats
            "key_lines",  # free buffer lines, live allocations
            "key_live",
            "value_lines",
            "value_live",
            "freed",  # jobs whose key lines are given back
            # Fetcher
            "requests_head",  # queue of Q, K and LSB requests
            "requests_tail",
            "next_output",
            "last_source",
            "lock",
            "row_plane",  # row of addresses in preparation: plane, job, next vector, end, piece, last transaction
            "row_job",
            "row_first",
            "row_vector",
            "row_end",
            "row_piece",
            "row_transaction",
            "row_open",
            "split_rows",  # rows after the split, waiting for the FIFOs; the oldest; 1 when that one is aside
            "split_head",
            "split_aside",
            "pushed",  # rows pushed into the address FIFOs, and the oldest that some port has not taken
            "oldest",
            "oldest_before",  # as the cycle before began
            "held",  # port registers in use
            "returns_head",  # rows sent and not left
            "returns_tail",
            "realign_head",
            "realign_tail",
            "realign_words",
            "realign_plane",  # what is being converted: plane, job, words taken of the request
            "realign_job",
            "realign_taken",
            "written_head",  # converted lines on their way into the buffer
            "written_tail",
            # Q x K: readers in order of issue
            "read_head",
            "read_tail",
            "read_beat",
            "read_cycle",
            "read_at",  # next try
            "read_last",  # last cycle a line was read
            "read_stall",
            "read_held",  # 1 while the missing line of the last try is stuck behind the decision
            "entered",  # beats that entered the decision
            "softmax_head",
            "softmax_tail",
            "softmax_beat",
            "softmax_draining",
            "softmax_credits",
            # Decision
            "decision_head",
            "decision_tail",
            "release",  # when the row that leaves has left; NEVER while it does
            "leaving",  # the row that leaves: job, pass, next beat
            "leaving_second",
            "leaving_beat",
            "pipe_head",  # beats between decision and reorder buffer, and when the last one left
            "pipe_tail",
            "pipe_left",
            # Local V; what is in the engine: `State.engine`, or for the released one these
            "order_job",  # next job, and beat, to leave the reorder buffer
            "order_beat",
            "ranked_tail",  # jobs that entered the engine
            "ranked_head",  # and left it
            "ranked_beat",
            "ranked_started",  # selections started
            "cascade_free",  # end of the selections that the cascade engine was given so far
            "ranked_out",  # jobs whose last probability is out
            "fifo_beats",
            # V
            "pending_beat",  # a beat on its way into the group of value ids that makes a row of addresses
            "pending_job",
            "group_job",
            "group_vectors",  # ids of the job so far, and those taken in rows
            "group_taken",
            "values_head",  # V requests begun
            "values_tail",
            "values_next",  # next vector of the V request at the head
            "begun",  # jobs whose first probability arrived at the V fetch
            "beats_out",  # probabilities passed, and freed by prob x V
            "beats_done",
            "pv_reads",
            "pv_job",
            "pv_next",
            "pv_beat",
            "pv_cycle",
            "pv_at",
            "pv_last",
            "pv_done",
            "values_there",  # V fetches whose last line is readable, and since when
            "value_there_at",
            "reads_returned",
        )
    ]
)

#: Progress of a row.
ROW_STATE = np.dtype(
    [
        ("gate", "i8"),  # end of the selections behind the row; NEVER while unknown
        ("v_usable", "i8"),  # vectors readable
        ("v_known", "?"),  # the ids of a V request that does not follow the beats are known
    ]
)

#: Progress of a job; LSB planes count per group, K planes per block, each in the job of its number.
JOB_STATE = np.dtype(
    [
        ("accepted", "i8"),
        ("final", "i8"),  # when its first beat may leave the reorder buffer
        ("key_free", "i8"),
        ("retired", "i8"),
        ("first_beat", "i8"),  # first probability at the V fetch
        ("beats_out", "i8"),  # probabilities passed to prob x V
        ("q_usable", "i8"),
        ("k_usable", "i8"),
        ("lsb_usable", "i8"),
        ("lsb_asked", "?"),
        # For the event log: 0 where it never happened
        ("issued", "i8"),
        ("reissued", "i8"),
        ("q_sent", "i8"),  # first row of addresses in preparation, and last word converted, per plane
        ("q_there", "i8"),
        ("k_sent", "i8"),
        ("k_there", "i8"),
        ("lsb_sent", "i8"),
        ("lsb_there", "i8"),
        ("v_sent", "i8"),
        ("v_there", "i8"),
        ("qk_first", "i8"),  # first and last beat of the two passes
        ("qk_last", "i8"),
        ("qk_second_first", "i8"),
        ("qk_second_last", "i8"),
        ("decided", "i8"),  # first beat out of the decision, in the two passes
        ("redecided", "i8"),
        ("selected", "i8"),  # local V selection, and its first probability
        ("ranked", "i8"),
        ("pv_first", "i8"),
        ("pv_last", "i8"),
    ]
)

REDO = np.dtype([("job", "i8"), ("ready", "i8")])
#: A fetch request: the plane of a job, and when its first row of addresses is ready.
REQUEST = np.dtype([("plane", "i8"), ("job", "i8"), ("ready", "i8")])
#: A pass through Q x K, in order of issue; then one through softmax and the decision.
PASS = np.dtype([("job", "i8"), ("second", "?"), ("ready", "i8"), ("mark", "i8")])
#: A row of addresses in the address FIFOs, shared by the ports.
ADDRESS_ROW = np.dtype([("pushed", "i8"), ("taken", "i8"), ("words", "i8"), ("returns", "i8"), ("owner", "i8"),
                        ("plane", "i8")])  # fmt: skip
#: A row after the split.
SPLIT = np.dtype([("plane", "i8"), ("job", "i8"), ("words", "i8"), ("complete", "i8")])
ADDRESS = np.dtype([("place", "i8"), ("channel", "i8")])
PORT = np.dtype([("next", "i8"), ("holds", "i8"), ("slot", "i8"), ("in_flight", "i8"), ("taken_at", "i8"),
                 ("fill_head", "i8"), ("fill_tail", "i8")])  # fmt: skip
#: A row of words between the DRAM and realignment.
RETURN_ROW = np.dtype([("plane", "i8"), ("job", "i8"), ("words", "i8"), ("missing", "i8"), ("ready", "i8"),
                       ("complete", "i8"), ("last", "?")])  # fmt: skip
#: A channel: the port whose turn it is; completed reads, and how many of them are behind the response register;
#: reads sent in order.
CHANNEL = np.dtype([("candidate", "i8"), ("waiting", "i8"), ("done_head", "i8"), ("done_tail", "i8"),
                    ("sent_head", "i8"), ("sent_tail", "i8")])  # fmt: skip
WRITTEN = np.dtype([("plane", "i8"), ("job", "i8"), ("complete", "i8"), ("ready", "i8")])
#: A beat of a decided row before the reorder buffer.
DECIDED = np.dtype([("job", "i8"), ("index", "i8"), ("entered", "i8"), ("dropped", "?")])
RANKED = np.dtype([("job", "i8"), ("arrived", "i8"), ("beats", "i8"), ("out", "i8")])
#: A slice of the event log: cycles begin ... end - 1 of a track, and the counter that went up in each.
SLICE = np.dtype([("track", "i8"), ("count", "i8"), ("job", "i8"), ("part", "i8"), ("begin", "i8"), ("end", "i8")])
#: What a track of the event log may do in a cycle, for a job or NO_JOB: if one of its counters `first` to `last` went
#: up (0: none counts it). `end` is 0 for the cycle itself, else the slice is begin ... end - 1.
NOW = np.dtype([("first", "i8"), ("last", "i8"), ("job", "i8"), ("part", "i8"), ("begin", "i8"), ("end", "i8")])
#: Registers as the cycle before ended, and the slices written since they were taken away.
_PAST = np.dtype(
    [
        (name, np.int64)
        for name in (
            "pushed",
            "reads_returned",
            "written_tail",
            "read_head",
            "softmax_head",
            "pipe_tail",
            "ranked_head",
            "done",
            "left",
            "turn",
            "chosen",
            "number",
            "beats_out",
            "order_job",
            "order_beat",
            "slices",
        )
    ]
)


class State(NamedTuple):
    """All mutable state of a run."""

    reg: Record  #: scalars, see `_REGISTERS`
    memory: Memory
    counts: Ints  #: [rows, counters]
    rows: Table  #: [rows] ROW_STATE
    jobs: Table  #: [jobs] JOB_STATE
    redo: Table  #: [jobs] REDO
    requests: Table  #: [3 jobs] REQUEST
    readers: Table  #: [2 jobs] PASS: through Q x K
    softmax: Table  #: [2 jobs] PASS: waiting for softmax
    decisions: Table  #: [2 jobs] PASS: waiting for their decision
    pipe: Table  #: ring of DECIDED
    ended: Ints  #: [2 jobs] when K phases end
    engine: Record  #: registers of the top-k engine of local V
    ranked: Table  #: [jobs] RANKED: in the released engine
    values: Ints  #: [rows] V requests in order
    reads: Ints  #: ring of the last cycles in which prob x V read
    address_rows: Table  #: ring of ADDRESS_ROW
    addresses: Table  #: [ring, ports] ADDRESS
    splits: Table  #: [2] SPLIT: ring of rows after the split
    split_transactions: Ints  #: [2, ports] their transactions
    ports: Table  #: [ports] PORT
    fills: Ints  #: [ports, data FIFO + 1] ring of return rows that wait for a word of the port
    returns: Table  #: ring of RETURN_ROW
    channels: Table  #: [channels] CHANNEL
    done: Ints  #: [channels, ring] tags of completed reads
    sent: Ints  #: [channels, ring] tags of reads in the order they were sent
    realign: Table  #: [REALIGN_LIST] RETURN_ROW: rows held for realignment
    written: Table  #: ring of WRITTEN
    past: Record  #: for the event log, see `_PAST`
    seen: Ints  #: [rows, counters] counts as the cycle before ended; no rows without a log
    now: Table  #: [tracks] NOW
    under_way: Table  #: [tracks] SLICE: the last one of each
    slices: Table  #: SLICE: those that are over, until they are taken away; empty without a log


def initial_state(plan: Plan, memory: Memory, *, tracks: Sequence[tuple[int, int]] = (), slices: int = 0) -> State:
    """Empty pipeline, free buffers.

    Parameters
    ----------
    tracks : of the event log: first and last counter of each.
    slices : of the event log that fit; 0 for no log.
    """
    geometry, rows, jobs = plan.geometry, len(plan.rows), len(plan.jobs)
    ports, in_flight = int(geometry.fetch_ports), int(geometry.fetch_ports * geometry.data_fifo)
    registers = zeros(1, _REGISTERS)[0]
    registers.key_lines, registers.value_lines = geometry.key_lines, geometry.value_lines
    registers.reorder_free = geometry.reorder_beats
    registers.last_source, registers.lock = SOURCE_OUTPUTS, NO_SOURCE
    registers.pv_job = registers.leaving = registers.group_job = registers.realign_job = NO_JOB
    for name in ("accepted_at", "read_last", "read_at", "pv_last", "value_there_at", "pipe_left"):
        registers[name] = LONG_AGO
    address_rows = int(geometry.address_fifo) + 4
    # Packed, rows without a transaction of their own take a place between those with one.
    per_transaction = 8 * int(geometry.transaction_bytes) // (4 * int(geometry.head_dim)) + 2 if geometry.packed else 0
    returns = (int(geometry.address_fifo + geometry.data_fifo) + 8) * (1 + per_transaction // ports)
    state = State(
        reg=registers,
        memory=memory,
        counts=np.zeros((rows, len(Count)), np.int64),
        rows=zeros(rows, ROW_STATE),
        jobs=zeros(jobs, JOB_STATE),
        redo=zeros(jobs, REDO),
        requests=zeros(3 * jobs + 1, REQUEST),
        readers=zeros(2 * jobs + 1, PASS),
        softmax=zeros(2 * jobs + 1, PASS),
        decisions=zeros(2 * jobs + 1, PASS),
        pipe=zeros(int(geometry.decided_stages), DECIDED),
        ended=np.zeros(2 * jobs + 1, np.int64),
        engine=empty_engine(),
        ranked=zeros(jobs + 1, RANKED),
        values=np.zeros(rows + 1, np.int64),
        reads=np.zeros(int(geometry.probability_latency) + 2, np.int64),
        address_rows=zeros(address_rows, ADDRESS_ROW),
        addresses=zeros(address_rows * ports, ADDRESS).reshape(address_rows, ports),
        splits=zeros(2, SPLIT),
        split_transactions=np.zeros((2, ports), np.int64),
        ports=zeros(ports, PORT),
        fills=np.zeros((ports, int(geometry.data_fifo) + 1), np.int64),
        returns=zeros(returns, RETURN_ROW),
        channels=zeros(int(geometry.channels), CHANNEL),
        done=np.zeros((int(geometry.channels), in_flight + 1), np.int64),
        sent=np.zeros((int(geometry.channels), in_flight + 1), np.int64),
        realign=zeros(REALIGN_LIST, RETURN_ROW),
        written=zeros(int(geometry.convert_latency) + 2, WRITTEN),
        past=zeros(1, _PAST)[0],
        seen=np.zeros((rows if slices else 0, len(Count)), np.int64),
        now=zeros(len(tracks), NOW),
        under_way=zeros(len(tracks), SLICE),
        slices=zeros(slices, SLICE),
    )
    state.rows.gate[plan.rows.token_selection | plan.rows.head_selection] = NEVER
    for name in ("final", "key_free", "retired"):
        state.jobs[name] = NEVER
    state.ports.taken_at = LONG_AGO
    state.channels.candidate = NO_PORT
    state.now.first = [first for first, _ in tracks]
    state.now.last = [last for _, last in tracks]
    state.now.job = NO_JOB
    state.under_way.track = np.arange(len(tracks))
    return state
