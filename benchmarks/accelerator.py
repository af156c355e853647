"""Speed of the accelerator model on the released schedules: seconds, cycles/s, requests/s, peak memory.

    python benchmarks/accelerator.py [NAME ...]

Each schedule runs in a process of its own, once to compile and once to measure (CPU time of one thread). The last
column is the Verilator simulation of the released RTL on the same requests (shared reference data: wall seconds on
the same kind of machine), where there is one.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

#: (workload, arch, settings): the RTL's wall seconds, its cycles.
CASES = {
    ("gpt2-small-per8", "spatten-release", ""): None,
    ("gpt2-small-dense", "spatten-release", ""): (281.56, 4062089),
    ("gpt2-medium-full", "spatten-release", ""): (409.79, 5422278),
    ("gpt2-medium-dense", "spatten-release", ""): None,
    ("gpt2-medium-dense", "spatten-release", "dram.kind=ideal"): None,
    ("gpt2-small-per8", "spatten-release-eighth", ""): None,
    ("gpt2-medium-wikitext2", "spatten", ""): None,
    ("bert-base-squad-v1", "spatten", ""): None,
}


def measure(name: str, arch: str, settings: str) -> None:
    """Print one line."""
    from sparcade.accelerator import simulate
    from sparcade.arch import load_arch
    from sparcade.workload import generate

    hardware = load_arch(arch, settings.split())
    simulate(generate("small"), hardware)  # compiles, or reads the cache
    work = generate(name)
    start = time.process_time()
    run = simulate(work, hardware)
    seconds = time.process_time() - start
    total = run.total()
    moved = sum(total[f"tx_{kind}"] for kind in ("q", "k_msb", "k_lsb", "v", "out"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rtl = CASES.get((name, arch, settings))
    beside = f"{rtl[0]:6.0f} s, {rtl[1] / rtl[0] / 1e3:5.1f} k" if rtl else "-"
    print(
        f"{name:22} {arch:22} {settings or 'controllers':15} {len(work.queries):>7,} queries {moved / 1e6:6.2f} M tx"
        f" {run.cycles / 1e6:7.2f} M cycles {seconds:6.2f} s {run.cycles / seconds / 1e6:5.2f} M cycles/s"
        f" {len(work.queries) / seconds / 1e3:6.1f} k queries/s {memory:5.0f} MiB   RTL {beside}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="workloads (default: all)")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(*options.case)
        return
    for case in CASES:
        if not options.names or case[0] in options.names:
            subprocess.run([sys.executable, __file__, "--case", *case], check=True, env=os.environ)


if __name__ == "__main__":
    main()
