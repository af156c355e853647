"""`sparcade report`: what a folder of results says, as a page, a short text, tables and pictures."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparcade.report.formats import Report
    from sparcade.report.kinds import Kind

_FORMATS = ("html", "md", "csv", "json", "parquet", "png")
_BINARY = ("parquet", "png")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="the report of a run, sweep, accuracy or analysis, made again from its folder",
        description="Make the report of a run, a sweep, a measured accuracy or an analysis from its folder alone, as "
        "one HTML page, or in another format (docs/reports.md).",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder of one of them, or its JSON file")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="the page (default: report.html beside the results), or the file of --format; for a sweep without "
        "--format the folder of the report (default: PATH/report)",
    )
    parser.add_argument(
        "--format", choices=_FORMATS, help="only this, to --out or to standard output: page, short text, table, picture"
    )
    parser.add_argument(
        "--accuracy",
        type=Path,
        metavar="FOLDER",
        help="of 'sparcade accuracy': copy its accuracy.json into the run's folder, for this page and later ones",
    )
    parser.set_defaults(function=report)


def report(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from sparcade._files import new_file
    from sparcade.report.folder import PAGE
    from sparcade.report.kinds import source_of

    kind, source = source_of(options.path)
    if options.accuracy:
        _add_accuracy(options, kind, source)
    if options.format:
        _write_one(_read(kind, source), options)
    elif kind == "sweep":
        _write_sweep(source.parent, options.out)
    else:
        found = _read(kind, source)
        whole = source.name == _marker(kind)
        path = options.out or (source.with_name(PAGE) if whole else source.with_suffix(".html"))
        with new_file(path) as fresh:
            fresh.write_text(found.page(), encoding="utf-8")
        print(path)


def _marker(kind: Kind) -> str:
    from sparcade.report.kinds import MARKERS

    return MARKERS[kind]


def _read(kind: Kind, source: Path) -> Report:
    from sparcade.report.accuracy_report import read_accuracy
    from sparcade.report.analysis_folder import read_analysis
    from sparcade.report.run_report import read_run
    from sparcade.report.sweep_folder import SweepPages
    from sparcade.report.sweep_report import read_report

    if kind == "sweep":
        return SweepPages(read_report(source.parent))
    if kind == "run":
        return read_run(source)
    return read_accuracy(source) if kind == "accuracy" else read_analysis(source)


def _write_sweep(folder: Path, out: Path | None) -> None:
    from sparcade.report.sweep_folder import PAGE, check_sweep_report, write_sweep_report
    from sparcade.report.sweep_report import read_report
    from sparcade.report.sweep_terminal import summary

    out = out or folder / "report"
    check_sweep_report(out)
    found = read_report(folder)
    write_sweep_report(found, out)
    print(*summary(found), f"the whole report: {out / PAGE}", sep="\n")


def _add_accuracy(options: argparse.Namespace, kind: Kind, source: Path) -> None:
    """Copy a measurement into the folder of a run."""
    from sparcade._files import new_file
    from sparcade.errors import ConfigError
    from sparcade.report.accuracy_report import RESULT, read_accuracy

    if kind != "run" or source.name != _marker(kind):
        raise ConfigError(
            "only the page of a run takes a measured accuracy",
            where=f"--accuracy {options.accuracy}",
            expected="the folder of a run",
            got=f"{options.path}, of kind {kind!r}",
            remedy="sparcade report RUN --accuracy FOLDER",
        )
    given = options.accuracy / RESULT if options.accuracy.is_dir() else options.accuracy
    read_accuracy(given)
    with new_file(source.with_name(RESULT)) as fresh:
        fresh.write_bytes(given.read_bytes())


def _write_one(found: Report, options: argparse.Namespace) -> None:
    from sparcade._files import new_file
    from sparcade.errors import ConfigError
    from sparcade.report.formats import write_format

    if options.out:
        with new_file(options.out) as fresh:
            write_format(found, options.format, fresh)
        return
    if options.format in _BINARY and sys.stdout.isatty():
        raise ConfigError(
            "this is no text for a terminal",
            where=f"--format {options.format}",
            expected="--out FILE, or a pipe",
            got="a terminal",
            remedy=f"--out report.{options.format}",
        )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "report"
        write_format(found, options.format, path)
        sys.stdout.flush()
        sys.stdout.buffer.write(path.read_bytes())
