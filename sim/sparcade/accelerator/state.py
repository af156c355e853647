"""Registers and queues of the pipeline during a run; jobs and rows move in order, so most queues are two counters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade._records import Record, Table, zeros
from sparcade.accelerator.counters import Count
from sparcade.accelerator.plan import Plan
from sparcade.dram.port import Memory

Ints = npt.NDArray[np.int64]

#: A time that never comes.
NEVER = 1 << 62
NO_JOB = -1

#: Tensor planes of DRAM requests; a row request is its Q plane followed by its K plane.
PLANE_Q, PLANE_K, PLANE_LSB, PLANE_V, PLANE_OUT = range(5)
#: "No request is open".
NO_PLANE = -1

_REGISTERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "next_row",  # fetcher: rows started so far
            "next_value_row",  # fetcher: rows whose V request was opened or skipped
            "value_rows",  # rows whose first job left local V top-k
            "next_output",  # fetcher: outputs written so far
            "lsb_head",
            "lsb_tail",
            "last_source",
            "plane",  # open request: plane, row, vector, transaction within it, last transaction issued
            "open_row",
            "open_job",
            "vector",
            "piece",
            "last_transaction",
            "issued",  # data FIFO ring: reads issued and returned
            "returned",
            "returned_plane",  # last return: plane, row, vectors of the plane complete with it
            "returned_row",
            "returned_complete",
            "key_lines",  # free buffer lines, live allocations
            "key_live",
            "value_lines",
            "value_live",
            "qk_job",  # Q x K: job, pass, beat, cycle of the beat; jobs started; rows through their first pass
            "qk_second",
            "qk_beat",
            "qk_cycle",
            "qk_started",
            "qk_rows",
            "window",  # started jobs of rows with an LSB plane that have not passed
            "redo_head",
            "redo_tail",
            "softmax_head",
            "softmax_tail",
            "softmax_beat",
            "softmax_draining",
            "softmax_credits",  # FIFO beats in use
            "passed",  # decision: jobs passed; when the release port is free
            "release",
            "topk_done",  # jobs that left local V top-k
            "topk_until",
            "topk_busy",
            "pv_job",  # prob x V: job, beat, cycle of the beat; jobs finished
            "pv_beat",
            "pv_cycle",
            "pv_done",
        )
    ]
)


#: Progress of a row; the planes of K count per block, in the block's first row.
ROW_STATE = np.dtype(
    [
        ("gate", "i8"),  # end of the selections behind the row; NEVER while unknown
        ("token_end", "i8"),  # end of the token selection behind the row
        ("q_usable", "i8"),  # vectors usable
        ("v_usable", "i8"),
    ]
)

#: Progress of a block, and one entry of the LSB queue.
BLOCK_STATE = np.dtype(
    [
        ("k_usable", "i8"),
        ("lsb_usable", "i8"),
        ("queued_row", "i8"),  # LSB queue: row that asked, and when the request may be seen
        ("queued_when", "i8"),
        ("lsb_asked", "?"),
    ]
)

#: Progress of a job, and one entry of the recompute queue.
JOB_STATE = np.dtype(
    [
        ("known", "i8"),  # when its final pass is decided
        ("retired", "i8"),
        ("redo_job", "i8"),
        ("redo_when", "i8"),
    ]
)

#: One entry of the softmax queue.
SOFTMAX_ENTRY = np.dtype([("job", "i8"), ("ready", "i8"), ("second", "?")])

#: One read between issue and return, or one return on its way into the SRAM.
RETURN_ENTRY = np.dtype([("plane", "i8"), ("row", "i8"), ("complete", "i8"), ("done", "?")])


class State(NamedTuple):
    """All mutable state of a run; few arrays, because every call passes all of them."""

    reg: Record  #: scalars, see `_REGISTERS`
    memory: Memory
    counts: Ints  #: [rows, counters]
    rows: Table  #: [rows] ROW_STATE
    blocks: Table  #: [blocks] BLOCK_STATE
    jobs: Table  #: [jobs] JOB_STATE
    softmax: Table  #: [2 jobs] SOFTMAX_ENTRY, in the order Q x K finished them
    ring: Table  #: [data FIFO] RETURN_ENTRY, reads in order of issue
    delay: Table  #: [fetch_latency] RETURN_ENTRY, what left the data FIFOs in the last cycles


def initial_state(plan: Plan, memory: Memory) -> State:
    """Empty pipeline, free buffers."""
    geometry, rows, jobs = plan.geometry, len(plan.rows), len(plan.jobs)
    registers = zeros(1, _REGISTERS)[0]
    registers.plane = registers.returned_plane = NO_PLANE
    registers.last_source = 2
    registers.key_lines, registers.value_lines = geometry.key_lines, geometry.value_lines
    registers.qk_job = registers.pv_job = NO_JOB
    state = State(
        reg=registers,
        memory=memory,
        counts=np.zeros((rows, len(Count)), np.int64),
        rows=zeros(rows, ROW_STATE),
        blocks=zeros(int(plan.rows.block[-1]) + 1, BLOCK_STATE),
        jobs=zeros(jobs, JOB_STATE),
        softmax=zeros(2 * jobs, SOFTMAX_ENTRY),
        ring=zeros(geometry.data_fifo, RETURN_ENTRY),
        delay=zeros(geometry.fetch_latency, RETURN_ENTRY),
    )
    state.rows.gate[plan.rows.token_selection | plan.rows.head_selection] = NEVER
    state.jobs.known[:] = NEVER
    state.jobs.retired[:] = NEVER
    state.delay.plane[:] = NO_PLANE
    return state
