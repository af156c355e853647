"""Conservation laws of a run, checked in every run: a violation is a bug in Sparcade and stops it."""

from __future__ import annotations

import numpy as np

from sparcade.accelerator.plan import Plan
from sparcade.accelerator.result import KINDS, RunResult, bits_needed, bytes_moved
from sparcade.errors import InvariantError

#: What is checked, for the report.
INVARIANTS = (
    "no counter is negative",
    "busy + stalled <= elapsed cycles, in every module",
    "MACs executed = MACs in the workload",
    "every query with a flat row, and no other, was recomputed once",
    "bits of Q, K, V and outputs = vectors in the workload x D x width",
    "bytes moved >= bits needed / 8",
    "achieved bandwidth <= peak bandwidth",
    "a pruned token or head never returns within a step",
    "every read that was sent came back",
)


def check(run: RunResult, plan: Plan, reads_returned: int) -> None:
    """Raise `InvariantError` naming the first law that fails."""
    total = run.total()
    work, dim = run.workload, run.workload.shape.head_dim
    queries = work.queries
    passes = queries["visible"].astype(np.int64) * (1 + queries["refetch"])
    rows = plan.rows
    lsb_blocks = np.unique(rows.block[plan.jobs.row[plan.jobs.refetch]])
    block_keys = rows.keys[rows.first_of_block] * rows.lsb_bits[rows.first_of_block]
    bits = {
        "bits_q": int((rows.queries_fetched * rows.query_bits).sum()) * dim,
        "bits_k_msb": int((rows.keys * rows.msb_bits)[rows.first_of_block].sum()) * dim,
        "bits_k_lsb": int(block_keys[lsb_blocks].sum()) * dim,
        "bits_v": int((rows.new * rows.value_bits).sum()) * dim,
        "bits_out": len(queries) * 12 * dim * run.arch.write_outputs,
    }
    reads = sum(total[f"tx_{kind}"] for kind in KINDS if kind != "out")
    moved = bytes_moved(total, run.arch)
    peak = run.arch.dram.channels * run.arch.dram.transaction_bytes
    holds = (
        bool((run.counts >= 0).all()),
        all(idle >= 0 for idle in run.idle().values()),
        total["macs_qk"] == int(passes.sum()) * dim
        and total["macs_pv"] == int(queries["values"].sum(dtype=np.int64)) * dim,
        total["refetches"] == int(queries["refetch"].sum()),
        all(total[name] == value for name, value in bits.items()),
        run.arch.layout == "packed" or moved * 8 >= bits_needed(total),
        moved <= peak * run.cycles,
        _cascades(run),
        reads == reads_returned,
    )
    for law, holds_here in zip(INVARIANTS, holds, strict=True):
        if not holds_here:
            raise InvariantError(f"invariant violated: {law} ({work.shape.name} on {run.arch.name})")


def _cascades(run: RunResult) -> bool:
    """Keys of each layer are a subset of the layer before in the same step, and so are the heads."""
    work = run.workload
    rows = work.rows
    keys = ("sequence", "step", "layer")
    starts = np.flatnonzero(np.append(True, np.any([rows[name][1:] != rows[name][:-1] for name in keys], axis=0)))
    ends = np.append(starts[1:], len(rows))
    alive = np.zeros(work.shape.max_context, np.bool_)
    heads = np.zeros(work.shape.heads, np.bool_)
    for start, end in zip(starts, ends, strict=True):
        first = rows[start]
        ids = work.key_ids[first["key_start"] :][: first["keys"]]
        present = rows["head"][start:end]
        fresh = (
            start == 0 or rows["step"][start - 1] != first["step"] or rows["sequence"][start - 1] != first["sequence"]
        )
        if not fresh and not (alive[ids].all() and heads[present].all()):
            return False
        alive[:] = heads[:] = False
        alive[ids] = heads[present] = True
    return True
