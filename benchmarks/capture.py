"""Time and peak memory of a capture, from the start of the process to the checked trace.

    python benchmarks/capture.py MODEL TEXT [--tokens 512] [--decode 0 32 128]

MODEL is a model folder or hub name, TEXT a text long enough. Each capture runs in a process of its own, on one thread.
`loaded` is the peak once libraries and model are there, `peak` that of the whole run, `trace` the tensor files.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(model: str, text: str, tokens: int, decode: int) -> None:
    """Print one line."""
    start = time.perf_counter()
    from sparcade_workloads.request import CaptureRequest, carry_out

    loaded: list[tuple[float, float]] = []

    def step(stage: str, fraction: float) -> None:
        if stage == "load" and fraction == 1.0:
            loaded.append((time.perf_counter() - start, peak_mib()))

    request = CaptureRequest(model=model, text=text, prompt_tokens=tokens - decode, decode_steps=decode)
    with tempfile.TemporaryDirectory() as folder:
        trace = carry_out(request, Path(folder) / "trace", step)
        size = trace.stored_bytes() / (1 << 20)
    seconds, before = loaded[0]
    total = time.perf_counter() - start
    print(
        f"{trace.manifest.model.name:20} {tokens - decode:7} {decode:7} {seconds:7.1f} {total - seconds:10.1f}"
        f" {before:11.0f} {peak_mib():9.0f} {size:10.1f}",
        flush=True,
    )


def peak_mib() -> float:
    """Largest resident set of this process so far [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--decode", type=int, nargs="+", default=[0, 32, 128])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.model, options.text, options.tokens, options.decode[0])
        return
    print("model                 prompt  decode  load s  capture s  loaded MiB  peak MiB  trace MiB")
    for decode in options.decode:
        arguments = [options.model, options.text, "--tokens", str(options.tokens), "--decode", str(decode), "--one"]
        subprocess.run([sys.executable, __file__, *arguments], check=True)


if __name__ == "__main__":
    main()
