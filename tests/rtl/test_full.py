"""`make test-rtl`: every selection of the bundled traces, and thousands drawn, on Verilator; a sample on Icarus."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import sparcade
from sparcade.policy import answers
from sparcade.topk import Selection, TopKParams, select
from sparcade_rtl.bench.coverage import merged
from sparcade_rtl.bench.lists import Ints, save_lists
from sparcade_rtl.bench.runner import run_bench
from sparcade_rtl.bench.setting import without_and_with_stalls

pytestmark = pytest.mark.rtl_full
TRACES = (("minilm", "spatten-encoder"), ("stories260k", "spatten"), ("gpt2-tiny", "spatten"))


def selections(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[tuple[Ints, int]]]:
    """All selections that the policies make on the bundled traces: (scores, k) by width of the scores."""
    made: dict[int, list[tuple[Ints, int]]] = {12: [], 32: []}

    def record(scores: Ints, k: int, score_bits: int) -> Selection:
        made[score_bits].append((scores.copy(), k))
        return select(scores, k, score_bits)

    monkeypatch.setattr(answers, "select", record)
    for trace, policy in TRACES:
        sparcade.apply(sparcade.AttentionTrace.load(sparcade.bundled_trace(trace)), sparcade.load_policy(policy))
    return made


@pytest.mark.parametrize("engine", ["quick-select", "radix-select"])
@pytest.mark.parametrize(("bits", "count"), [(12, 4320), (32, 1215)])
def test_every_selection_of_the_bundled_traces(
    bits: int, count: int, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = [one for one in selections(monkeypatch)[bits] if len(one[0])]
    assert len(lists) == count
    path = tmp_path / "lists.npz"
    save_lists(path, lists)
    params = TopKParams(engine=engine, lanes=16, input_width=8, score_bits=bits, capacity=512, index_bits=16)
    drawn = without_and_with_stalls(params=params, lists=800, seed=bits)
    given = without_and_with_stalls(params=params, file=str(path), seed=1)
    outcomes = run_bench([*given, *drawn], tmp_path / "build")
    coverage = merged([outcome.coverage for outcome in outcomes])
    assert {name for name, times in coverage.items() if times == 0} <= {"list buffer: full"}


@pytest.mark.parametrize("engine", ["quick-select", "radix-select"])
def test_other_lanes(engine: Any, tmp_path: Path) -> None:
    params = TopKParams(engine=engine, lanes=64, input_width=8, score_bits=12, capacity=1024, index_bits=11)
    run_bench(without_and_with_stalls(params=params, lists=800, seed=5), tmp_path)


def test_few_rows(tmp_path: Path) -> None:
    """A list buffer of two rows, which is full at times."""
    params = TopKParams(engine="radix-select", lanes=16, input_width=2, score_bits=6, capacity=32, index_bits=5)
    (_, stalled) = run_bench(without_and_with_stalls(params=params, lists=1000, seed=6), tmp_path)
    assert stalled.coverage["list buffer: full"]


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
@pytest.mark.parametrize("engine", ["quick-select", "radix-select"])
def test_a_sample_on_icarus(engine: Any, tmp_path: Path) -> None:
    params = TopKParams(engine=engine, lanes=4, input_width=4, score_bits=6, capacity=32, index_bits=5)
    run_bench(without_and_with_stalls(params=params, lists=100, seed=9), tmp_path, simulator="icarus")
