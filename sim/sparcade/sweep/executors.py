"""Executors of a sweep: the default process pool, and the calling process itself."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any, TypeVar

from sparcade._jit import is_compiled
from sparcade.errors import ConfigError, MissingError
from sparcade.sweep.worker import watch_parent

T = TypeVar("T")
#: Wait for a scheduler to answer.
_DASK_TIMEOUT = "10s"


class InlineExecutor(Executor):
    """Runs each call at once, in the calling process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run the call; the future is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_server() -> None:
    """Let the server of the default pool load the simulator while the caller does other things."""
    _forkserver()
    forkserver.ensure_running()


def default_executor(workers: int) -> Executor:
    """A pool of processes, each forked from a server that has loaded the simulator once; one worker: no pool.

    Not forked from the caller: it may hold threads and locks.
    """
    if workers == 1:
        return InlineExecutor()
    return ProcessPoolExecutor(workers, mp_context=_forkserver(), initializer=watch_parent)


def dask_executor(address: str) -> Executor:
    """An executor over the workers of a Dask scheduler, such as "tcp://host:8786"; they must share the sweep's folder.

    Raises
    ------
    ConfigError
        Without the extra `cluster`, or when no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise MissingError(
            "Dask is not installed",
            where=f"--dask {address}",
            expected="the package 'distributed'",
            got="no such package",
            remedy="pip install 'sparcade[cluster]'",
        ) from None
    try:
        executor: Executor = Client(address, timeout=_DASK_TIMEOUT).get_executor()
    except (OSError, ValueError) as error:
        raise ConfigError(
            "no Dask scheduler answers",
            where=f"--dask {address}",
            expected="the address that 'dask scheduler' prints",
            got=str(error),
            remedy="start one, or check the address",
        ) from None
    return executor


def _forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sparcade.sweep.warm"])
    return context


def kernels_are_compiled() -> bool:
    """Whether workers find the kernels in the cache."""
    return is_compiled("run_cycles")
