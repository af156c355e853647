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
from sparcade.sweep.points import Point, grouped
from sparcade.sweep.progress import Progress
from sparcade.sweep.replays import is_kept
from sparcade.sweep.search import Round, rounds
from sparcade.sweep.store import Records, refused
from sparcade.sweep.table import compact, costs_of, read_sweep, write_definition
from sparcade.sweep.worker import Job, Measure, Outcome, least_of_point, measure_point, prepare, release, run_job

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
    skipped: int  #: points that can't be better than others in every objective, not computed
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
    least: Measure = least_of_point,
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
    least : bounds of these metrics before they are computed, for a sweep that skips dominated points.

    Raises
    ------
    ConfigError
        For a wrong definition.
    SweepError
        When results can't be written, contradict each other, or workers keep dying. What is done is kept.
    """
    sweep = source if isinstance(source, Sweep) else load_sweep(source)
    folder = folder_of(source, out)
    part = _checked_shard(shard, sweep)
    if chunk < 1:
        raise ConfigError(
            "a job needs a point", where="chunk", expected="1 or more", got=str(chunk), remedy="leave it out"
        )
    crew = _Crew(executor, cpu_count() if workers is None else workers)
    if crew.is_default_pool and measure is measure_point:
        start_server()
    collector = _Collector(
        sweep, folder, part=part, retry=retry, chunk=chunk, progress=progress, measure=measure, least=least
    )
    try:
        try:
            for chosen in rounds(sweep, collector.found):
                if not collector.points:  # the definition is right
                    folder.mkdir(parents=True, exist_ok=True)
                    write_definition(sweep, folder)
                collector.take(chosen)
                if collector.missing():
                    _compute(collector, crew)
        finally:
            crew.leave()
            release(collector.run)
        points = collector.ordered()
        table = compact(sweep, points, folder, skipped=len(collector.skipped))
    except OSError as error:
        raise refused(folder, error) from error
    return SweepResult(
        folder=folder,
        table=table,
        sweep=sweep,
        points=points,
        computed=collector.fresh,
        skipped=len(collector.skipped),
        frame=read_sweep(folder),
    )


def folder_of(source: Any, out: str | Path | None) -> Path:
    """Where the results go."""
    if out is None and not isinstance(source, str | Path):
        raise ConfigError(
            "the sweep has no folder",
            where="out",
            expected="a folder for its results",
            got="nothing",
            remedy='out="sweeps/mine"',
        )
    return (Path(out) if out is not None else Path("sweeps") / Path(source).stem).resolve()


def _checked_shard(shard: tuple[int, int], sweep: Sweep) -> tuple[int, int]:
    index, count = shard
    if not 1 <= index <= count:
        raise ConfigError(
            "there is no such part of the sweep",
            where=f"shard {index}/{count}",
            expected="i/n with 1 <= i <= n",
            got=f"{index}/{count}",
            remedy=f"1/{max(count, 1)} to {max(count, 1)}/{max(count, 1)} together are the whole",
        )
    if count > 1 and sweep.is_adaptive:
        raise ConfigError(
            "what this sweep computes next depends on all that was found",
            where=f"shard {index}/{count}",
            expected="the whole sweep in each command; several commands on one folder share the work",
            got='a part of a sweep with method = "optuna" or skip_dominated = true',
            remedy="leave --shard out",
        )
    return index, count


class _Crew:
    """The executor that was given, or the default one: made when it is needed, replaced when it lost a worker."""

    def __init__(self, executor: Executor | None, workers: int) -> None:
        if workers < 1:
            raise ConfigError(
                "a sweep needs a worker", where="workers", expected="1 or more", got=str(workers), remedy="leave it out"
            )
        self._given, self._workers = executor, workers
        self._own: Executor | None = None

    @property
    def is_default_pool(self) -> bool:
        """Whether its workers are processes of this machine."""
        return self._given is None and self._workers > 1

    @property
    def is_given(self) -> bool:
        """Whether the caller made it: it is neither replaced nor shut down."""
        return self._given is not None

    @property
    def executor(self) -> Executor:
        """Who computes."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = default_executor(self._workers)
        return self._own

    def leave(self) -> None:
        """Shut the default executor down."""
        if self._own is not None:
            self._own.shutdown(wait=True, cancel_futures=True)
            self._own = None


def _compute(collector: _Collector, crew: _Crew) -> None:
    """Compute what is missing of a round; a default pool that lost a worker is replaced."""
    losses = 0
    while collector.missing():
        before = collector.fresh
        try:
            collector.collect(crew.executor)
        except BrokenExecutor as error:
            losses = losses + 1 if collector.fresh == before else 1
            if crew.is_given or losses == _MOST_LOSSES:
                raise SweepError(
                    "worker processes keep dying",
                    where=str(collector.folder),
                    expected="workers that live as long as the sweep",
                    got=str(error) or type(error).__name__,
                    remedy="fewer workers need less memory; run the same command again: what is done is kept",
                ) from error
            crew.leave()


class _Collector:
    """Hands points to an executor and keeps count."""

    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        *,
        part: tuple[int, int],
        retry: bool,
        chunk: int,
        progress: Callable[[Progress], None] | None,
        measure: Measure,
        least: Measure,
    ) -> None:
        self.run = os.urandom(8).hex()
        self.folder = folder
        self.points: dict[str, Point] = {}  #: of all rounds so far, by key
        self._placed: list[tuple[int, Point]] = []  #: those of equal content too
        self.skipped: set[str] = set()
        self.fresh = 0
        self._scoring, self._part, self._retry, self._chunk = sweep.scoring, part, retry, chunk
        self._measure, self._least, self._progress = measure, least, progress
        self._total = 0
        self._records = Records(folder)
        self.found = costs_of(sweep, self._records)  #: costs of a point of an earlier round
        self._round = Round(points=())
        self._mine: list[Point] = []  #: points of the round that are ours
        self._attempts: dict[str, int] = {}  #: failures of a point that are computed again
        self._objective, self._direction = next(iter(sweep.objectives.items()), ("cycles", "min"))
        self._best: float | None = None
        self._done = self._failed = 0
        self._done_before = self._failed_before = 0  #: of the rounds before
        self._before = 0  #: computed before `_begin`
        self._begin = time.monotonic()

    def take(self, chosen: Round) -> None:
        """Begin a round."""
        index, count = self._part
        new = {point.key: point for point in chosen.points if point.key not in self.points}
        self.points |= new
        self._placed += zip(chosen.places, chosen.points, strict=True)
        self._round, self._mine = chosen, list(grouped(list(new.values())[index - 1 :: count]))
        self._total = len(self._mine) if count > 1 else chosen.most
        self._done_before, self._failed_before = self._done, self._failed
        self._records.refresh()
        entries = self._records.entries
        self._attempts = {
            point.key: entries[point.key].attempts for point in self._mine if self._retry and point.key in entries
        }
        if self._progress is not None:
            held = [point for point in self._mine if point.key in entries and entries[point.key].attempts == 0]
            for point, record in zip(held, self._records.records([entries[p.key] for p in held]), strict=True):
                self._note_best(point, record["metrics"])

    def ordered(self) -> tuple[Point, ...]:
        """All points in the order of the sweep."""
        return tuple(point for _, point in sorted(self._placed, key=lambda placed: placed[0]))

    def missing(self) -> list[Point]:
        """Points of the round without a result, and failed ones whose turn it is again."""
        self._records.refresh()
        entries = self._records.entries
        missing = [
            point
            for point in self._mine
            if point.key not in self.skipped
            and (point.key not in entries or 0 < entries[point.key].attempts <= self._attempts.get(point.key, 0))
        ]
        lacking = {point.key for point in missing} | self.skipped
        ended = [entries[point.key] for point in self._mine if point.key not in lacking]
        failed = sum(entry.attempts > 0 for entry in ended)
        self._failed = self._failed_before + failed
        self._done = self._done_before + len(ended) - failed
        return missing

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
        attempts = tuple(self._attempts.get(point.key, 0) for point in points)
        return Job(
            run=self.run,
            folder=self.folder,
            points=tuple(points),
            attempts=attempts,
            measure=self._measure,
            front=self._round.front,
            scoring=self._scoring if self._round.front else None,
            least=self._least,
        )

    def _take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self.fresh += outcome.status in ("done", "failed")
            self._done += outcome.status in ("done", "found")
            self._failed += outcome.status == "failed"
            if outcome.status == "skipped":
                self.skipped.add(outcome.key)
            if outcome.status == "done":
                self._note_best(self.points[outcome.key], outcome.metrics)
        if self._progress is not None:
            self._progress(
                Progress(
                    total=self._total,
                    done=self._done,
                    failed=self._failed,
                    skipped=len(self.skipped),
                    fresh=self.fresh - self._before,
                    seconds=time.monotonic() - self._begin,
                    best="" if self._best is None else f"{self._objective} {self._best:.6g}",
                )
            )

    def _note_best(self, point: Point, metrics: dict[str, Any]) -> None:
        value = self._scoring.values(point.values, metrics).get(self._objective)
        better = min if self._direction == "min" else max
        if value is not None:
            self._best = value if self._best is None else better(self._best, value)
