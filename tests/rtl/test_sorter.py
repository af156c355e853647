"""The sorter: values and order of a stable sort, for every stall; cycles of the closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pysim import EngineRun, Ints, run_engine
from sparcade.errors import ConfigError
from sparcade.topk import TopKParams
from sparcade.topk.sorter import alone_cycles, two_lists_cycles
from sparcade_rtl.batcher_sorter import BatcherSorter
from sparcade_rtl.bench.lists import draw_lists
from sparcade_rtl.verilog import generate_sorter

SHAPES = [
    TopKParams(lanes=4, input_width=4, score_bits=6, capacity=64, index_bits=6),
    TopKParams(lanes=4, input_width=8, score_bits=32, capacity=32, index_bits=6),
    TopKParams(lanes=2, input_width=1, score_bits=63, capacity=32, index_bits=6),
    TopKParams(lanes=1, input_width=2, score_bits=4, capacity=64, index_bits=6),
    TopKParams(lanes=1, input_width=1, score_bits=1, capacity=32, index_bits=6),
    TopKParams(lanes=8, input_width=4, score_bits=5, capacity=16, index_bits=6),
]
#: Its longest lists take longer in and out than to sort.
MANY_LANES = TopKParams(lanes=16, input_width=1, score_bits=5, capacity=64, index_bits=6)


def name(params: TopKParams) -> str:
    return f"{params.lanes}x{params.input_width}"


def sorts(run: EngineRun, params: TopKParams, lists: list[tuple[Ints, int]]) -> bool:
    """Each list came out in full beats, as its min(k, n) largest in descending order, ties in order of arrival."""
    orders = [np.lexsort((np.arange(len(scores)), -scores))[:k].tolist() for scores, k in lists]
    beats = []
    for order in orders:
        full = [(params.input_width, False)] * max(0, (len(order) - 1) // params.input_width)
        beats += [*full, (len(order) - len(full) * params.input_width, True)]
    return (
        run.kept == orders
        and run.scores == [scores[order].tolist() for (scores, _), order in zip(lists, orders, strict=True)]
        and [(count, last) for _, count, last in run.outputs] == beats
    )


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.3, 0.4), (0.0, 0.9)])
@pytest.mark.parametrize("params", SHAPES, ids=name)
def test_lists_come_out_sorted(params: TopKParams, stalls: tuple[float, float]) -> None:
    lists = draw_lists(params, 25, seed=params.lanes)
    assert sorts(run_engine(BatcherSorter, params, lists, seed=7, stalls=stalls), params, lists)


def test_every_size_and_k() -> None:
    params, rng = SHAPES[0], np.random.default_rng(5)
    lists = [(rng.integers(0, 8, n), int(rng.integers(0, n + 1))) for n in range(1, params.capacity + 1)]
    lists += [(rng.integers(0, 8, 9), k) for k in range(11)]
    assert sorts(run_engine(BatcherSorter, params, lists, seed=1), params, lists)


def test_sixteen_lanes() -> None:
    params = TopKParams(lanes=16, input_width=8, score_bits=12, capacity=256)
    lists = [(np.random.default_rng(n).integers(0, 64, n), k) for n, k in ((256, 128), (200, 200), (33, 5))]
    run = run_engine(BatcherSorter, params, lists, seed=1)
    assert sorts(run, params, lists)
    assert ends_alone(run, params, 256) == alone_cycles(params, 256, 128)


def ends_alone(run: EngineRun, params: TopKParams, n: int) -> tuple[int, int]:
    """Cycles from the last element of the first list, of n, to its first and its last row."""
    taken = run.elements[-(-n // params.input_width) - 1]
    return run.outputs[0][0] - taken, next(cycle for cycle, _, last in run.outputs if last) - taken


@pytest.mark.parametrize("params", [*SHAPES, MANY_LANES], ids=name)
def test_cycles_are_those_of_the_closed_forms(params: TopKParams) -> None:
    """Of a list alone; and of two, once the banks take turns."""
    most = params.capacity
    for n, k in ((1, 1), (most // 4, 0), (most // 2 + 1, most // 3), (most, most)):
        lists = [(np.random.default_rng(n).integers(0, 2, n), k)] * 6
        run = run_engine(BatcherSorter, params, lists, seed=1)
        assert ends_alone(run, params, n) == alone_cycles(params, n, k), (n, k)
        ends = [cycle for cycle, _, last in run.outputs if last]
        assert ends[4] - ends[2] == ends[5] - ends[3] == two_lists_cycles(params, n, k), (n, k)


@pytest.mark.parametrize("cycles", [1, 9, 26, 60, 133, 250])
def test_a_reset_at_any_time_empties_the_sorter(cycles: int) -> None:
    params = SHAPES[0]
    lists = draw_lists(params, 8, seed=3)
    run = run_engine(BatcherSorter, params, lists, seed=cycles, stalls=(0.1, 0.2), reset_after=cycles)
    assert sorts(run, params, lists)


def test_verilog_is_the_same_every_time_and_names_no_path() -> None:
    params = TopKParams(lanes=2, input_width=2, capacity=16)
    text = generate_sorter(params)
    assert text == generate_sorter(params)
    assert "module sorter(" in text and str(Path.cwd()) not in text and ".py" not in text


@pytest.mark.parametrize("change", [{"lanes": 3}, {"input_width": 8}, {"capacity": 48}])
def test_shapes_without_rtl_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="no RTL of this top-k engine") as caught:
        generate_sorter(TopKParams(**{"lanes": 2, "input_width": 2, "capacity": 64} | change))  # type: ignore[arg-type]
    assert next(iter(change)) in str(caught.value)
