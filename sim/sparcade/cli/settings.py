"""Options that several commands share: `--set`, and the default name of a report's folder."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

_POLICY = "policy."


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add what `load_workload` and `load_arch` take: a target, its policy, an arch, and `--set`."""
    parser.add_argument("target", help="as for 'sparcade run': trace, benchmark, or workload file")
    parser.add_argument("--arch", default="spatten", help="arch preset or TOML file (default: spatten)")
    parser.add_argument("--policy", help="policy preset, TOML file, or FILE.py:Class (default: by kind of model)")
    add_set_option(parser)


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """Add `--set KEY=VALUE` for settings of the arch and of the policy."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change an arch setting (dram.channels=8) or a policy setting (policy.tokens.end=0.5); repeatable",
    )


def split_settings(settings: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings of the arch, and those of the policy without "policy." in front."""
    arch = [setting for setting in settings if not setting.startswith(_POLICY)]
    return arch, [setting.removeprefix(_POLICY) for setting in settings if setting.startswith(_POLICY)]


def report_folder(*names: str) -> Path:
    """The folder under reports/ that is named after the parts of a run."""
    return Path("reports") / re.sub(r"[^\w.-]+", "_", "-".join(names))
