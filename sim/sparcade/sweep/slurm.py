"""SLURM through submitit, behind the interface of `concurrent.futures`: calls become jobs of an array."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sparcade.errors import ConfigError, MissingError, SweepError

T = TypeVar("T")
#: Folder of the jobs' scripts and logs, in the sweep's folder.
FOLDER = "slurm"
#: Pause between two looks at the jobs [s]; submitit asks SLURM itself once a minute.
_PAUSE = 0.5
#: Times that a job may end without a result (killed, out of time, its node lost).
_MOST_LOSSES = 3


def slurm_executor(folder: Path, settings: Sequence[str]) -> SubmititExecutor:
    """An executor that submits arrays of SLURM jobs from this machine; jobs must see the sweep's folder.

    Parameters
    ----------
    folder : of the sweep.
    settings : options of sbatch as submitit names them, such as "partition=short", "time=60" (minutes), "mem=4GB".

    Raises
    ------
    ConfigError
        Without submitit or SLURM's commands, or for an unknown option.
    """
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise MissingError(
            "submitit is not installed",
            where="--slurm",
            expected="the package 'submitit'",
            got="no such package",
            remedy="pip install 'sparcade[cluster]'",
        ) from None
    if SlurmExecutor.affinity() < 0:
        raise ConfigError(
            "SLURM is not here",
            where="--slurm",
            expected="srun and sbatch on the PATH",
            got="no srun",
            remedy="run the command on a login node of the cluster",
        )
    jobs = SlurmExecutor(folder.resolve() / FOLDER)
    options = {"job_name": "sparcade", **dict(map(_option, settings))}
    try:
        jobs.update_parameters(**options)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "the options of the SLURM jobs are wrong",
            where=f"--slurm {' --slurm '.join(settings)}",
            expected="options of sbatch as submitit names them",
            got=str(error).splitlines()[0],
            remedy="such as --slurm partition=short --slurm time=60 --slurm mem=4GB",
        ) from None
    return SubmititExecutor(jobs)


def _option(setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    if not name or not equals:
        raise ConfigError(
            "a SLURM option has no value",
            where=f"--slurm {setting}",
            expected="OPTION=VALUE",
            got=repr(setting),
            remedy="such as --slurm time=60",
        )
    return name.replace("-", "_"), int(text) if text.isdecimal() else text


class SubmititExecutor(Executor):
    """Runs calls as jobs of a submitit executor; calls that wait together become one array.

    A call whose job ends without a result is submitted again; after `_MOST_LOSSES` of them its future raises
    `BrokenExecutor`. One thread submits and looks after all jobs.
    """

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs
        self._waiting: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._running: list[_Call] = []
        self._stop, self._cancel = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look_after, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue the call for the next array."""
        if self._stop.is_set():
            raise RuntimeError("the executor was shut down")
        call = _Call(functools.partial(_guarded, fn, *args, **kwargs))
        self._waiting.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End when all calls have ended, or with `cancel_futures` cancel their jobs."""
        if cancel_futures:
            self._cancel.set()
        self._stop.set()
        if wait:
            self._thread.join()

    def _look_after(self) -> None:
        while not self._cancel.wait(_PAUSE):  # calls that come within a pause go together
            try:
                self._submit_waiting()
                self._running = [call for call in self._running if not self._has_ended(call)]
            except Exception as error:  # of sbatch or sacct: every caller learns of it
                self._give_up(_refused(error))
            if self._stop.is_set() and self._waiting.empty() and not self._running:
                return
        for call in self._running:
            call.job.cancel(check=False)
        self._give_up(BrokenExecutor("the jobs were cancelled"))

    def _submit_waiting(self) -> None:
        calls = []
        while not self._waiting.empty():
            calls.append(self._waiting.get())
        self._running += calls
        if calls:
            with self._jobs.batch():
                for call in calls:
                    call.job = self._jobs.submit(call.function)

    def _has_ended(self, call: _Call) -> bool:
        if not call.job.done():
            return False
        try:
            value, error = call.job.result()
        except Exception as lost:  # submitit's own: no result, or one that can't be read
            call.losses += 1
            if call.losses < _MOST_LOSSES:
                self._waiting.put(call)
            else:
                call.future.set_exception(BrokenExecutor(f"job {call.job.job_id} was lost: {_last_line(lost)}"))
            return True
        if error is not None:
            call.future.set_exception(error)
        else:
            call.future.set_result(value)
        return True

    def _give_up(self, error: BaseException) -> None:
        while not self._waiting.empty():
            self._running.append(self._waiting.get())
        for call in self._running:
            if not call.future.done():
                call.future.set_exception(error)
        self._running = []


@dataclass(slots=True)
class _Call:
    function: Callable[[], tuple[Any, Exception | None]]
    future: Future[Any] = field(default_factory=Future)
    job: Any = None
    losses: int = 0


def _guarded(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
    """Value and error of a call: submitit would make a text of an error."""
    try:
        return fn(*args, **kwargs), None
    except Exception as error:
        return None, error


def _refused(error: Exception) -> SweepError:
    return SweepError(
        "SLURM refused the jobs",
        where="--slurm",
        expected="jobs that sbatch takes",
        got=_last_line(error),
        remedy="mend the options; run the same command again: what is done is kept",
    )


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
