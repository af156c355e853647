"""Sweeps of quick points, in processes that a test can kill."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparcade.errors import SparcadeError
from sparcade.sweep import Point, run
from sparcade.sweep.worker import watch_parent

#: 120 points that cost nothing to resolve.
SWEEP: dict[str, Any] = {
    "workloads": "small",
    "axes": {"topk.lanes": {"log2": [1, 8]}, "clock_ghz": [0.5, 1.0, 2.0], "k_phases": {"linear": [1, 10]}},
    "objectives": {"cycles": "min"},
}
POINTS = 120


def quick(folder: Path, point: Point) -> dict[str, Any]:
    """Metrics made of the key, after a millisecond."""
    time.sleep(0.001)
    number = int.from_bytes(hashlib.sha256(point.key.encode()).digest()[:4])
    return {"cycles": number, "seconds": number / 1e9}


def together(folder: Path, point: Point) -> dict[str, Any]:
    """As `quick`, once the workers of two runs are at work."""
    (folder / f"{os.getppid()}.run").touch()
    deadline = time.monotonic() + 30
    while len(list(folder.glob("*.run"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    return quick(folder, point)


def lines(folder: Path) -> list[dict[str, Any]]:
    """Every whole line of every shard."""
    found = []
    for shard in sorted((folder / "shards").glob("*.jsonl")):
        for line in shard.read_bytes().split(b"\n")[:-1]:
            found.append(json.loads(line))
    return found


def forked_pool(workers: int) -> ProcessPoolExecutor:
    """A pool without start-up time: everything is imported already."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"), initializer=watch_parent)


def fork(function: Callable[[], object]) -> int:
    """Run a function in a process group of its own; returns the process. Exit code 0, 2 for an error of ours, or 3."""
    pid = os.fork()
    if pid:
        with suppress(OSError):  # the child may have done it, or ended
            os.setpgid(pid, pid)
        return pid
    code = 3
    try:
        os.setpgid(0, 0)
        run.default_executor = forked_pool
        function()
        code = 0
    except SparcadeError as error:
        os.write(2, f"{error}\n".encode())
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """Exit code of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
