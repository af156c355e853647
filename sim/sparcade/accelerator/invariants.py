"""Conservation laws of a run, checked in every run: a violation is a bug in Sparcade and stops it."""

from __future__ import annotations

from sparcade.accelerator.plan import Ints, Plan, vector_transactions, vectors_moved
from sparcade.accelerator.result import KINDS, RunResult, bytes_moved
from sparcade.errors import InvariantError
from sparcade.workload.cascade import find_return

#: What is checked, for the report.
INVARIANTS = (
    "no counter is negative",
    "busy + stalled <= elapsed cycles, in every module",
    "MACs executed = MACs in the workload",
    "every query with a flat row, and no other, was recomputed once",
    "bits of Q, K, V and outputs = vectors in the workload x D x width",
    "transactions of each tensor = vectors x transactions of a vector (packed: from bits needed to one more each)",
    "achieved bandwidth <= peak bandwidth",
    "a pruned token or head never returns within a step",
    "every read that was sent came back",
    "DRAM row hits + misses + conflicts + those a queued write served = transactions",
)


def check(run: RunResult, plan: Plan, reads_returned: int) -> None:
    """Raise `InvariantError` naming the first law that fails."""
    total, work, dim = run.total(), run.workload, run.workload.shape.head_dim
    jobs = plan.jobs
    passes = jobs.visible * (1 + jobs.refetch)
    fetched = vectors_moved(plan, run.arch)
    seconds = run.cycles / (run.arch.clock_ghz * 1e9)
    holds = (
        bool((run.counts >= 0).all()),
        all(idle >= 0 for idle in run.idle().values()),
        total["macs_qk"] == int(passes.sum()) * dim,
        total["macs_pv"] == int(jobs["values"].sum()) * dim,
        total["refetches"] == int(jobs.refetch.sum()),
        all(total[f"bits_{kind}"] == int((count * width).sum()) * dim for kind, (count, width) in fetched.items()),
        all(_whole_transactions(run, total, kind, *vectors) for kind, vectors in fetched.items()),
        bytes_moved(total, run.arch) <= run.arch.peak_gbps * 1e9 * seconds * (1 + 1e-9),
        find_return(work) is None,
        sum(total[f"tx_{kind}"] for kind in KINDS if kind != "out") == reads_returned,
        run.arch.dram.kind == "ideal" or _dram_requests(total) == sum(total[f"tx_{kind}"] for kind in KINDS),
    )
    laws = (*INVARIANTS[:3], *INVARIANTS[2:])  # Q x K and prob x V share the law of MACs
    for law, holds_here in zip(laws, holds, strict=True):
        if not holds_here:
            raise InvariantError(f"invariant violated: {law} ({work.shape.name} on {run.arch.name})")


def _dram_requests(total: dict[str, int]) -> int:
    kinds = ("row_hits", "row_misses", "row_conflicts", "forwarded", "coalesced")
    return sum(total[f"dram_{kind}"] for kind in kinds)


def _whole_transactions(run: RunResult, total: dict[str, int], kind: str, count: Ints, width: Ints) -> bool:
    size = run.arch.dram.transaction_bytes
    padded = int((count * vector_transactions(width, run.workload.shape.head_dim, size)).sum())
    moved = total[f"tx_{kind}"]
    if run.arch.layout == "padded":
        return moved == padded
    return total[f"bits_{kind}"] <= moved * size * 8 and moved <= padded + int(count.sum())
