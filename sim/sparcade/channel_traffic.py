"""DRAM transactions of each channel, from the ids of a workload and the address map of an arch.

Which channel a transaction goes to is no matter of timing: every request names its vectors, and the map does the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.accelerator.plan import OUTPUT_BITS, Plan, make_plan, vector_transactions
from sparcade.accelerator.result import KINDS, RunResult
from sparcade.arch import Arch
from sparcade.errors import InvariantError

Ints = npt.NDArray[np.int64]
#: Vectors whose addresses are made at once.
_CHUNK = 1 << 19
#: Counted in every run that says them.
CHANNEL_LAW = "transactions of the channels sum to those of each tensor"


def channel_traffic(run: RunResult) -> dict[str, list[int]]:
    """Transactions by kind (`KINDS`) of each channel, exact; their sums are the run's `tx_` counters.

    Raises
    ------
    InvariantError
        When a sum is another one.
    """
    plan, arch = make_plan(run.workload, run.arch), run.arch
    dim, total = run.workload.shape.head_dim, run.total()
    traffic = {}
    for kind in KINDS:
        counts = _kind(plan, arch, dim, kind)
        if int(counts.sum()) != total[f"tx_{kind}"]:
            raise InvariantError(f"invariant violated: {CHANNEL_LAW} ({kind} on {arch.name})")
        traffic[kind] = counts.tolist()
    return traffic


def _kind(plan: Plan, arch: Arch, dim: int, kind: str) -> Ints:
    """[channels] transactions of one kind."""
    rows, jobs = plan.rows, plan.jobs
    none = np.zeros(len(rows), np.int64)
    ids: npt.NDArray[Any]
    if kind in ("q", "out"):
        asked = arch.fetch_queries if kind == "q" else arch.write_outputs
        times, ids, start, count = none + int(asked), jobs.vector, rows.job_start, rows.jobs
        bits = rows.query_bits if kind == "q" else none + OUTPUT_BITS
        base = none + int(plan.geometry.q_base if kind == "q" else plan.geometry.out_base)
        return _count(arch, dim, times, ids, start, count, bits, base, alone=True)
    if kind == "v":
        times, ids, start, count = none + 1, plan.new_values, rows.new_start, rows.new
        return _count(arch, dim, times, ids, start, count, rows.value_bits * rows.heads_fetched, rows.v_base)
    ids, start, count = plan.key_ids, rows.key_start, rows["keys"]
    if kind == "k_msb":
        bits, times = rows.msb_bits * rows.heads_fetched, rows.first_of_block.astype(np.int64)
        return _count(arch, dim, times, ids, start, count, bits, rows.k_base)
    fetches = np.unique(jobs.lsb_group[jobs.refetch], return_index=True)[1]
    times = np.bincount(jobs.row[jobs.refetch][fetches], minlength=len(rows))
    return _count(arch, dim, times, ids, start, count, rows.lsb_bits, rows.lsb_base)


def _count(
    arch: Arch,
    dim: int,
    times: Ints,
    ids: npt.NDArray[Any],
    start: Ints,
    count: Ints,
    bits: Ints,
    base: Ints,
    *,
    alone: bool = False,
) -> Ints:
    """[channels] transactions of requests: row r asks `times` for the vectors ids[start : start + count].

    alone : every vector is a request of its own (they share no transaction in a packed layout).
    """
    found = np.zeros(arch.dram.channels, np.int64)
    asking = np.flatnonzero((times > 0) & (count > 0))
    begin = 0
    ends = np.cumsum(count[asking])
    while begin < len(asking):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        part = asking[begin:end]
        row = np.repeat(part, count[part])
        first = np.repeat(np.cumsum(count[part]) - count[part], count[part])
        vector = ids[start[row] + np.arange(len(row)) - first].astype(np.int64)
        owner, transaction = _transactions(arch, dim, row, vector, bits[row], alone=alone)
        channel = _channels(arch, base[owner] + transaction * arch.dram.transaction_bytes)
        found += np.bincount(channel, times[owner], minlength=len(found)).astype(np.int64)
        begin = end
    return found


def _transactions(arch: Arch, dim: int, row: Ints, vector: Ints, bits: Ints, *, alone: bool) -> tuple[Ints, Ints]:
    """Row and number, counted from the base of its region, of every transaction of the vectors."""
    size = arch.dram.transaction_bytes
    if arch.layout == "padded":
        length = vector_transactions(bits, dim, size)
        low = vector * length
    else:
        low = vector * dim * bits // 8 // size
        length = (((vector + 1) * dim * bits + 7) // 8 - 1) // size - low + 1
    first = np.cumsum(length) - length
    owner = np.repeat(row, length)
    transaction = np.repeat(low - first, length) + np.arange(len(owner))
    if arch.layout == "packed" and not alone:
        fresh = np.ones(len(owner), np.bool_)
        fresh[1:] = (owner[1:] != owner[:-1]) | (transaction[1:] != transaction[:-1])
        owner, transaction = owner[fresh], transaction[fresh]
    return owner, transaction


def _channels(arch: Arch, address: Ints) -> Ints:
    """The channel of each byte address."""
    if arch.dram.kind == "ideal":
        return address // arch.dram.transaction_bytes & (arch.dram.channels - 1)
    places = arch.dram.address_map()
    channel = places.table >> places.bank_shift
    found = np.zeros(len(address), np.int64)
    for byte, images in enumerate(channel):
        found ^= images[address >> 8 * byte & 255]
    return found
