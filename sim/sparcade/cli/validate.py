"""`sparcade validate`: compare the models with reference runs, and command logs with the rules."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("validate", help="compare with reference runs; check command logs")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    dram = verbs.add_parser(
        "dram", help="request streams with an established DRAM simulator's results and command logs"
    )
    dram.add_argument("folder", type=Path, help="folder with index.json, traces/ and cmdlogs/")
    dram.set_defaults(function=validate_dram)
    rtl = verbs.add_parser("rtl", help="the accelerator with cycle counts measured on the released RTL")
    rtl.add_argument("folder", type=Path, help="folder with results.csv, cases/ and responses/")
    rtl.add_argument("--cases", default="", metavar="PREFIX", help="only cases whose name begins so")
    rtl.add_argument("--most-requests", type=int, default=1 << 40, metavar="N", help="only cases of at most N requests")
    rtl.set_defaults(function=validate_rtl)
    commands_verb = verbs.add_parser("commands", help="check a DRAM command log against a device's timing rules")
    commands_verb.add_argument("log", type=Path, help="CSV as 'sparcade dram --commands' writes it, plain or gzip")
    commands_verb.add_argument("--preset", default="hbm2", help="device preset or TOML file (default: hbm2)")
    commands_verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a device setting"
    )
    commands_verb.set_defaults(function=validate_commands)


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


def validate_rtl(options: argparse.Namespace) -> int:
    """Print a line per case; 1 when one is out of tolerance."""
    from collections import Counter

    from sparcade.accelerator.reference import RETRY_CYCLES, TOLERANCE, compare

    counts = {memory: Counter[str]() for memory in TOLERANCE}
    for case in compare(options.folder, options.cases, options.most_requests):
        listed, good = len(case.responses), case.responses_within
        verdict = "exact" if case.difference == 0 else "within" if case.within else "OUT OF TOLERANCE"
        counts[case.memory].update(cases=1, exact=case.difference == 0, within=case.within)
        counts[case.memory].update(listed=listed, responses=good, accepted=case.accepted_exactly)
        print(
            f"{case.case:32} {case.arch:22} {case.memory:13} RTL {case.rtl_cycles:>10,}  model {case.cycles:>10,}"
            f"  {case.difference:+8,} {case.difference / case.rtl_cycles:+8.3%}  {verdict};"
            f" accepted exactly {case.accepted_exactly}/{listed}, responses within {good}/{listed}",
            flush=True,
        )
    for memory, count in counts.items():
        print(
            f"{memory}: {count['within']}/{count['cases']} within {TOLERANCE[memory]:.0%} or {RETRY_CYCLES} cycles,"
            f" {count['exact']} exact; of {count['listed']} requests {count['accepted']} accepted exactly,"
            f" {count['responses']} responses within"
        )
    return int(any(count["within"] < count["cases"] for count in counts.values()))


def validate_commands(options: argparse.Namespace) -> int:
    """Print every violation of a command log; 1 when there is one."""
    from sparcade.dram import load_device
    from sparcade.dram.check import LogEntry, read_command_log, violations

    device = load_device(options.preset, options.set)
    commands = count = 0

    def counted() -> Iterator[LogEntry]:
        nonlocal commands
        for entry in read_command_log(options.log, device):
            commands += 1
            yield entry

    for violation in violations(counted(), device):
        print(violation)
        count += 1
    print(f"{commands:,} commands, {count:,} violations")
    return int(count > 0)
