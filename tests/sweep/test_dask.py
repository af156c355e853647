"""A sweep on a Dask scheduler and two worker processes, one of them killed: the same table."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from sparcade.errors import ConfigError
from sparcade.sweep import executors, run_sweep
from sweep_support import POINTS, SWEEP, lines, quick

distributed = pytest.importorskip("distributed")


@pytest.mark.filterwarnings("ignore")  # Dask's own, at its shutdown
def test_a_worker_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    alone = run_sweep(SWEEP, out=tmp_path / "alone", workers=1, measure=quick)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path / "dask")
    ) as cluster:
        with distributed.Client(cluster) as client:
            victim = next(iter(client.run(os.getpid).values()))
        done: list[int] = []

        def strike(progress: object) -> None:
            done.append(1)
            if len(done) == 5:
                threading.Thread(target=os.kill, args=(victim, signal.SIGKILL)).start()

        executor = executors.dask_executor(cluster.scheduler_address)
        result = run_sweep(
            SWEEP, out=tmp_path / "dask-sweep", executor=executor, chunk=4, progress=strike, measure=quick
        )
        executor.shutdown()
    assert len(done) > 5
    assert len(lines(tmp_path / "dask-sweep")) == len(result.frame) == POINTS
    assert result.table.read_bytes() == alone.table.read_bytes()


def test_no_scheduler_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_DASK_TIMEOUT", "1s")
    with pytest.raises(ConfigError, match="no Dask scheduler answers"):
        executors.dask_executor("tcp://127.0.0.1:1")
