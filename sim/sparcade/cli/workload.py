"""`sparcade workload`: make workload files from traces, CSV files and benchmark names, and CSV files from them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparcade.workload import Workload


def add_parser(commands: Any) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("workload", help="make workload files, or CSV files of the released form from them")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    make = verbs.add_parser("make", help="replay a trace under a policy and keep the work, without values")
    make.add_argument("trace", help="bundled trace name or trace folder")
    make.add_argument("--policy", help="policy preset, TOML file, or FILE.py:Class (default: by kind of model)")
    make.add_argument("--out", type=Path, required=True, help="file to write (.npz)")
    make.set_defaults(function=make_workload)

    read = verbs.add_parser("import", help="read a CSV file of the released form; ids and scores are drawn")
    read.add_argument("csv", type=Path, help="CSV file with the 17 columns (docs/workloads.md)")
    read.add_argument("--out", type=Path, required=True, help="file to write (.npz)")
    read.add_argument("--seed", type=int, default=0, help="of the drawn ids and scores (default: 0)")
    read.set_defaults(function=import_workload)

    export = verbs.add_parser("export", help="write a workload of decode steps as a CSV file of the released form")
    export.add_argument("workload", type=Path, help="workload file (.npz)")
    export.add_argument("--out", type=Path, required=True, help="file to write (.csv)")
    export.set_defaults(function=export_workload)

    generate = verbs.add_parser("generate", help="the workload of a benchmark of the paper or of a released schedule")
    generate.add_argument("name", nargs="?", help="such as gpt2-small-wikitext2")
    generate.add_argument("--list", action="store_true", help="print the names")
    generate.add_argument("--out", type=Path, help="file to write (.npz; default: NAME.npz)")
    generate.add_argument("--seed", type=int, default=0, help="of the drawn ids and scores (default: 0)")
    generate.set_defaults(function=generate_workload)


def make_workload(options: argparse.Namespace) -> None:
    """Replay a trace and write its workload file."""
    from sparcade.cli.progress import Stages
    from sparcade.evaluation import default_policy
    from sparcade.policy import apply, load_policy
    from sparcade.sources import load_trace

    _check_suffix(options.out)
    trace = load_trace(options.trace)
    policy = load_policy(options.policy or default_policy(trace))
    with Stages() as stages:
        workload = apply(trace, policy, lambda fraction: stages.step("replay", fraction)).workload
    _save(workload, options.out)


def import_workload(options: argparse.Namespace) -> None:
    """Read a CSV file and write its workload file."""
    from sparcade.workload import import_csv

    _check_suffix(options.out)
    _save(import_csv(options.csv, options.seed), options.out)


def export_workload(options: argparse.Namespace) -> None:
    """Write the CSV file of a workload."""
    from sparcade.workload import Workload, export_csv

    workload = Workload.load(options.workload)
    export_csv(workload, options.out)
    print(f"{options.out}: {len(workload.rows):,} rows")


def generate_workload(options: argparse.Namespace) -> None:
    """Print the names, or write the workload file of one."""
    from sparcade.errors import WorkloadError
    from sparcade.workload import generate
    from sparcade.workload.definitions import find_definition, workload_names

    if options.list:
        print("\n".join(workload_names()))
        return
    if options.name is None:
        raise WorkloadError(
            "no workload is named",
            where="sparcade workload generate",
            expected="a name",
            got="nothing",
            remedy="'sparcade workload generate --list' shows the names",
        )
    out = options.out or Path(f"{find_definition(options.name).name}.npz")
    _check_suffix(out)
    workload = generate(options.name, options.seed)
    _save(workload, out)
    for choice in find_definition(options.name).choices:
        print(f"note: {choice}")


def _check_suffix(out: Path) -> None:
    from sparcade.errors import ConfigError

    if out.suffix != ".npz":
        raise ConfigError(
            "a workload is one .npz file",
            where=f"--out {out}",
            expected="a file name ending in .npz",
            got=repr(out.name),
            remedy=f"--out {out}.npz",
        )


def _save(workload: Workload, out: Path) -> None:
    """Write a workload file and say what is in it."""
    workload.save(out)
    print(f"{out}: {len(workload.rows):,} rows, {len(workload.queries):,} queries, {workload.content_hash[:16]}")
    if workload.shape.ids == "synthetic":
        print(f"ids, scores: synthetic, seed {workload.shape.policy_settings['seed']}")
