"""`python -m sparcade_workloads make NAME...`: make the bundled traces again from weights and texts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sparcade.errors import ConfigError, SparcadeError
from sparcade_workloads import TRACE_NAMES
from sparcade_workloads.extra import trace_extra


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    options = _parser().parse_args(argv)
    try:
        _make(options.names, options.models, options.texts, options.out)
    except SparcadeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _make(names: Sequence[str], models: Path, texts: Path, out: Path) -> None:
    for flag, folder in (("--models", models), ("--texts", texts)):
        if not folder.is_dir():
            raise ConfigError(
                "a folder is missing",
                where=f"{flag} {folder}",
                expected="an existing folder",
                got="no such folder",
                remedy=f"name the folder with the {flag.removeprefix('--')} (see the README of the bundled traces)",
            )
    with trace_extra("python -m sparcade_workloads make"):
        from sparcade_workloads.recipes import make  # PyTorch and Transformers take seconds to import
    for name in names:
        trace = make(name, models, texts, out)
        tokens = sum(len(sequence.tokens) for sequence in trace.manifest.sequences)
        sys.stdout.write(
            f"{name}: {tokens} tokens, {trace.stored_bytes()} bytes, "
            f"largest error {trace.manifest.stored_error:g}, {trace.content_hash[:12]}\n"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sparcade_workloads", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("make", help="capture traces from pretrained models")
    make.add_argument("names", nargs="+", choices=TRACE_NAMES, metavar="NAME", help=", ".join(TRACE_NAMES))
    make.add_argument("--models", type=Path, required=True, metavar="DIR", help="holds the model folders")
    make.add_argument("--texts", type=Path, required=True, metavar="DIR", help="holds the two novels")
    make.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent / "traces",
        metavar="DIR",
        help="gets one folder per trace (default: the package's own)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
