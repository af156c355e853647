"""`sparcade paper`: every published number beside ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "paper",
        help="put our runs of the 30 benchmarks beside every number that SpAtten published",
        description="Run the 30 benchmarks, put every number that SpAtten (HPCA 2021) published beside ours: tables, "
        "figures, a page.",
    )
    parser.add_argument("--quick", action="store_true", help="leave out GPT-2-Medium and the steps of Fig. 20")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument(
        "--out", type=Path, default=Path("reports/paper"), metavar="DIR", help="(default: reports/paper)"
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from rich.console import Console

    from sparcade.cli.progress import Stages
    from sparcade.errors import ConfigError
    from sparcade.paper.folder import check_folder, write_folder
    from sparcade.paper.make import make_page
    from sparcade.report.paper_terminal import print_paper

    if not 1 <= options.workers <= 1024:
        raise ConfigError(
            "there is no such number of workers",
            where=f"--workers {options.workers}",
            expected="1 to 1024",
            got=str(options.workers),
            remedy="as many as processors",
        )
    check_folder(options.out)
    with Stages() as stages:
        page = make_page(
            quick=options.quick, workers=options.workers, progress=lambda fraction: stages.step("simulate", fraction)
        )
        stages.step("pictures", 0.0)
        files = write_folder(options.out, page)
    print_paper(Console(markup=False, highlight=False), page, files)
