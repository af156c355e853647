"""Time and memory of the main job on the bundled traces, kernels compiled.

    python benchmarks/main_job.py [--repeat 5]

Each trace runs in a process of its own: once to load the compiled kernels, then `--repeat` times. `replay` is the
policy on the trace, `simulate` the cycle loop, `job` what `sparcade run TRACE --compare dense` computes (two replays,
the float reference, two simulations), `report` the files it writes. Medians; memory is the process's peak.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sparcade
from sparcade.bundled import bundled_names
from sparcade.evaluation import default_policy
from sparcade.report.folder import write_report


def measure(name: str, repeat: int) -> str:
    """One line of the table."""
    trace = sparcade.AttentionTrace.load(sparcade.bundled_trace(name))
    policy, dense = sparcade.load_policy(default_policy(trace)), sparcade.load_policy("dense")
    arch = sparcade.load_arch("spatten")
    workload = sparcade.apply(trace, policy).workload
    evaluation = sparcade.evaluate(trace, arch, policy=policy, compare=dense)
    with tempfile.TemporaryDirectory() as folder:
        stages: list[Callable[[], object]] = [
            lambda: sparcade.apply(trace, policy),
            lambda: sparcade.simulate(workload, arch),
            lambda: sparcade.evaluate(trace, arch, policy=policy, compare=dense),
            lambda: write_report(Path(folder) / "report", evaluation, evaluation.to_dict(), trace),
        ]
        seconds = [median(stage, repeat) for stage in stages]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = evaluation.run.cycles / seconds[1] / 1e6
    columns = "".join(f"{value:11.3f}" for value in seconds)
    return f"{name:12}{columns}{evaluation.run.cycles:12,}{rate:10.2f}{peak:10.0f}"


def median(stage: Callable[[], object], repeat: int) -> float:
    """Median wall seconds of a stage, after one uncounted run."""
    stage()
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        stage()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--trace", help="measure this one in this process (used by the table)")
    options = parser.parse_args()
    if options.trace:
        print(measure(options.trace, options.repeat))
        return
    print("trace          replay s simulate s      job s   report s      cycles  Mcycle/s  peak MiB")
    for name in bundled_names():
        command = [sys.executable, __file__, "--trace", name, "--repeat", str(options.repeat)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
