"""The command line. Commands import their work when they run, so that `--help` stays light."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from sparcade.cli import (
    ablate,
    accuracy,
    baselines,
    diff,
    docs,
    doctor,
    dram,
    e2e,
    paper,
    report,
    rtl,
    run,
    sweep,
    trace,
    validate,
    workload,
)
from sparcade.errors import SparcadeError
from sparcade.version import MODEL_VERSION, PACKAGE_VERSION

#: In the order of `--help`.
_COMMANDS = (
    run,
    ablate,
    baselines,
    e2e,
    paper,
    accuracy,
    sweep,
    report,
    diff,
    trace,
    workload,
    dram,
    validate,
    rtl,
    doctor,
    docs,
)

#: Page of docs/ that helps with a command, where the error has none of its own.
_PAGES = {
    "run": "change-the-hardware",
    "ablate": "ablation",
    "baselines": "baselines",
    "e2e": "e2e",
    "paper": "paper",
    "accuracy": "accuracy",
    "sweep": "sweeps",
    "report": "reports",
    "diff": "diff",
    "trace": "traces",
    "workload": "workloads",
    "dram": "dram",
    "validate": "accuracy-of-sparcade",
    "rtl": "use-the-rtl",
    "doctor": "doctor",
    "docs": "README",
}


def _refused(error: OSError) -> SparcadeError:
    return SparcadeError(
        "the file system refused",
        where=str(error.filename or "a file"),
        expected="a path that can be read, or written to",
        got=error.strerror or str(error),
        remedy="check the path and its permissions",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit code 0, 1 for a comparison that failed, or 2 for bad input (one error, no traceback)."""
    parser = argparse.ArgumentParser(
        prog="sparcade",
        description="SpAtten-style sparse attention: a model and a pruning policy in, cycles, DRAM and energy out.",
    )
    parser.add_argument("--version", action="version", version=f"sparcade {PACKAGE_VERSION}, model {MODEL_VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_parser(commands)
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without µ prints a question mark
    try:
        return int(options.function(options) or 0)
    except SparcadeError as error:
        if error.page == SparcadeError.page:
            error.page = _PAGES[options.command]
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {_refused(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing half-written", file=sys.stderr)
        return 130
