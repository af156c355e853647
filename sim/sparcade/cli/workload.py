"""`sparcade workload`: make a workload file from a trace and a policy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("workload", help="make workload files")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    make = verbs.add_parser("make", help="replay a trace under a policy and keep the work, without values")
    make.add_argument("trace", help="bundled trace name or trace folder")
    make.add_argument("--policy", help="policy preset, TOML file, or FILE.py:Class (default: by kind of model)")
    make.add_argument("--out", type=Path, required=True, help="file to write (.npz)")
    make.set_defaults(function=make_workload)


def make_workload(options: argparse.Namespace) -> None:
    """Write a workload file."""
    from sparcade.cli.progress import Stages
    from sparcade.cli.sources import load_trace
    from sparcade.errors import ConfigError
    from sparcade.evaluation import default_policy
    from sparcade.policy import apply, load_policy

    if options.out.suffix != ".npz":
        raise ConfigError(
            "a workload is one .npz file",
            where=f"--out {options.out}",
            expected="a file name ending in .npz",
            got=repr(options.out.name),
            remedy=f"--out {options.out}.npz",
        )
    trace = load_trace(options.trace)
    policy = load_policy(options.policy or default_policy(trace))
    with Stages() as stages:
        workload = apply(trace, policy, lambda fraction: stages.step("replay", fraction)).workload
    workload.save(options.out)
    print(
        f"{options.out}: {len(workload.rows):,} rows, {len(workload.queries):,} queries, {workload.content_hash[:16]}"
    )
