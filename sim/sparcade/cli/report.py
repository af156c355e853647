"""`sparcade report`: what a folder of results says, as a page, pictures and tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparcade.report.sweep_report import SweepReport


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="the results of a sweep: Pareto front, main effects, best points and how to rerun them",
        description="Report the results of a sweep as one HTML page with its pictures and tables (docs/sweeps.md).",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a sweep's folder")
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="folder of the report (default: FOLDER/report); a file with --format"
    )
    parser.add_argument(
        "--format",
        choices=("html", "csv", "png"),
        help="only the page, all points, or the picture of the front: to --out, or to standard output",
    )
    parser.set_defaults(function=report)


def report(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from sparcade.report.kinds import already_reported, kind_of
    from sparcade.report.sweep_folder import PAGE, check_sweep_report, write_sweep_report
    from sparcade.report.sweep_report import read_report
    from sparcade.report.sweep_terminal import summary

    if kind_of(options.folder) == "run":
        raise already_reported(options.folder)
    if options.format:
        _write_one(read_report(options.folder), options)
        return
    out = options.out or options.folder / "report"
    check_sweep_report(out)
    found = read_report(options.folder)
    write_sweep_report(found, out)
    print(*summary(found), f"the whole report: {out / PAGE}", sep="\n")


def _write_one(found: SweepReport, options: argparse.Namespace) -> None:
    from sparcade._files import new_file
    from sparcade.errors import ConfigError
    from sparcade.report.sweep_folder import write_format

    if options.out:
        with new_file(options.out) as fresh:
            write_format(found, options.format, fresh)
        return
    if options.format == "png" and sys.stdout.isatty():
        raise ConfigError(
            "a picture is no text for a terminal",
            where="--format png",
            expected="--out FILE, or a pipe",
            got="a terminal",
            remedy="--out pareto.png",
        )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "report"
        write_format(found, options.format, path)
        sys.stdout.flush()
        sys.stdout.buffer.write(path.read_bytes())
