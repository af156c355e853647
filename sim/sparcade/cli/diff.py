"""`sparcade diff`: what changed between two runs, and where."""

from __future__ import annotations

import argparse
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*%", re.ASCII)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="what changed between two runs: settings, then layers, modules, DRAM traffic and energy, largest first",
        description="Explain what changed from run A to run B (docs/diff.md). Both may be of other settings, workloads "
        "or versions of sparcade. Exit code 1 with --fail-above when a headline moved by more.",
    )
    parser.add_argument("a", metavar="A", help="folder of a run, or its result.json")
    parser.add_argument("b", metavar="B", help="the same, of the other run")
    parser.add_argument(
        "--fail-above",
        metavar="N%",
        help="exit with 1 when cycles, DRAM bytes or energy (time too where the clocks differ) of a phase or in total "
        "moved by more, up or down",
    )
    parser.add_argument("--format", choices=("text", "md", "json"), default="text", help="default: text")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to standard output")
    parser.set_defaults(function=diff)


def diff(options: argparse.Namespace) -> int:
    """Carry out the command."""
    from sparcade._files import new_file
    from sparcade.report.diff import diff as explain
    from sparcade.report.diff_text import as_json, as_markdown, as_text, headline_text

    limit = None if options.fail_above is None else _share(options.fail_above)
    found = explain(options.a, options.b)
    text = {"text": as_text, "md": as_markdown, "json": as_json}[options.format](found)
    if options.out:
        with new_file(options.out) as fresh:
            fresh.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    beyond = () if limit is None else found.beyond(limit)
    if beyond:
        moved = ", ".join(headline_text(move) for move in beyond)
        print(f"moved by more than {options.fail_above}: {moved}", file=sys.stderr)
    return 1 if beyond else 0


def _share(text: str) -> Fraction:
    """A percentage as an exact share."""
    from sparcade.errors import ConfigError

    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            "the limit is no percentage",
            where=f"--fail-above {text}",
            expected="a number that is not negative, with a % sign",
            got=repr(text),
            remedy="--fail-above 1%",
        )
    return Fraction(found[1]) / 100
