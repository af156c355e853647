"""Fig. 20: what each feature brings on GPT-2, one added after the other."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from sparcade.paper.benchmarks import GPT2, TITAN_MS, size_of
from sparcade.paper.comparison import Row, Table, assumed, beyond, chosen, geomean, ratio
from sparcade.paper.figures import draw_bars
from sparcade.paper.published import number
from sparcade.paper.runs import Measured, Runs, Task, task_of

STEPS = ("datapath", "token-pruning", "head-pruning", "topk-engine", "static-quantization", "")
FACTOR = 0.15
_NAMES = {
    "token-pruning": "factor_token_pruning",
    "head-pruning": "factor_head_pruning",
    "topk-engine": "factor_topk_engine",
    "static-quantization": "factor_static_quantization",
    "": "factor_progressive_quantization_extra",
}
_REASONS = {
    "token-pruning": "one comparator: local V top-k bounds the pruned run; what pruning saves, the engine loses",
    "head-pruning": "fewer heads, fewer selections",
    "topk-engine": "16 comparators over one where the one bounds the run; beyond, DRAM does with 32-bit words",
    "static-quantization": "32-bit words to 12: DRAM falls 2.67 times, then local V top-k bounds the run",
    "": "12 bits to 8 + 4: local V top-k bounds the run, so that fewer bits hardly shorten it",
}
_SCHEDULES = "token and head schedules of seven of eight sets were chosen for published reductions"


def tasks() -> list[Task]:
    """Every step of every GPT-2 benchmark; the last one is the benchmark itself."""
    return [_task(name, step) for name in GPT2 for step in STEPS]


def _task(name: str, step: str) -> Task:
    """Dense runs of a model are one: they depend on its shape and the contexts alone."""
    return task_of(f"gpt2-{size_of(name)}-wikitext2" if step == "datapath" else name, step=step)


def breakdown_table(runs: Runs) -> Table:
    """Speedups over the paper's GPU, and the factors between steps."""
    speedups = {step: geomean([_over_titan(name, _run(runs, name, step)) for name in GPT2]) for step in STEPS}
    factors = {step: ratio(speedups[step], speedups[before]) for before, step in pairwise(STEPS)}
    baseline = "over the paper's TITAN Xp (366.7 ms; 178 ms, derived); geometric mean of the eight GPT-2 benchmarks"
    rows: list[Row] = [
        beyond(number("Fig. 20", "gpu_baseline"), "the baseline itself"),
        assumed(number("Fig. 20", "dedicated_datapath"), speedups["datapath"], baseline),
        assumed(number("Fig. 20", "plus_cascade_pruning_and_topk"), speedups["topk-engine"], baseline),
        assumed(number("Fig. 20", "plus_progressive_quantization"), speedups[""], baseline),
    ]
    rows += [
        chosen(number("Fig. 20", name), factors[step], tolerance=FACTOR, why=f"{_REASONS[step]}; {_SCHEDULES}")
        for step, name in _NAMES.items()
    ]
    rows += [
        chosen(
            number("Fig. 20", "factor_pruning_total"),
            ratio(speedups["topk-engine"], speedups["datapath"]),
            tolerance=FACTOR,
            why=f"pruning and the parallel engine together, words of 32 bits; {_SCHEDULES}",
        ),
        chosen(
            number("Fig. 20", "factor_quant_total"),
            ratio(speedups[""], speedups["topk-engine"]),
            tolerance=FACTOR,
            why=f"the two steps err in opposite directions; {_SCHEDULES}",
        ),
    ]
    return Table(
        key="fig20",
        title="Fig. 20: what each feature brings",
        rows=tuple(rows),
        notes=(
            "Every step is a run of its own (`sparcade ablate`): dense with 32-bit words, then token and local V "
            "pruning with a top-k engine of one comparator, head pruning, 16 comparators, words of 12 bits, 8 + 4 bits "
            "with refetches. The factors between our steps are ours alone; the speedups rest on the paper's GPU.",
        ),
        draw=partial(draw_bars, rows=tuple(row for row in rows if row.name.startswith("factor")), label="factor [x]"),
    )


def _run(runs: Runs, name: str, step: str) -> Measured | None:
    task = _task(name, step)
    return runs.find(task.workload, task.arch, step=step)


def _over_titan(name: str, run: Measured | None) -> float | None:
    titan = number(*TITAN_MS[size_of(name)]).amount
    return None if run is None else titan * 1e6 / run.cycles
