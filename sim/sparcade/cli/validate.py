"""`sparcade validate`: compare the models with reference runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("validate", help="compare the models with reference runs")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    dram = verbs.add_parser(
        "dram", help="request streams with an established DRAM simulator's results and command logs"
    )
    dram.add_argument("folder", type=Path, help="folder with index.json, traces/ and cmdlogs/")
    dram.set_defaults(function=validate_dram)


def validate_dram(options: argparse.Namespace) -> int:
    """Print a line per run; 1 when one differs."""
    from sparcade.dram.reference import compare_folder

    total = exact = 0
    for comparison in compare_folder(options.folder):
        total += 1
        exact += not comparison.differences
        verdict = "; ".join(comparison.differences) or "exact"
        print(f"{comparison.name:42} {comparison.cycles:>10,} cycles  {verdict}", flush=True)
    print(f"{exact}/{total} exact")
    return int(exact < total)
