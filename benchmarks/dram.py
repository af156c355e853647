"""Speed of the DRAM controllers beside the reference simulator's, start-up, and memory of a long stream.

    python benchmarks/dram.py [--requests 1000000] [--repeat 3] [--long 50000000]

Streams are arrays in memory, one thread, CPU time, best of `--repeat`. The reference's figures are those stated for it:
Ramulator 2.1 (2.0a for hbm2-spatten), g++ -O3, one thread, CPU time, best of 3, the same kind of machine. `text` reads
the sequential stream from a file, as the command does. Start-up is `sparcade dram` on one request: first with an empty
kernel cache, then with a full one. The long stream is piped as text into a process of its own: its peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sparcade.dram import DramResult, DramSystem, Injection, read_stream, requests

Stream = np.ndarray


def table(count: int, repeat: int) -> None:
    """Requests, cycles and channel-cycles per second of every stream."""
    rng = np.random.default_rng(1)
    sequential, scattered = np.arange(count), rng.integers(0, 1 << 23, count // 2)
    far = rng.integers(0, 1 << 27, count // 2)
    streams: list[tuple[str, str, int, str, Stream, int, float, str]] = [
        ("sequential", "hbm2", 1, "RoBaRaCoCh", sequential, 32, 0, "0.367"),
        ("sequential", "hbm2", 1, "PcBgCo", sequential, 32, 0, ""),
        ("sequential", "hbm2", 1, "MOP4CLXOR", sequential, 32, 0, "0.410"),
        ("random", "hbm2", 1, "RoBaRaCoCh", scattered, 32, 0, "0.173"),
        ("sequential", "hbm2", 16, "RoBaRaCoCh", sequential, 32, 0, "0.325"),
        ("random", "hbm2", 16, "RoBaRaCoCh", far, 32, 0, "0.162"),
        ("random, one per 100", "hbm2", 1, "RoBaRaCoCh", scattered[: count // 10], 32, 100, "0.104"),
        ("sequential", "hbm2-spatten", 1, "RoBaRaCoCh", sequential % (1 << 24), 32, 0, "0.300"),
        ("random", "hbm2-spatten", 1, "RoBaRaCoCh", scattered, 32, 0, "0.172"),
        ("sequential", "ddr4-3200", 1, "RoBaRaCoCh", sequential, 64, 0, "0.196"),
        ("random", "ddr4-3200", 1, "RoBaRaCoCh", scattered, 64, 0, "0.095"),
        ("sequential", "ddr5-4800", 1, "RoBaRaCoCh", sequential, 64, 0, ""),
        ("sequential", "hbm3", 1, "RoBaRaCoCh", sequential, 32, 0, ""),
        ("sequential", "lpddr5-6400", 1, "RoBaRaCoCh", sequential, 32, 0, ""),
        ("sequential", "gddr6-14000", 1, "RoBaRaCoCh", sequential % (1 << 24), 32, 0, ""),
    ]
    print("stream               device        ch mapping     Mrequest/s  reference  Mcycle/s  Mchannel-cycle/s")
    for name, device, channels, mapping, order, step, pace, reference in streams:
        system, chunk = DramSystem(device, channels=channels, mapping=mapping), requests(order * step)
        seconds, result = best(lambda s=system, c=chunk, p=pace: s.run([c], Injection(period=p)), repeat)  # type: ignore[misc]
        rate, cycles = len(chunk) / seconds / 1e6, result.ticks / seconds / 1e6
        case = f"{name:20} {device:13} {channels:2} {mapping:11}"
        print(f"{case} {rate:10.2f} {reference:>10} {cycles:9.2f} {cycles * channels:17.2f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.txt"
        path.write_text("".join(f"R {address:#x}\n" for address in (sequential * 32).tolist()))
        system = DramSystem("hbm2", mapping="RoBaRaCoCh")
        seconds, _ = best(lambda: system.run(read_stream(path, system.address_map.address_limit)), repeat)
        print(f"{'sequential, text':20} {'hbm2':13}  1 RoBaRaCoCh  {count / seconds / 1e6:10.2f}")


def best(run: Callable[[], DramResult], repeat: int) -> tuple[float, DramResult]:
    """Fewest CPU seconds of several runs, and the result."""
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        result = run()
        times.append(time.process_time() - begin)
    return min(times), result


def start_up() -> None:
    """Seconds of the command on one request, without and with compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.txt"
        path.write_text("R 0x40\n")
        environment = os.environ | {"NUMBA_CACHE_DIR": f"{folder}/cache"}
        for label in ("first call, kernels compiled", "later calls, kernels cached"):
            begin = time.perf_counter()
            command = [sys.executable, "-m", "sparcade.cli", "dram", str(path)]
            subprocess.run(command, check=True, capture_output=True, env=environment)
            print(f"{label}: {time.perf_counter() - begin:.1f} s")


def long_stream(count: int) -> None:
    """Peak memory of a process that times a long stream piped into it."""
    writer = (
        "import sys\n"
        f"for begin in range(0, {count}, 1 << 18):\n"
        f"    for a in range(begin, min(begin + (1 << 18), {count})):\n"
        "        sys.stdout.write(f'R {a * 32 & 0x7fffffff:#x}\\n')\n"
    )
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as source:
        reader = [sys.executable, "-m", "sparcade.cli", "dram", "-", "--json"]
        subprocess.run(reader, check=True, stdin=source.stdout, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{count:,} requests from a pipe: {seconds:.0f} s with their writer, peak memory {peak:.0f} MiB")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--long", type=int, default=50_000_000, help="requests of the long stream; 0 leaves it out")
    options = parser.parse_args()
    table(options.requests, options.repeat)
    if options.long:
        long_stream(options.long)
    start_up()


if __name__ == "__main__":
    main()
