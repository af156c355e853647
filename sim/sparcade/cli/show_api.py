"""`sparcade run --show-api`: the Python that does what the command would do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sparcade.cli.settings import split_settings

#: Options of `run` that the script reflects; a test holds that these are all.
REFLECTED = frozenset(
    (
        "target",
        "arch",
        "policy",
        "set",
        "energy",
        "power_window",
        "compare",
        "out",
        "events",
        "timeline",
        "timeline_window",
    )
)


def python_of(options: argparse.Namespace, *, policy: str | None, folder: Path, command: str) -> str:
    """A script of public names only.

    Parameters
    ----------
    policy : name of the policy; None for a workload, which holds its own.
    folder : of the report.
    command : that the page of the run shows.
    """
    arch_settings, policy_settings = split_settings(options.set)
    lines = [
        '"""What `sparcade run` does, in Python."""',
        "",
        "from pathlib import Path",
        "",
        "import sparcade",
        "",
        f"source = {_call('load_source', options.target)}",
        f"arch = {_call('load_arch', options.arch, arch_settings)}",
    ]
    arguments = ["source", "arch"]
    if policy is not None:
        lines.append(f"policy = {_call('load_policy', policy, policy_settings)}")
        arguments.append("policy=policy")
    if options.compare:
        lines.append(f"compare = {_call('load_policy', options.compare)}")
        arguments.append("compare=compare")
    lines.append(f"profile = {_call('load_profile', options.energy)}")
    arguments += ["profile=profile", f"window_cycles={options.power_window}"]
    arguments.append('log="events"' if options.events or options.timeline else 'log="excerpt"')
    lines += [
        f"evaluation = sparcade.evaluate({', '.join(arguments)})",
        "result = evaluation.to_dict()  # what result.json holds",
        f"trace = {'source' if policy is not None else None}",
        f"sparcade.write_report({_path(folder)}, evaluation, result, trace, command={command!r})",
    ]
    if options.events:
        lines.append(f"evaluation.events.save({_path(options.events)})")
    if options.timeline:
        window = f", sparcade.parse_window({options.timeline_window!r})" if options.timeline_window else ""
        lines.append(f"sparcade.timeline(evaluation.events{window}).save({_path(options.timeline)})")
    return "\n".join([*lines, 'print(f"{evaluation.run.cycles:,} cycles")', ""])


def _call(function: str, name: str, settings: Sequence[str] = ()) -> str:
    return f"sparcade.{function}({', '.join([repr(name), *([repr(list(settings))] if settings else [])])})"


def _path(path: Path) -> str:
    return f"Path({str(path)!r})"
