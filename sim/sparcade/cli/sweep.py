"""`sparcade sweep`: compute what is missing of a sweep, show what failed and what is best."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparcade.sweep import SweepResult

_SHOWN = 10
#: Points in a SLURM job: some minutes of work for a start of seconds.
_SLURM_CHUNK = 100


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
    parser.add_argument(
        "--slurm",
        action="append",
        metavar="OPTION=VALUE",
        help="compute in SLURM jobs with this option of sbatch, such as partition=short or time=60 [min]; repeatable",
    )
    parser.add_argument(
        "--chunk", type=int, metavar="N", help=f"points in one job (default: 1; in a SLURM job {_SLURM_CHUNK})"
    )
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
    from sparcade.errors import ConfigError
    from sparcade.sweep import progress_line, run_sweep
    from sparcade.sweep.executors import dask_executor
    from sparcade.sweep.run import folder_of
    from sparcade.sweep.slurm import slurm_executor

    if options.dask and options.slurm:
        raise ConfigError(
            "a sweep runs on one cluster",
            where="--dask and --slurm",
            expected="one of them",
            got="both",
            remedy="start two commands on one folder: they share the work",
        )
    folder = folder_of(options.file, options.out)
    with ExitStack() as stack:
        executor = dask_executor(options.dask) if options.dask else None
        if options.slurm:
            slurm = executor = slurm_executor(folder, options.slurm)
            stack.callback(slurm.shutdown, cancel_futures=True)
        result = run_sweep(
            options.file,
            out=folder,
            workers=options.workers,
            executor=executor,
            shard=options.shard,
            retry=options.retry,
            chunk=options.chunk or (_SLURM_CHUNK if options.slurm else 1),
            progress=progress_line(),
        )
    failed = result.failed
    _print_failed(failed)
    _print_best(result)
    finished = len(result.frame) - len(failed)
    if result.skipped:
        print(f"{result.skipped:,} points skipped: another is better in every objective than they can be")
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
