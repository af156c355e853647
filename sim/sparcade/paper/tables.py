"""Which runs there are, and the tables made from them."""

from __future__ import annotations

from sparcade.paper import breakdown_table, rivals_table, speed_tables, topk_tables
from sparcade.paper.accuracy_table import accuracy_table
from sparcade.paper.comparison import Table
from sparcade.paper.design_table import design_table
from sparcade.paper.end_to_end_table import end_to_end_tables
from sparcade.paper.headline_tables import dram_table, rate_table
from sparcade.paper.other_tables import other_table
from sparcade.paper.power_table import power_table
from sparcade.paper.runs import Runs, Task
from sparcade.paper.speed_tables import benchmark_table, latency_table, speedup_table
from sparcade.paper.topk_tables import engine_table, topk_table

#: Names of the tables' files, in the order of the page.
KEYS = (
    "latency",
    "engine",
    "dram",
    "fig18",
    "fig19",
    "fig20",
    "table4",
    "fig15",
    "fig14",
    "table2",
    "table3",
    "fig21",
    "table1",
    "others",
    "benchmarks",
)
#: What --quick leaves out, for the page.
QUICK = "GPT-2-Medium, the steps of Fig. 20, and what stands beside them in Table III"


def all_tasks(*, quick: bool = False) -> list[Task]:
    """Every run that some table reads."""
    tasks = [
        *speed_tables.tasks(),
        *topk_tables.tasks(),
        *breakdown_table.tasks(),
        *rivals_table.tasks(),
    ]
    return [task for task in tasks if not quick or not _is_long(task)]


def _is_long(task: Task) -> bool:
    return task.workload.startswith("gpt2-medium") or bool(task.step) or task.arch == rivals_table.EIGHTH


def all_tables(runs: Runs) -> list[Table]:
    """The tables in the order of the page."""
    return [
        latency_table(runs),
        engine_table(runs),
        dram_table(runs),
        rate_table(runs),
        topk_table(runs),
        breakdown_table.breakdown_table(runs),
        *end_to_end_tables(runs),
        speedup_table(runs),
        power_table(runs),
        rivals_table.rivals_table(runs),
        accuracy_table(),
        design_table(),
        other_table(),
        benchmark_table(runs),
    ]
