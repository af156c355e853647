"""The cocotb bench on Verilator: 500 selections; `sparcade rtl test` runs more."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparcade.topk import TopKParams
from sparcade_rtl.bench import runner
from sparcade_rtl.bench.coverage import merged
from sparcade_rtl.bench.runner import BenchError, run_bench
from sparcade_rtl.bench.setting import Setting, without_and_with_stalls
from sparcade_rtl.formal.mutants import planted

PARAMS = TopKParams(lanes=16, input_width=8, score_bits=12, capacity=256, index_bits=11)


@pytest.mark.parametrize(("engine", "lists"), [("quick-select", 250), ("radix-select", 60)])
def test_verilator_equals_the_model(engine: Any, lists: int, tmp_path: Path) -> None:
    """And nearly every situation occurs (the list buffer is full only at capacities of a few rows)."""
    params = replace(PARAMS, engine=engine)
    outcomes = run_bench(without_and_with_stalls(params=params, lists=lists, seed=1), tmp_path)
    for number in range(2):
        assert f"{lists} selections" in (tmp_path / f"bench-{number}.log").read_text()
    coverage = merged([outcome.coverage for outcome in outcomes])
    assert {name for name, count in coverage.items() if count == 0} <= {"list buffer: full", "passes: 8"}


def test_a_difference_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault in the Verilog that the simulator gets."""

    def faulty(params: TopKParams, name: str) -> str:
        with planted("one tie too many") as package:
            return str(importlib.import_module(f"{package}.verilog").generate(params, name))

    monkeypatch.setattr(runner, "generate", faulty)
    small = TopKParams(lanes=4, input_width=2, score_bits=4, capacity=32, index_bits=5)
    with pytest.raises(BenchError, match="the RTL and the model differ") as caught:
        run_bench([Setting(params=small, lists=40, seed=3)], tmp_path)
    assert "AssertionError: list" in str(caught.value)
