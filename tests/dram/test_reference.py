"""Every run of the reference data is exact: figures to the last stated place, command logs line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparcade.dram.reference import compare_folder

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "data" / "dram_reference" / "dev"


@pytest.mark.reference
def test_every_reference_run_is_exact() -> None:
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference data in {REFERENCE}")
    runs = json.loads((REFERENCE / "index.json").read_text())["runs"]
    comparisons = list(compare_folder(REFERENCE))
    assert [comparison.name for comparison in comparisons] == [run["id"] for run in runs]
    assert len({comparison.name for comparison in comparisons}) == 59
    assert sum("cmdlog" in run for run in runs) == 10
    assert {comparison.name: comparison.differences for comparison in comparisons if comparison.differences} == {}
    assert [comparison.cycles for comparison in comparisons] == [run["cycles"] for run in runs]
