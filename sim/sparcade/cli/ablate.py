"""`sparcade ablate`: what each feature of SpAtten brings on a workload."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sparcade.cli.settings import add_work_options, report_folder, split_settings


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ablate",
        help="add SpAtten's features one after the other: what each brings on this workload",
        description="Time a workload dense, then with each feature of SpAtten added to those before (its Fig. 20).",
    )
    add_work_options(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder (default: reports/ablation-WORKLOAD-POLICY-ARCH)"
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from rich.console import Console

    from sparcade.ablation import ablate
    from sparcade.arch import load_arch
    from sparcade.cli.progress import Stages
    from sparcade.report.ablation_folder import check_ablation_folder, print_ablation, write_ablation
    from sparcade.sources import load_workload
    from sparcade.workload.cascade import check_cascade

    arch_settings, policy_settings = split_settings(options.set)
    arch = load_arch(options.arch, arch_settings)
    if options.out:
        check_ablation_folder(options.out)
    with Stages() as stages:
        workload = load_workload(
            options.target, options.policy, policy_settings, lambda fraction: stages.step("replay", fraction)
        )
        check_cascade(workload)
        folder = options.out or report_folder("ablation", workload.shape.name, workload.shape.policy, arch.name)
        check_ablation_folder(folder)
        ablation = ablate(workload, arch, step=stages.step)
        files = write_ablation(folder, ablation)
    print_ablation(Console(markup=False, highlight=False), ablation, files)
