"""The event log of a run: what each module did in which cycles, where each query was when, and how full queues were.

The kernel notes a few times per query in any case; what modules do is noted in runs with a log only, queue levels are
read between chunks of cycles. A run without a log pays nothing for it, and a run with one has the same cycles.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade._files import new_file
from sparcade._records import Table
from sparcade.accelerator.counters import COUNTERS, Count
from sparcade.accelerator.log import Track
from sparcade.accelerator.plan import Plan, make_plan
from sparcade.accelerator.result import RunResult
from sparcade.accelerator.simulate import checked_result, run_plan
from sparcade.accelerator.state import NEVER, NO_COUNT, SLICE, State
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
#: Queue levels: name and unit. Those of the top-k engine have the names of its RTL; the last two only grow.
LEVELS = {
    "address_fifo": "rows of addresses",
    "data_fifo": "rows of words on their way or waiting",
    "dram": "transactions",
    "realign": "transactions",
    "softmax": "beats",
    "decision": "rows of scores",
    "topk.delay": "beats",
    "topk.select.left": "scores of the pass to read",
    "topk.filter.left": "elements to filter",
    "probabilities": "beats",
    "key_lines_free": "lines",
    "value_lines_free": "lines",
    "reads": "transactions so far",
    "outputs": "outputs given to the fetcher so far",
}
_NAMES = {
    Track.FETCH: "fetch",
    Track.DRAM: "dram",
    Track.REALIGN: "realign",
    Track.QK: "qk",
    Track.SOFTMAX: "softmax",
    Track.DECISION: "decision",
    Track.TOPK: "topk",
    Track.TOPK_ELEMENTS: "topk.elements",
    Track.TOPK_SELECT: "topk.select",
    Track.TOPK_O: "topk.o",
    Track.ACCUMULATOR: "accumulator",
    Track.CASCADE_TOKENS: "cascade",
    Track.CASCADE_HEADS: "cascade",
    Track.PV: "pv",
}
#: Modules of the slices: named after their counters, the parts of the top-k engine as in its RTL.
MODULES = tuple(dict.fromkeys(_NAMES.values()))
_PLANES = ("Q", "K", "K LSB", "V", "output")
_PASSES = ("", "recomputed")
#: What the `part` of a slice means: a plane of a tensor, a pass of a query.
_PARTS: dict[Track, tuple[str, ...]] = {
    Track.FETCH: _PLANES,
    Track.DRAM: _PLANES,
    Track.REALIGN: _PLANES,
    Track.QK: _PASSES,
    Track.SOFTMAX: _PASSES,
    Track.DECISION: _PASSES,
    Track.CASCADE_TOKENS: ("tokens",),
    Track.CASCADE_HEADS: ("heads",),
}
_WITH_ADDRESSES = (Count.FETCH_BUSY, Count.FETCH_ADDRESS_FIFO, Count.FETCH_DATA_FIFO)
_PLACE = ("sequence", "step", "layer", "head")
#: Cycles of an excerpt, and between two looks at the log when no queue levels are asked for.
EXCERPT_CYCLES = 512
_CHUNK = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """What the modules did in a short window: `slices` as in `EventLog`, cut to the cycles begin ... end - 1."""

    begin: int
    end: int
    slices: pd.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """One run, in three tables.

    events : module, sequence, step, layer, head, query, begin, end [cycle]; both ends included.
    slices : module, state ("busy", or the cause of a stall), part (a plane of a tensor, a pass), sequence, step, layer,
        head, query, begin [cycle], cycles. Every cycle that a `*_busy` or stall counter counts is in one of them.
    levels : one row per sampled cycle.
    """

    run: RunResult
    events: pd.DataFrame
    slices: pd.DataFrame
    levels: pd.DataFrame
    cycles: int  #: until the last query retired

    def save(self, path: Path) -> list[Path]:
        """Write `path` (NAME.csv.gz), NAME-slices.csv.gz and NAME-levels.csv.gz; equal runs give equal bytes."""
        name = path.name.removesuffix(".csv.gz")
        paths = [path, *(path.with_name(f"{name}-{kind}.csv.gz") for kind in ("slices", "levels"))]
        for file, table in zip(paths, (self.events, self.slices, self.levels), strict=True):
            with new_file(file) as fresh:
                fresh.write_bytes(gzip.compress(table.to_csv(index=False).encode(), mtime=0))
        return paths

    def excerpt(self) -> Excerpt:
        """The window that `record_excerpt` records."""
        work = self.run.workload
        row = work.rows[_excerpt_row(work)]
        mine = (self.events["module"] == "issue") & (self.events["query"] == 0)
        for name in _PLACE:
            mine &= self.events[name] == row[name]
        begin = int(self.events["begin"][mine].iloc[0])
        return _cut(self.slices, begin, self.run.cycles)


def record_events(
    workload: Workload, arch: Arch, progress: Callable[[float], None] | None = None, *, every: int = 64
) -> EventLog:
    """`simulate` with the event log of the run.

    Parameters
    ----------
    every : cycles between two samples of the queue levels.
    """
    plan = make_plan(workload, arch)
    samples: list[tuple[int, ...]] = []
    slices: list[Table] = []

    def watch(t: int, state: State) -> None:
        samples.append((t, *_levels(state)))
        slices.append(_take_slices(state))

    state = run_plan(plan, arch, progress, slices=every, watch=watch, log=True)
    run = checked_result(state, plan, workload, arch)
    return EventLog(
        run=run,
        events=_events(workload, plan, state),
        slices=_slices(workload, plan, np.concatenate([*slices, state.under_way])),
        levels=pd.DataFrame(samples, columns=["cycle", *LEVELS]),
        cycles=int(state.jobs.retired[-1]),
    )


def record_excerpt(
    workload: Workload, arch: Arch, progress: Callable[[float], None] | None = None
) -> tuple[RunResult, Excerpt]:
    """`simulate` with an excerpt of the event log.

    It begins as the first query of the middle layer of the first decode step is accepted; without one, of the prefill.
    """
    plan = make_plan(workload, arch)
    first = int(plan.rows.job_start[_excerpt_row(workload)])
    kept: list[Table] = []

    def watch(t: int, state: State) -> None:
        found, begin, end = _take_slices(state), t, NEVER
        if state.reg.accepted > first:
            begin = int(state.jobs.accepted[first])
            end = begin + EXCERPT_CYCLES
        kept.append(found[(found["end"] > begin) & (found["begin"] < end)])

    state = run_plan(plan, arch, progress, slices=_CHUNK, watch=watch, log=True)
    run = checked_result(state, plan, workload, arch)
    slices = _slices(workload, plan, np.concatenate([*kept, state.under_way]))
    return run, _cut(slices, int(state.jobs.accepted[first]), run.cycles)


def _excerpt_row(workload: Workload) -> int:
    """The first row of the middle layer of the first decode step, or of the first step where none decodes."""
    rows = workload.rows
    decodes = np.flatnonzero(rows["step"] > 0)
    first = rows[decodes[0] if len(decodes) else 0]
    mine = np.flatnonzero((rows["sequence"] == first["sequence"]) & (rows["step"] == first["step"]))
    layers = np.unique(rows["layer"][mine])
    return int(mine[np.argmax(rows["layer"][mine] == layers[len(layers) // 2])])


def _cut(slices: pd.DataFrame, begin: int, cycles: int) -> Excerpt:
    """Slices within `EXCERPT_CYCLES` cycles, cut at both ends, or to the end of the run."""
    end = min(begin + EXCERPT_CYCLES, cycles)
    first, last = slices["begin"].clip(lower=begin), (slices["begin"] + slices["cycles"]).clip(upper=end)
    inside = last > first
    cut = slices.assign(begin=first, cycles=last - first)[inside]
    return Excerpt(begin=begin, end=end, slices=cut.reset_index(drop=True))


def _take_slices(state: State) -> Table:
    """The slices that are over, taken out of the state."""
    taken = state.slices[: int(state.past.slices)].copy()
    state.past.slices = 0
    return taken


def _levels(state: State) -> tuple[int, ...]:
    reg, engine = state.reg, state.engine
    return tuple(
        int(level)
        for level in (
            reg.pushed - reg.oldest,
            reg.returns_tail - reg.returns_head,
            state.memory.dram.system.outstanding,
            reg.realign_words,
            reg.softmax_credits,
            reg.decision_tail - reg.decision_head,
            reg.fifo_beats + engine.stored + engine.offered,
            engine.left,
            engine.rest,
            reg.beats_out - reg.beats_done,
            reg.key_lines,
            reg.value_lines,
            reg.reads_returned,
            reg.next_output,
        )
    )


def _place(workload: Workload, plan: Plan, jobs: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The columns that say which query a job is."""
    row = plan.jobs.row[jobs]
    columns: dict[str, Any] = {name: workload.rows[name][row] for name in _PLACE}
    return columns | {"query": jobs - plan.rows.job_start[row]}


def _slices(workload: Workload, plan: Plan, table: Table) -> pd.DataFrame:
    """The table of slices, in order of time and then of the modules."""
    table = table[table["end"] > table["begin"]].astype(SLICE)
    table = table[np.lexsort((table["track"], table["begin"]))]
    states = {int(column): _state_of(counter.name) for column, counter in COUNTERS.items()} | {NO_COUNT: "busy"}
    state = pd.Series(table["count"]).map(states).to_numpy(object)
    part = np.full(len(table), "", object)
    for track, names in _PARTS.items():
        mine = table["track"] == track
        part[mine] = np.array(names, object)[table["part"][mine]]
    passes = table["track"] == Track.TOPK_SELECT
    part[passes] = [f"pass {number}" for number in table["part"][passes]]
    # Kept back as a query: nothing of a tensor is there yet
    part[(table["track"] == Track.FETCH) & ~np.isin(table["count"], _WITH_ADDRESSES)] = ""
    return pd.DataFrame(
        {
            "module": pd.Categorical(np.array(list(_NAMES.values()), object)[table["track"]], MODULES),
            "state": pd.Categorical(state, sorted(set(states.values()))),
            "part": part,
            **_place(workload, plan, table["job"]),
            "begin": table["begin"],
            "cycles": table["end"] - table["begin"],
        }
    )


def _state_of(counter: str) -> str:
    """ "busy", or the cause of a stall, of a counter MODULE_STATE."""
    return counter.partition("_")[2]


def _events(workload: Workload, plan: Plan, state: State) -> pd.DataFrame:
    place = _place(workload, plan, np.arange(len(plan.jobs)))
    frames = []
    for module, first, last in SPANS:
        begin, end = state.jobs[first], state.jobs[last]
        there = (end > 0) & (begin >= 0) & (end >= begin)
        columns = {name: column[there] for name, column in place.items()}
        frames.append(pd.DataFrame({"module": module, **columns, "begin": begin[there], "end": end[there]}))
    table = pd.concat(frames, ignore_index=True)
    return table.sort_values(["begin", "end", "module"], kind="stable", ignore_index=True)
