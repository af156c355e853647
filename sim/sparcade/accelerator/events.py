"""The event log of a run: when each query was in each module, and how full the queues were.

The kernel notes a few times per query in any case; queue levels are read between slices of cycles. A run without a log
pays nothing for it, and a run with one has the same cycles.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sparcade._files import new_file
from sparcade.accelerator.plan import Plan, make_plan
from sparcade.accelerator.simulate import run_plan
from sparcade.accelerator.state import State
from sparcade.arch import Arch
from sparcade.workload import Workload

#: Module, and the times of a query between which it was there (fields of JOB_STATE); both ends included.
SPANS = (
    ("issue", "accepted", "issued"),
    ("fetch Q", "q_sent", "q_there"),
    ("fetch K", "k_sent", "k_there"),
    ("fetch K LSB", "lsb_sent", "lsb_there"),
    ("fetch V", "v_sent", "v_there"),
    ("Q x K", "qk_first", "qk_last"),
    ("Q x K, recomputed", "qk_second_first", "qk_second_last"),
    ("softmax and decision", "qk_last", "decided"),
    ("softmax and decision, recomputed", "qk_second_last", "redecided"),
    ("local V top-k", "selected", "ranked"),
    ("prob x V", "pv_first", "pv_last"),
    ("output", "pv_last", "retired"),
)
#: Queue levels: name and unit.
LEVELS = {
    "address_fifo": "rows of addresses",
    "data_fifo": "rows of words on their way or waiting",
    "dram": "transactions",
    "realign": "transactions",
    "softmax": "beats",
    "decision": "rows of scores",
    "topk": "beats",
    "probabilities": "beats",
    "key_lines_free": "lines",
    "value_lines_free": "lines",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """`events`: module, sequence, step, layer, head, query, begin, end [cycle]; `levels`: one row per sampled cycle."""

    events: pd.DataFrame
    levels: pd.DataFrame
    cycles: int

    def save(self, path: Path) -> list[Path]:
        """Write `path` (NAME.csv.gz) and NAME-levels.csv.gz; equal runs give equal bytes."""
        paths = [path, path.with_name(path.name.removesuffix(".csv.gz") + "-levels.csv.gz")]
        for file, table in zip(paths, (self.events, self.levels), strict=True):
            with new_file(file) as fresh:
                fresh.write_bytes(gzip.compress(table.to_csv(index=False).encode(), mtime=0))
        return paths


def record_events(workload: Workload, arch: Arch, *, every: int = 64) -> EventLog:
    """Run a workload with its event log.

    Parameters
    ----------
    every : cycles between two samples of the queue levels.
    """
    plan = make_plan(workload, arch)
    samples: list[tuple[int, ...]] = []
    state = run_plan(plan, arch, slices=every, watch=lambda t, now: samples.append((t, *_levels(now))))
    levels = pd.DataFrame(samples, columns=["cycle", *LEVELS])
    cycles = int(state.jobs.retired[-1])
    return EventLog(events=_events(workload, plan, state), levels=levels, cycles=cycles)


def _levels(state: State) -> tuple[int, ...]:
    reg = state.reg
    return tuple(
        int(level)
        for level in (
            reg.pushed - reg.oldest,
            reg.returns_tail - reg.returns_head,
            state.memory.dram.system.outstanding,
            reg.realign_words,
            reg.softmax_credits,
            reg.decision_tail - reg.decision_head,
            reg.fifo_beats + state.engine.stored + state.engine.offered,
            reg.beats_out - reg.beats_done,
            reg.key_lines,
            reg.value_lines,
        )
    )


def _events(workload: Workload, plan: Plan, state: State) -> pd.DataFrame:
    place = workload.rows[plan.jobs.row]
    query = np.arange(len(plan.jobs)) - plan.rows.job_start[plan.jobs.row]
    frames = []
    for module, first, last in SPANS:
        begin, end = state.jobs[first], state.jobs[last]
        there = (end > 0) & (begin >= 0) & (end >= begin)
        columns = {name: place[name][there] for name in ("sequence", "step", "layer", "head")}
        frames.append(
            pd.DataFrame({"module": module, **columns, "query": query[there], "begin": begin[there], "end": end[there]})
        )
    table = pd.concat(frames, ignore_index=True)
    return table.sort_values(["begin", "end", "module"], kind="stable", ignore_index=True)
