"""`sparcade sweep`: compute what is missing of a sweep, show what failed and what is best."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparcade.sweep import SweepResult

_SHOWN = 10


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="run many points of a design space: axes over arch and policy settings, resumable",
        description="Compute the points of a sweep that its folder lacks, and write the table (docs/sweeps.md). "
        "Stop it at any moment and run the same command again.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the sweep")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the results (default: sweeps/FILE)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each processor)")
    parser.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="i/n", help="only every n-th point, from the i-th"
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="compute on the workers of a Dask scheduler")
    parser.add_argument("--retry", action="store_true", help="compute failed points again")
    parser.set_defaults(function=sweep)


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    try:
        return int(index), int(count)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no i/n, such as 1/4") from None


def sweep(options: argparse.Namespace) -> int:
    """Carry out the command; 1 when points failed."""
    from sparcade.sweep import progress_line, run_sweep
    from sparcade.sweep.executors import dask_executor

    result = run_sweep(
        options.file,
        out=options.out,
        workers=options.workers,
        executor=dask_executor(options.dask) if options.dask else None,
        shard=options.shard,
        retry=options.retry,
        progress=progress_line(),
    )
    failed = result.failed
    _print_failed(failed)
    _print_best(result)
    finished = len(result.frame) - len(failed)
    print(f"{finished:,} of {len(result.points):,} points done, {result.computed:,} of them now: {result.table}")
    return 1 if len(failed) else 0


def _print_failed(failed: Any) -> None:
    for _, row in failed.head(_SHOWN).iterrows():
        settings = [f"{name}={row[name]}" for name in failed.columns[1 : failed.columns.get_loc("status")]]
        print(f"failed: {' '.join(settings)}\n  {row['error'].splitlines()[0]}")
    if len(failed):
        more = f"; {len(failed) - _SHOWN:,} more in the table" if len(failed) > _SHOWN else ""
        print(f"{len(failed):,} points failed{more}; --retry computes them again")


def _print_best(result: SweepResult) -> None:
    by_key = {point.key: point for point in result.points}
    done = result.frame[result.frame["status"] == "done"]
    for name, direction in (result.sweep.objectives or {"cycles": "min"}).items():
        values = done[name].dropna()
        if len(values):
            best = int(values.argmin() if direction == "min" else values.argmax())
            key = done.loc[values.index, "key"].iloc[best]
            print(f"best {name}, {values.iloc[best]:.6g}:\n  {by_key[key].command}")
