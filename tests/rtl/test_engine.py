"""The engine: values, order and cycles equal the model, for every stall; planted faults are seen."""

from __future__ import annotations

import importlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from pysim import run_engine
from sparcade.cli import main
from sparcade.errors import ConfigError
from sparcade.topk import TopKParams, select
from sparcade.topk.cycles import alone_cycles, engine_cycles, interval_cycles
from sparcade.topk.lists import describe
from sparcade_rtl.bench.lists import draw_lists
from sparcade_rtl.bench.vcd import read_signals
from sparcade_rtl.formal.mutants import MUTANTS, planted
from sparcade_rtl.top_k_engine import TopKEngine
from sparcade_rtl.verilog import generate

SHAPES = [
    TopKParams(lanes=16, input_width=8, score_bits=12, capacity=128),
    TopKParams(lanes=8, input_width=8, score_bits=32, capacity=64),
    TopKParams(lanes=2, input_width=8, score_bits=6, capacity=48),
    TopKParams(lanes=32, input_width=4, score_bits=5, capacity=64),
    TopKParams(lanes=1, input_width=1, score_bits=4, capacity=16),
    TopKParams(engine="radix-select", lanes=16, input_width=8, score_bits=12, capacity=128),
    TopKParams(engine="radix-select", lanes=4, input_width=8, score_bits=7, radix_bits=3, capacity=64),
    TopKParams(engine="radix-select", lanes=8, input_width=2, score_bits=4, radix_bits=4, capacity=40),
]


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.3, 0.4), (0.0, 0.7)])
@pytest.mark.parametrize("params", SHAPES, ids=lambda params: f"{params.engine}-{params.lanes}x{params.input_width}")
def test_values_order_and_cycles_equal_the_model(params: TopKParams, stalls: tuple[float, float]) -> None:
    lists = draw_lists(params, 25, seed=params.lanes)
    run = run_engine(TopKEngine, params, lists, seed=7, stalls=stalls)
    assert run.kept == [select(scores, k, params.score_bits).kept.tolist() for scores, k in lists]
    assert run.equals(run.model(params, lists))


@pytest.mark.parametrize("params", SHAPES, ids=lambda params: f"{params.engine}-{params.lanes}x{params.input_width}")
def test_occupancy_is_that_of_the_registers(params: TopKParams, tmp_path: Path) -> None:
    lists = draw_lists(params, 12, seed=2)
    run = run_engine(TopKEngine, params, lists, seed=4, stalls=(0.2, 0.3), dump=tmp_path / "engine.vcd")
    model = run.model(params, lists).occupancy
    named = {
        "select.lists.used": model.list_rows,
        "delay.level": model.fifo_beats,
        "select.left": model.left,
        "select.turn": model.turn,
        "filter.pack.count": model.held,
        "filter.pack.o__valid": model.output,
    }
    for name, values in read_signals(tmp_path / "engine.vcd", named).items():
        if name in named:
            assert values[: len(model)] == named[name].tolist(), name


@pytest.mark.parametrize("cycles", [1, 9, 26, 40, 77, 150])
def test_a_reset_at_any_time_empties_the_engine(cycles: int) -> None:
    """After it, the engine is as the model's, which begins empty."""
    params = SHAPES[0]
    lists = draw_lists(params, 12, seed=3)
    run = run_engine(TopKEngine, params, lists, seed=cycles, stalls=(0.1, 0.2), reset_after=cycles)
    assert run.kept == [select(scores, k, params.score_bits).kept.tolist() for scores, k in lists]
    assert run.equals(run.model(params, lists))


@pytest.mark.parametrize("engine", ["quick-select", "radix-select"])
def test_valid_does_not_depend_on_ready(engine: Any) -> None:
    """In every cycle of a run, the output offers the same whether it is taken or not."""
    params = replace(SHAPES[1], engine=engine)
    dut, rng, offered = TopKEngine(params), random.Random(2), 0

    async def bench(ctx: Any) -> None:
        nonlocal offered
        for _ in range(400):
            size = rng.randint(1, 20)
            ctx.set(dut.requests.p.size, size)
            ctx.set(dut.requests.p.k, rng.randint(0, size))
            for place in range(params.input_width):
                ctx.set(dut.elements.p[place].score, rng.getrandbits(params.score_bits))
            ctx.set(dut.requests.valid, 1)
            ctx.set(dut.elements.valid, 1)
            offers = []
            for ready in (0, 1, rng.getrandbits(1)):
                ctx.set(dut.o.ready, ready)
                offers.append((ctx.get(dut.o.valid), ctx.get(dut.o.payload.as_value())))
            assert len(set(offers)) == 1
            offered += offers[0][0]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert offered > 20


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_faults_are_seen_in_simulation(name: str) -> None:
    proof = MUTANTS[name].proof
    params = TopKParams(lanes=4, input_width=4, score_bits=4, radix_bits=2, capacity=32)
    if proof == "radix-select" or "list buffer" in proof:
        params = replace(params, engine="radix-select")
    lists = draw_lists(params, 30, seed=11)
    if "list buffer" in proof:  # rows of several beats; a list that does not fit behind the one before
        params = replace(params, lanes=8, input_width=1, capacity=16)
        lists = [(np.arange(n) % 13, n // 2) for n in (2, 13, 3, 12, 2, 14, 9, 9)]
    with planted(name) as package:
        engine = importlib.import_module(f"{package}.top_k_engine").TopKEngine
        run = run_engine(engine, params, lists, seed=5, stalls=(0.2, 0.4), most=4000)
    wrong = run.kept != [select(scores, k, params.score_bits).kept.tolist() for scores, k in lists]
    assert wrong or not run.equals(run.model(params, lists))


@pytest.mark.parametrize("engine", ["quick-select", "radix-select"])
@pytest.mark.parametrize("lanes", [1, 4, 16, 64])
def test_closed_forms_are_those_of_the_cycles(engine: Any, lanes: int) -> None:
    """A list alone, and the interval of short lists back to back."""
    params = TopKParams(engine=engine, lanes=lanes)
    rng = np.random.default_rng(lanes)
    for n, k in [(1, 1), (2, 1), (8, 3), (9, 9), (100, 0), (100, 33), (993, 500), (1000, 1), (1024, 512)]:
        lists = describe(params, [(rng.integers(0, 4096, n), k)])
        trace = engine_cycles(params, lists)
        want = alone_cycles(params, lists.sizes, lists.pass_sizes, lists.offsets)[0]
        assert trace.outputs[-1] - trace.elements[0] + 1 in (want, want + 1), (n, k)
    scores = rng.integers(0, 4096, 200)
    lists = describe(params, [(scores, 60)] * 8)
    trace = engine_cycles(params, lists)
    ends = trace.outputs[trace.last]
    assert (np.diff(ends)[2:] == interval_cycles(params, lists.sizes, lists.pass_sizes, lists.offsets)[3:]).all()


@pytest.mark.parametrize("engine", ["quick-select", "radix-select", "batcher-sorter"])
def test_verilog_is_the_same_every_time_and_names_no_path(engine: str, tmp_path: Path) -> None:
    first, second = tmp_path / "a.v", tmp_path / "b.v"
    for path in (first, second):
        assert main(["rtl", "generate", "--engine", engine, "--lanes", "4", "--capacity", "64", "-o", str(path)]) == 0
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    assert "elements__payload" in text and "$signal" not in text
    assert str(Path.cwd()) not in text and ".py" not in text


@pytest.mark.parametrize(
    "change", [{"lanes": 3}, {"input_width": 128}, {"capacity": 16}, {"engine": "released-serial"}]
)
def test_shapes_without_rtl_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="no RTL of this top-k engine") as caught:
        generate(TopKParams(**{"lanes": 16, "input_width": 8, "capacity": 64} | change))  # type: ignore[arg-type]
    assert next(iter(change)) in str(caught.value)


@pytest.mark.parametrize("size", [0, 65])
def test_a_list_that_does_not_fit_is_refused(size: int) -> None:
    params = TopKParams(capacity=64)
    with pytest.raises(ConfigError, match="does not fit"):
        engine_cycles(params, describe(params, [(np.zeros(size, np.int64), 1)]))
