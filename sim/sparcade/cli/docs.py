"""`sparcade docs`: the pages of the documentation, where the package is installed."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "docs", help="print a page of the documentation", description="Print a page, or the list of pages."
    )
    parser.add_argument("page", nargs="?", help="its name, such as policies; without it: the list")
    parser.set_defaults(function=docs)


def docs(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from sparcade.pages import page_names, page_title, read_page

    if options.page:
        sys.stdout.write(read_page(options.page))
        return
    names = page_names()
    width = max(map(len, names), default=0)
    for name in names:
        print(f"{name:<{width}}  {page_title(name)}")
