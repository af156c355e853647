"""Runs, tables and page in one."""

from __future__ import annotations

from collections.abc import Callable

from sparcade.paper.checks import fixed_checks
from sparcade.paper.page import Page
from sparcade.paper.rivals_table import TRACES
from sparcade.paper.runs import measure_all
from sparcade.paper.tables import QUICK, all_tables, all_tasks


def make_page(*, quick: bool, workers: int, progress: Callable[[float], None] = lambda fraction: None) -> Page:
    """Run what the tables need, each once, and make them.

    Parameters
    ----------
    quick : leave out the long runs; what needs them is classed as left out.
    progress : called with the fraction of the runs done.
    """
    runs = measure_all(all_tasks(quick=quick), workers=workers, traces=() if quick else TRACES, progress=progress)
    tables = all_tables(runs)
    return Page(tables=tables, checks=fixed_checks(tables), left_out=QUICK if quick else "")
