"""`run_sweep`: compute what is missing of a sweep's folder, on any executor, and write its table."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sparcade.errors import ConfigError, SweepError
from sparcade.sweep.definition import Sweep, load_sweep
from sparcade.sweep.effects import main_effects
from sparcade.sweep.executors import cpu_count, default_executor, kernels_are_compiled, start_server
from sparcade.sweep.objectives import best_points, objectives_of, pareto_fronts
from sparcade.sweep.points import Point, grouped, points_of
from sparcade.sweep.progress import Progress
from sparcade.sweep.replays import is_kept
from sparcade.sweep.store import Records, refused
from sparcade.sweep.table import compact, derived, read_sweep, write_definition
from sparcade.sweep.worker import Job, Measure, Outcome, measure_point, prepare, release, run_job

#: Jobs handed to an executor and not done: enough to keep a cluster busy, few enough to stop soon.
_IN_FLIGHT = 256
#: Wait before asking again for points that other processes compute [s].
_PATIENCE = 0.2
#: Times that a pool may lose workers without finishing a point.
_MOST_LOSSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """A sweep's folder after a run."""

    folder: Path
    table: Path  #: the table's file
    sweep: Sweep
    points: tuple[Point, ...]
    computed: int  #: points that this call computed
    frame: pd.DataFrame  #: as `read_sweep` gives it

    @property
    def failed(self) -> pd.DataFrame:
        """Points that failed, with their error."""
        return self.frame[self.frame["status"] == "failed"]

    def pareto(self, objectives: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Points that no other of their workload beats, by default in `objectives_of` the sweep."""
        return pareto_fronts(self.frame, objectives or objectives_of(self.sweep, self.frame))

    def best(self, objectives: Mapping[str, str] | None = None) -> pd.DataFrame:
        """The best points in each objective and the compromise, for each workload (`best_points`)."""
        return best_points(self.frame, objectives or objectives_of(self.sweep, self.frame))

    def effects(self, *metrics: str) -> pd.DataFrame:
        """How metrics, by default the objectives, move with each axis (`main_effects`)."""
        return main_effects(self.frame, metrics or list(objectives_of(self.sweep, self.frame)))


def run_sweep(
    source: str | Path | Mapping[str, Any] | Sweep,
    *,
    out: str | Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    shard: tuple[int, int] = (1, 1),
    retry: bool = False,
    chunk: int = 1,
    progress: Callable[[Progress], None] | None = None,
    measure: Measure = measure_point,
) -> SweepResult:
    """Compute the points of a sweep that its folder lacks.

    Any number of calls may work on one folder at the same time, on any machines that share it. A call killed at any
    moment loses at most the points it was computing; the next call computes what is missing.

    Parameters
    ----------
    source : a TOML file, or the same tables as a mapping (docs/sweeps.md).
    out : the folder; by default sweeps/NAME for NAME.toml.
    executor : any `concurrent.futures.Executor`; it is not shut down. Default: processes of this machine.
    workers : of the default executor; by default one for each processor.
    shard : (i, n): only every n-th point, from the i-th; 1 <= i <= n.
    retry : compute failed points again.
    chunk : points in one job; more than one saves messages on a cluster.
    progress : called when a point is finished.
    measure : computes a point's metrics; a picklable function.

    Raises
    ------
    ConfigError
        For a wrong definition.
    SweepError
        When results can't be written, contradict each other, or workers keep dying. What is done is kept.
    """
    sweep = source if isinstance(source, Sweep) else load_sweep(source)
    folder = _folder(source, out)
    index, count = _checked_shard(shard)
    workers = cpu_count() if workers is None else workers
    if executor is None and workers > 1 and measure is measure_point:
        start_server()
    points = points_of(sweep)
    mine = list({point.key: point for point in points}.values())[index - 1 :: count]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_definition(sweep, folder)
        collector = _Collector(sweep, folder, mine, retry=retry, chunk=chunk, progress=progress, measure=measure)
        if collector.missing():
            _compute(collector, executor, workers)
        table = compact(sweep, points, folder)
    except OSError as error:
        raise refused(folder, error) from error
    return SweepResult(
        folder=folder,
        table=table,
        sweep=sweep,
        points=tuple(points),
        computed=collector.fresh,
        frame=read_sweep(folder),
    )


def _folder(source: Any, out: str | Path | None) -> Path:
    if out is None and not isinstance(source, str | Path):
        raise ConfigError(
            "the sweep has no folder",
            where="out",
            expected="a folder for its results",
            got="nothing",
            remedy='out="sweeps/mine"',
        )
    return (Path(out) if out is not None else Path("sweeps") / Path(source).stem).resolve()


def _checked_shard(shard: tuple[int, int]) -> tuple[int, int]:
    index, count = shard
    if not 1 <= index <= count:
        raise ConfigError(
            "there is no such part of the sweep",
            where=f"shard {index}/{count}",
            expected="i/n with 1 <= i <= n",
            got=f"{index}/{count}",
            remedy=f"1/{max(count, 1)} to {max(count, 1)}/{max(count, 1)} together are the whole",
        )
    return index, count


def _compute(collector: _Collector, executor: Executor | None, workers: int) -> None:
    """Run what is missing; a default pool that lost a worker is replaced."""
    if workers < 1:
        raise ConfigError(
            "a sweep needs a worker", where="workers", expected="1 or more", got=str(workers), remedy="leave it out"
        )
    losses = 0
    try:
        while collector.missing():
            before = collector.fresh
            pool = executor or default_executor(workers)
            try:
                collector.collect(pool)
            except BrokenExecutor as error:
                losses = losses + 1 if collector.fresh == before else 1
                if executor is not None or losses == _MOST_LOSSES:
                    raise SweepError(
                        "worker processes keep dying",
                        where=str(collector.folder),
                        expected="workers that live as long as the sweep",
                        got=str(error) or type(error).__name__,
                        remedy="fewer workers need less memory; run the same command again: what is done is kept",
                    ) from error
            finally:
                if executor is None:
                    pool.shutdown(wait=True, cancel_futures=True)
    finally:
        release(collector.run)


class _Collector:
    """Hands points to an executor and keeps count."""

    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        points: list[Point],
        *,
        retry: bool,
        chunk: int,
        progress: Callable[[Progress], None] | None,
        measure: Measure,
    ) -> None:
        self.run = os.urandom(8).hex()
        self.folder = folder
        self.fresh = 0
        self._sweep, self._points, self._chunk, self._measure = sweep, list(grouped(points)), chunk, measure
        self._progress = progress
        self._records = Records(folder)
        self._records.refresh()
        entries = self._records.entries
        self._attempts = {
            point.key: entries[point.key].attempts if retry and point.key in entries else 0 for point in points
        }
        self._by_key = {point.key: point for point in points}
        self._objective, self._direction = next(iter(sweep.objectives.items()), ("cycles", "min"))
        self._best: float | None = None
        self._done = self._failed = 0
        self._before = 0  #: computed before `_begin`
        self._begin = time.monotonic()

    def missing(self) -> list[Point]:
        """Points without a result, and failed ones whose turn it is again."""
        self._records.refresh()
        entries = self._records.entries
        missing = [
            point
            for point in self._points
            if point.key not in entries or 0 < entries[point.key].attempts <= self._attempts[point.key]
        ]
        lacking = {point.key for point in missing}
        ended = [entries[point.key] for point in self._points if point.key not in lacking]
        self._failed = sum(entry.attempts > 0 for entry in ended)
        self._done = len(ended) - self._failed
        return missing

    def recall(self) -> None:
        """Find the best of the points that were done before."""
        entries = self._records.entries
        held = [point for point in self._points if point.key in entries and entries[point.key].attempts == 0]
        for point, record in zip(held, self._records.records([entries[p.key] for p in held]), strict=True):
            self._note_best(point, record["metrics"])

    def collect(self, executor: Executor) -> None:
        """Compute what is missing, once round; points that others compute remain.

        Raises
        ------
        BrokenExecutor
            When a worker died.
        """
        missing = self.missing()
        jobs = [self._job(missing[start : start + self._chunk]) for start in range(0, len(missing), self._chunk)]
        if self._measure is measure_point and not kernels_are_compiled():
            self._take(executor.submit(run_job, jobs[0]).result())  # the others find its kernels in the cache
            del jobs[0]
            self._begin, self._before = time.monotonic(), self.fresh
        replays = {
            replay.key: replay
            for point in missing
            for replay in (point.replay, point.baseline)
            if replay is not None and not is_kept(self.folder, replay)
        }
        if self._measure is measure_point and len(replays) > 1:
            for future in [executor.submit(prepare, self.folder, replay) for replay in replays.values()]:
                future.result()
        ended: queue.SimpleQueue[Future[list[Outcome]]] = queue.SimpleQueue()
        waiting, busy, finished = iter(jobs), 0, 0
        in_flight = 0
        try:
            while True:
                while in_flight < _IN_FLIGHT and (job := next(waiting, None)) is not None:
                    executor.submit(run_job, job).add_done_callback(ended.put)
                    in_flight += 1
                    if not ended.empty():
                        break
                if not in_flight:
                    break
                outcomes = ended.get().result()
                in_flight -= 1
                self._take(outcomes)
                busy += sum(outcome.status == "busy" for outcome in outcomes)
                finished += sum(outcome.status != "busy" for outcome in outcomes)
        finally:
            self._records.refresh()
        if busy and not finished:
            time.sleep(_PATIENCE)

    def _job(self, points: list[Point]) -> Job:
        attempts = tuple(self._attempts[point.key] for point in points)
        return Job(run=self.run, folder=self.folder, points=tuple(points), attempts=attempts, measure=self._measure)

    def _take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self.fresh += outcome.status in ("done", "failed")
            self._done += outcome.status in ("done", "found")
            self._failed += outcome.status == "failed"
            if outcome.status == "done":
                self._note_best(self._by_key[outcome.key], outcome.metrics)
        if self._progress is not None:
            self._progress(
                Progress(
                    total=len(self._points),
                    done=self._done,
                    failed=self._failed,
                    fresh=self.fresh - self._before,
                    seconds=time.monotonic() - self._begin,
                    best="" if self._best is None else f"{self._objective} {self._best:.6g}",
                )
            )

    def _note_best(self, point: Point, metrics: dict[str, Any]) -> None:
        values = {**point.values, **metrics}
        value = (values | derived(self._sweep, values)).get(self._objective)
        better = min if self._direction == "min" else max
        if value is not None:
            self._best = value if self._best is None else better(self._best, value)
