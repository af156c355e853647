"""`sparcade run`: the main job, from a trace or workload to a report."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparcade.cli.settings import add_set_option, report_folder, split_settings

if TYPE_CHECKING:
    from sparcade.report.timeline import Window


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
        help="also write when each query was in each module, what each module did in which cycles to "
        "FILE-slices.csv.gz, and queue levels to FILE-levels.csv.gz",
    )
    parser.add_argument(
        "--timeline",
        type=Path,
        metavar="FILE.json.gz",
        help="also write a timeline to open in ui.perfetto.dev: 1 cycle = 1 ns (docs/timeline.md)",
    )
    parser.add_argument(
        "--timeline-window",
        metavar="FROM:TO",
        help="cycles of the timeline, or the queries it is about: step=1,layer=2 (default: the whole run)",
    )
    parser.add_argument("--show-api", action="store_true", help="print the Python that does the same, and stop")
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
    from sparcade.cli.show_api import python_of
    from sparcade.energy import load_profile
    from sparcade.energy.watts import check_window
    from sparcade.errors import ConfigError
    from sparcade.evaluation import Log, default_policy, evaluate
    from sparcade.policy import load_policy, policy_name
    from sparcade.report.folder import check_folder, write_report
    from sparcade.report.terminal import print_summary
    from sparcade.report.timeline import timeline
    from sparcade.sources import load_source
    from sparcade.trace import AttentionTrace

    arch_settings, policy_settings = split_settings(options.set)
    arch, profile = load_arch(options.arch, arch_settings), load_profile(options.energy)
    check_window(options.power_window)
    source = load_source(options.target)
    trace = policy = chosen = None
    if isinstance(source, AttentionTrace):
        chosen = options.policy or default_policy(source)
        trace, policy = source, load_policy(chosen, policy_settings)
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
    window = _timeline_window(options)
    if options.show_api:
        print(python_of(options, policy=chosen, folder=folder, command=command_of(options)), end="")
        return
    log: Log = "events" if options.events or options.timeline else "excerpt"
    with Stages() as stages:
        evaluation = evaluate(
            source,
            arch,
            policy=policy,
            compare=compare,
            profile=profile,
            window_cycles=options.power_window,
            step=stages.step,
            log=log,
        )
        drawn = timeline(evaluation.events, window) if evaluation.events and options.timeline else None
        stages.step("report", 0.0)
        result = evaluation.to_dict()
        files = write_report(folder, evaluation, result, trace, command=command_of(options))
        if options.events and evaluation.events:
            files += evaluation.events.save(options.events)
        if drawn is not None:
            stages.step("timeline", 0.0)
            files.append(drawn.save(options.timeline))
    print_summary(Console(markup=False, highlight=False), evaluation, result, files)
    for note in drawn.notes if drawn is not None else ():
        print(f"timeline: {note}", file=sys.stderr)


def _timeline_window(options: argparse.Namespace) -> Window | dict[str, int] | None:
    """The window of the timeline; its options checked before anything runs."""
    from sparcade.errors import ConfigError
    from sparcade.report.timeline import check_path, parse_window

    if options.timeline is not None:
        check_path(options.timeline)
    elif options.timeline_window is not None:
        raise ConfigError(
            "a window without a timeline",
            where=f"--timeline-window {options.timeline_window}",
            expected="--timeline FILE.json.gz beside it",
            got="no --timeline",
            remedy="--timeline timeline.json.gz",
        )
    return None if options.timeline_window is None else parse_window(options.timeline_window)
