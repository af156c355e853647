"""Throughput, overhead and opening time of sweeps, kernels compiled.

    python benchmarks/sweep.py [--repeat 5] [--points 500]

`1 worker`, `2 workers`: points per second of a sweep of the bundled trace `minilm` over DRAM channels, top-k lanes and
SRAM lines, side by side, medians; with the start of the pool and the replay. `overhead`: CPU time of a point beyond
`simulate` with one worker: resolving, claiming, metrics, the line, the table; without the replay. `open`: reading a
folder of 100,000 finished points. `resolving`: finding the points and keys of such a sweep, before any is computed.
`compaction`: writing their table from the shards.

Measured on two quiet cores, five repeats (beside other work the ratio of workers falls to 1.6 to 1.8):

    resolving              11.41 s  100,000 points
    compaction              4.81 s  100,000 points, 138 MB of lines, points.parquet
    open                    0.21 s
    1 worker                33.2 points/s
    2 workers               63.5 points/s  1.91 x
    overhead                1.25 ms/point beyond 28.5 ms of simulation
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import sparcade
from sparcade.sweep import Point, load_sweep, points_of, run_sweep
from sparcade.sweep.metrics import METRICS
from sparcade.sweep.replays import replayed
from sparcade.sweep.store import Shard, done_line
from sparcade.sweep.table import compact, read_sweep, write_definition


def real(points: int) -> dict[str, Any]:
    """A sweep of about so many real points."""
    return {
        "workloads": "minilm",
        "axes": {
            "dram.channels": [2, 4, 8, 16],
            "topk.lanes": {"log2": [1, 16]},
            "key_sram.lines": {"linear": [128, 128 + 4 * (points // 20 - 1)], "steps": points // 20},
        },
    }


def timed(function: Any) -> tuple[float, Any]:
    """Wall seconds and the result."""
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def throughput(points: int, repeat: int) -> None:
    """Print points per second for one and two workers, and the overhead of a point."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    spent = []
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(repeat):
            for workers, found in rates.items():
                out = Path(scratch) / f"{turn}-{workers}"
                cpu = time.process_time()
                seconds, result = timed(
                    lambda out=out, workers=workers: run_sweep(real(points), out=out, workers=workers)
                )
                found.append(result.computed / seconds)
                if workers == 1:
                    spent.append((time.process_time() - cpu) / result.computed)
        chosen = points_of(load_sweep(real(points)))
        cpu = time.process_time()
        workload, _ = replayed(Path(scratch), chosen[0].replay)
        replay = (time.process_time() - cpu) / len(chosen)
        cpu = time.process_time()
        for point in chosen:
            sparcade.simulate(workload, point.arch)
        simulation = (time.process_time() - cpu) / len(chosen)
    one, two = (statistics.median(found) for found in rates.values())
    overhead = statistics.median(spent) - simulation - replay
    print(f"1 worker            {one:8.1f} points/s")
    print(f"2 workers           {two:8.1f} points/s  {two / one:.2f} x")
    print(f"overhead            {overhead * 1e3:8.2f} ms/point beyond {simulation * 1e3:.1f} ms of simulation")


def opening(points: int, repeat: int) -> None:
    """Print the time to open many finished points."""
    sweep = load_sweep({"workloads": "small", "axes": {"key_sram.lines": {"linear": [64, 63 + points]}}})
    seconds, _ = timed(lambda: points_of(sweep))
    print(f"resolving           {seconds:8.2f} s  {points:,} points")
    first, second = points_of(load_sweep({"workloads": "small", "axes": {"key_sram.lines": [64, 65]}}))
    metrics = {name: index * 1.2345678901234 for index, name in enumerate(METRICS)} | {"cycles": 12345}
    metrics = {
        name: int(value) if METRICS[name].startswith(("cycles", "bytes", "bits")) else value
        for name, value in metrics.items()
    }
    made = [
        Point(
            key=f"{index:064x}",
            base=first.base,
            values=first.values | {"key_sram.lines": 64 + index},
            settings=second.settings,
            replay=first.replay,
            baseline=None,
            arch=first.arch,
        )
        for index in range(points)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "shards").mkdir()
        text = b"".join(done_line(point.key, metrics) for point in made)
        shard = Shard(folder)
        shard.append(text)
        shard.close()
        write_definition(sweep, folder)
        seconds, table = timed(lambda: compact(sweep, made, folder))
        print(
            f"compaction          {seconds:8.2f} s  {points:,} points, {len(text) / 1e6:.0f} MB of lines, {table.name}"
        )
        times = [timed(lambda: read_sweep(folder)) for _ in range(repeat)]
        assert all(len(frame) == points for _, frame in times)
        print(f"open                {statistics.median(seconds for seconds, _ in times):8.2f} s")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--points", type=int, default=500)
    options = parser.parse_args()
    opening(100_000, options.repeat)
    throughput(options.points, options.repeat)


if __name__ == "__main__":
    main()
