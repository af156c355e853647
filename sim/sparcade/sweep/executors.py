"""Executors of a sweep: the default process pool, and the calling process itself."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any, TypeVar

from sparcade._jit import is_compiled
from sparcade.sweep.worker import watch_parent

T = TypeVar("T")


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


def default_executor(workers: int) -> Executor:
    """A pool of processes, each forked from a server that has imported the simulator once; one worker: no pool.

    Not forked from the caller: it may hold threads and locks.
    """
    if workers == 1:
        return InlineExecutor()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sparcade.sweep.worker"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=watch_parent)


def kernels_are_compiled() -> bool:
    """Whether workers find the kernels in the cache."""
    return is_compiled("run_cycles")
