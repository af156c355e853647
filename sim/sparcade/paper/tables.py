"""Which runs there are, and the tables made from them."""

from __future__ import annotations

from sparcade.paper import speed_tables, topk_tables
from sparcade.paper.accuracy_table import accuracy_table
from sparcade.paper.comparison import Table
from sparcade.paper.design_table import design_table
from sparcade.paper.headline_tables import dram_table, rate_table
from sparcade.paper.other_tables import other_table
from sparcade.paper.runs import Runs, Task
from sparcade.paper.speed_tables import benchmark_table, latency_table, speedup_table
from sparcade.paper.topk_tables import engine_table, topk_table

#: What --quick leaves out, for the page.
QUICK = "GPT-2-Medium and the dense GPT-2 runs"


def all_tasks(*, quick: bool = False) -> list[Task]:
    """Every run that some table reads."""
    tasks = [*speed_tables.tasks(), *topk_tables.tasks()]
    return [task for task in tasks if not quick or not task.workload.startswith(("gpt2-medium", "gpt2-small-dense"))]


def all_tables(runs: Runs) -> list[Table]:
    """The tables in the order of the page."""
    return [
        latency_table(runs),
        engine_table(runs),
        dram_table(runs),
        rate_table(runs),
        topk_table(runs),
        speedup_table(runs),
        accuracy_table(),
        design_table(),
        other_table(),
        benchmark_table(runs),
    ]
