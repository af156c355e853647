"""What a worker process does: claim a point, compute it, append its line."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sparcade.arch import Arch
from sparcade.energy import EnergyProfile
from sparcade.errors import SparcadeError, SweepError
from sparcade.sweep.metrics import figures, least, measure
from sparcade.sweep.points import Point, Replay
from sparcade.sweep.replays import replayed
from sparcade.sweep.scoring import Costs, Scoring, beats
from sparcade.sweep.store import Claims, Records, Shard, done_line, failed_line, refused

#: Metrics of a point, given the sweep's folder.
Measure = Callable[[Path, Point], dict[str, Any]]
#: found: another process had finished it; busy: another process is computing it; skipped: the front beats its bound.
Status = Literal["done", "failed", "found", "busy", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Points for a worker to compute, in order."""

    run: str  #: a name of the call of `run_sweep`: its processes keep one shard each
    folder: Path
    points: tuple[Point, ...]
    attempts: tuple[int, ...]  #: failures of each point that are known and retried
    measure: Measure
    front: tuple[Costs, ...]  #: what the points' bounds must not be beaten by
    scoring: Scoring | None  #: of the front; None without one
    least: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a point."""

    key: str
    status: Status
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def measure_point(folder: Path, point: Point) -> dict[str, Any]:
    """The metrics of a point: timing and energy of its arch, on the replay that all archs share."""
    workload, accuracy = replayed(folder, point.replay)
    baseline = None if point.baseline is None else _baseline(folder, point.baseline, point.arch, point.profile)
    return measure(workload, accuracy, point.arch, baseline, point.profile)


@functools.lru_cache(maxsize=256)
def _baseline(folder: Path, replay: Replay, arch: Arch, profile: EnergyProfile) -> dict[str, Any]:
    """Figures of the compared policy, shared by the policies on one arch."""
    return figures(replayed(folder, replay)[0], arch, profile)


def least_of_point(folder: Path, point: Point) -> dict[str, Any]:
    """What the metrics of a point can't be better than, without a run (`metrics.least`)."""
    workload, accuracy = replayed(folder, point.replay)
    return least(workload, accuracy, point.arch, point.profile)


def prepare(folder: Path, replay: Replay) -> None:
    """Do a replay ahead of the points that need it; its error is theirs to report."""
    try:
        replayed(folder, replay)
    except OSError as error:
        raise refused(folder, error) from error
    except Exception as error:
        if isinstance(error, SweepError):
            raise


def run_job(job: Job) -> list[Outcome]:
    """Compute the points of a job that no one has finished or is computing.

    Raises
    ------
    SweepError
        When results can't be written, or contradict each other.
    """
    try:
        store = _store(job.run, job.folder)
        pairs = zip(job.points, job.attempts, strict=True)
        return [_run(store, job, point, attempts) for point, attempts in pairs]
    except OSError as error:
        raise refused(job.folder, error) from error


def watch_parent() -> None:
    """Initialise a worker process: it ends when its parent is killed, instead of waiting for work for ever."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


class _Store:
    def __init__(self, folder: Path) -> None:
        self.claims, self.records, self.shard = Claims(folder), Records(folder), Shard(folder)
        self.lock = threading.Lock()


_stores: dict[tuple[int, str], _Store] = {}
_stores_lock = threading.Lock()


def _store(run: str, folder: Path) -> _Store:
    """This process's own: a forked child must not append to its parent's shard."""
    own = os.getpid(), run
    with _stores_lock:
        if own not in _stores:
            _stores[own] = _Store(folder)
        return _stores[own]


def release(run: str) -> None:
    """Close what this process holds open for a run that has ended."""
    with _stores_lock:
        store = _stores.pop((os.getpid(), run), None)
    if store is not None:
        store.claims.close()
        store.shard.close()


def _run(store: _Store, job: Job, point: Point, attempts: int) -> Outcome:
    with store.claims.claim(point.key) as mine:
        if not mine:
            return Outcome(key=point.key, status="busy")
        with store.lock:
            store.records.refresh()
            entry = store.records.entries.get(point.key)
        if entry is not None and (entry.attempts == 0 or entry.attempts > attempts):
            return Outcome(key=point.key, status="found")
        if job.scoring is not None and _is_beaten(job, point, job.scoring):
            return Outcome(key=point.key, status="skipped")
        try:
            metrics = job.measure(job.folder, point)
            line = done_line(point.key, metrics)
        except SweepError:
            raise
        except OSError as error:
            raise refused(job.folder, error) from error
        except Exception as error:  # whatever a user's policy raises: the point's, not the sweep's
            store.shard.append(failed_line(point.key, attempts + 1, error))
            return Outcome(key=point.key, status="failed", error=f"{type(error).__name__}: {error}")
        store.shard.append(line)
        return Outcome(key=point.key, status="done", metrics=metrics)


def _is_beaten(job: Job, point: Point, scoring: Scoring) -> bool:
    try:
        bound = scoring.costs(scoring.values(point.values, job.least(job.folder, point)))
    except SparcadeError:  # it does not fit its arch: running it says so
        return False
    return bound is not None and any(beats(costs, bound) for costs in job.front)
