"""Closed-form lower bounds of a run: what DRAM, Q x K, local V top-k and prob x V each need for the work alone.

A steady stream of queries takes at least the largest of them, whatever else is idle.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade.accelerator.counters import COUNTERS
from sparcade.accelerator.plan import Plan, make_plan, vector_transactions, vectors_moved
from sparcade.accelerator.result import KINDS, RunResult
from sparcade.arch import Arch

#: Names of the bounds, in the order they are printed.
BOUNDS = ("dram", "qk", "topk", "pv")
_MOVED = frozenset(f"tx_{kind}" for kind in KINDS)


def bound_cycles(run: RunResult, plan: Plan | None = None) -> dict[str, int]:
    """Cycles each bound needs for the whole run, made from `plan`; those of the DRAM are rounded up per phase."""
    per_row, per_cycle = _work(plan or make_plan(run.workload, run.arch), run.arch)
    phases = [run.phase("prefill"), run.phase("decode")]
    moved = run.counts[:, [column for column, counter in COUNTERS.items() if counter.name in _MOVED]].sum(axis=1)
    dram = sum(math.ceil(int(moved[phase].sum()) / per_cycle) for phase in phases)
    return {"dram": dram, **{name: int(per_row[name].sum().round()) for name in BOUNDS[1:]}}


def bounds_frame(run: RunResult, *by: str) -> pd.DataFrame:
    """Cycles each bound needs and cycles simulated, summed by columns as in `RunResult.frame`, with the largest bound.

    dram: transactions moved at peak bandwidth; qk: beats of keys, twice for a recomputed query; topk: occupancy of
    the local V engine; pv: beats of values.
    """
    per_row, per_cycle = _work(make_plan(run.workload, run.arch), run.arch)
    table = run.frame(*by)
    keys = [run.keys(name) for name in by]
    for name in BOUNDS[1:]:
        frame = pd.DataFrame({**dict(zip(by, keys, strict=True)), name: per_row[name]})
        table[f"bound_{name}"] = frame.groupby(list(by), sort=True, as_index=False).sum()[name].round().astype(np.int64)
    moved = sum(table[f"tx_{kind}"] for kind in KINDS)
    table["bound_dram"] = np.ceil(moved / per_cycle).astype(np.int64)
    largest = table[[f"bound_{name}" for name in BOUNDS]]
    table["bound"] = [str(name).removeprefix("bound_") for name in largest.idxmax(axis=1)]
    table["bound_share"] = largest.max(axis=1) / table["cycles"]
    columns = [*by, "cycles", *(f"bound_{name}" for name in BOUNDS), "bound", "bound_share"]
    return table[columns]


def least_counters(plan: Plan, arch: Arch, head_dim: int) -> dict[str, int]:
    """Total counters that a run of the plan can't stay below, before it is run; 0 where there is no closed form.

    Operations, bits and top-k elements are exact, and so are the transactions of a padded layout; cycles are the
    largest bound.
    """
    jobs, size = plan.jobs, arch.dram.transaction_bytes
    scores = int((jobs.visible * (1 + jobs.refetch)).sum())
    counters = dict.fromkeys((counter.name for counter in COUNTERS.values()), 0) | {
        "macs_qk": scores * head_dim,
        "macs_pv": int(jobs["values"].sum()) * head_dim,
        "softmax_elements": scores,
        "topk_elements": int(jobs.topk_elements.sum()),
        "refetches": int(jobs.refetch.sum()),
    }
    for kind, (count, width) in vectors_moved(plan, arch).items():
        bits = int((count * width).sum()) * head_dim
        padded = int((count * vector_transactions(width, head_dim, size)).sum())
        counters |= {f"bits_{kind}": bits, f"tx_{kind}": padded if arch.layout == "padded" else -(-bits // (8 * size))}
    per_row, per_cycle = _work(plan, arch)
    moved = sum(counters[name] for name in _MOVED)
    counters["cycles"] = max(math.ceil(moved / per_cycle), *(math.floor(work.sum()) for work in per_row.values()))
    return counters


def _work(plan: Plan, arch: Arch) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """Cycles each row needs of Q x K, local V top-k and prob x V, and the transactions of a cycle at peak bandwidth."""
    jobs = plan.jobs
    dwell = int(plan.geometry.dwell)
    serial = jobs.beats if arch.topk.engine == "released-serial" else 0
    work = {
        "qk": jobs.beats * dwell * (1 + jobs.refetch),
        "topk": np.where(jobs.ranked, jobs.topk_cycles + serial, 0),
        "pv": jobs.value_beats * dwell,
    }
    per_row = {name: np.bincount(jobs.row, values, minlength=len(plan.rows)) for name, values in work.items()}
    return per_row, arch.peak_gbps / arch.clock_ghz / arch.dram.transaction_bytes
