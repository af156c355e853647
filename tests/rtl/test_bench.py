"""The cocotb bench on Verilator: 500 selections; `sparcade rtl test` runs more."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from sparcade.topk import TopKParams
from sparcade_rtl.bench import runner
from sparcade_rtl.bench.runner import BenchError, run_bench
from sparcade_rtl.bench.setting import Setting, without_and_with_stalls
from sparcade_rtl.formal.mutants import planted

PARAMS = TopKParams(lanes=16, input_width=8, score_bits=12, capacity=256, index_bits=11)


def test_verilator_equals_the_model(tmp_path: Path) -> None:
    run_bench(without_and_with_stalls(params=PARAMS, lists=250, seed=1), tmp_path)
    for number in range(2):
        assert "250 selections" in (tmp_path / f"bench-{number}.log").read_text()


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
