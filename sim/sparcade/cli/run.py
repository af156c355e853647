"""`sparcade run`: the main job, from a trace or workload to a report."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from sparcade.cli.settings import add_set_option, report_folder, split_settings


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="replay a trace under a policy, time it on an arch, report cycles, DRAM and energy",
        description="Replay a trace under a policy (or take a workload as it is), time it on an arch, write a report.",
    )
    parser.add_argument(
        "target",
        help="bundled trace or benchmark by name, trace folder, or workload file (.npz, or .csv of the released form)",
    )
    parser.add_argument("--arch", default="spatten", help="arch preset or TOML file (default: spatten)")
    parser.add_argument("--policy", help="policy preset, TOML file, or FILE.py:Class (default: by kind of model)")
    add_set_option(parser)
    parser.add_argument("--compare", metavar="POLICY", help="also run this policy on the same arch, e.g. dense")
    parser.add_argument(
        "--energy",
        default="first-principles",
        metavar="PROFILE",
        help="constants of energy and area: first-principles, spatten40nm-calibrated, or a TOML file",
    )
    parser.add_argument(
        "--power-window",
        type=int,
        default=1000,
        metavar="CYCLES",
        help="window of the peak power (default: 1000 cycles)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="report folder (default: reports/WORKLOAD-POLICY-ARCH)")
    parser.add_argument(
        "--events",
        type=Path,
        metavar="FILE.csv.gz",
        help="also write when each query was in each module, and queue levels to FILE-levels.csv.gz",
    )
    parser.set_defaults(function=run)


#: Options that the numbers of a run depend on.
_NUMBERS = ("arch", "policy", "set", "compare", "energy", "power_window")


def command_of(options: argparse.Namespace) -> str:
    """The command of a run, quoted for a shell, with the options that its numbers depend on."""
    words = ["sparcade", "run", options.target]
    for name in _NUMBERS:
        value = getattr(options, name)
        for each in value if isinstance(value, list) else [value]:
            words += [] if each is None else [f"--{name.replace('_', '-')}", str(each)]
    return shlex.join(words)


def run(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from rich.console import Console

    from sparcade.arch import load_arch
    from sparcade.cli.progress import Stages
    from sparcade.energy import load_profile
    from sparcade.energy.watts import check_window
    from sparcade.errors import ConfigError
    from sparcade.evaluation import default_policy, evaluate
    from sparcade.policy import load_policy, policy_name
    from sparcade.report.folder import check_folder, write_report
    from sparcade.report.terminal import print_summary
    from sparcade.sources import load_source
    from sparcade.trace import AttentionTrace

    arch_settings, policy_settings = split_settings(options.set)
    arch, profile = load_arch(options.arch, arch_settings), load_profile(options.energy)
    check_window(options.power_window)
    source = load_source(options.target)
    trace = policy = None
    if isinstance(source, AttentionTrace):
        trace, policy = source, load_policy(options.policy or default_policy(source), policy_settings)
        names = source.name, policy_name(policy)
    elif options.policy or options.compare or policy_settings:
        raise ConfigError(
            "a workload already holds its policy",
            where=f"{options.target} with --policy, --compare or --set policy.*",
            expected="a trace to replay",
            got="a workload",
            remedy="run the trace, or leave these options out",
        )
    else:
        names = source.shape.name, source.shape.policy
    compare = load_policy(options.compare) if options.compare else None
    folder = options.out or report_folder(*names, arch.name)
    check_folder(folder)
    if options.events and not options.events.name.endswith(".csv.gz"):
        raise ConfigError(
            "an event log is a compressed CSV file",
            where=f"--events {options.events}",
            expected="a file name ending in .csv.gz",
            got=repr(options.events.name),
            remedy="--events events.csv.gz",
        )
    with Stages() as stages:
        evaluation = evaluate(
            source,
            arch,
            policy=policy,
            compare=compare,
            profile=profile,
            window_cycles=options.power_window,
            step=stages.step,
        )
        stages.step("report", 0.0)
        result = evaluation.to_dict()
        files = write_report(folder, evaluation, result, trace, command=command_of(options))
        if options.events:
            from sparcade.accelerator.events import record_events

            stages.step("events", 0.0)
            files += record_events(evaluation.run.workload, arch).save(options.events)
    print_summary(Console(markup=False, highlight=False), evaluation, result, files)
