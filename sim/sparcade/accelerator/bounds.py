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
from sparcade.accelerator.plan import Plan, make_plan
from sparcade.accelerator.result import KINDS, RunResult

#: Names of the bounds, in the order they are printed.
BOUNDS = ("dram", "qk", "topk", "pv")
_MOVED = frozenset(f"tx_{kind}" for kind in KINDS)


def bound_cycles(run: RunResult, plan: Plan | None = None) -> dict[str, int]:
    """Cycles each bound needs for the whole run, made from `plan`; those of the DRAM are rounded up per phase."""
    per_row, per_cycle = _work(run, plan or make_plan(run.workload, run.arch))
    phases = [run.phase("prefill"), run.phase("decode")]
    moved = run.counts[:, [column for column, counter in COUNTERS.items() if counter.name in _MOVED]].sum(axis=1)
    dram = sum(math.ceil(int(moved[phase].sum()) / per_cycle) for phase in phases)
    return {"dram": dram, **{name: int(per_row[name].sum().round()) for name in BOUNDS[1:]}}


def bounds_frame(run: RunResult, *by: str) -> pd.DataFrame:
    """Cycles each bound needs and cycles simulated, summed by columns as in `RunResult.frame`, with the largest bound.

    dram: transactions moved at peak bandwidth; qk: beats of keys, twice for a recomputed query; topk: occupancy of
    the local V engine; pv: beats of values.
    """
    per_row, per_cycle = _work(run, make_plan(run.workload, run.arch))
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


def _work(run: RunResult, plan: Plan) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """Cycles each row needs of Q x K, local V top-k and prob x V, and the transactions of a cycle at peak bandwidth."""
    jobs, arch = plan.jobs, run.arch
    dwell = int(plan.geometry.dwell)
    serial = jobs.beats if arch.topk.engine == "released-serial" else 0
    work = {
        "qk": jobs.beats * dwell * (1 + jobs.refetch),
        "topk": np.where(jobs.ranked, jobs.topk_cycles + serial, 0),
        "pv": jobs.value_beats * dwell,
    }
    per_row = {name: np.bincount(jobs.row, values, minlength=len(plan.rows)) for name, values in work.items()}
    return per_row, arch.peak_gbps / arch.clock_ghz / arch.dram.transaction_bytes
