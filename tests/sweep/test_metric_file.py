"""Metrics measured elsewhere, joined to the points by workload, policy and axes of the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sparcade
from sparcade.errors import ConfigError
from sparcade.sweep import load_sweep, run_sweep
from sweep_support import quick

FILE = """policy,policy.tokens.end,perplexity,perplexity_stderr
spatten,1,8.5,0.1
spatten,0.5,9.25,0.2
dense,1,8,
dense,1/2,8,
"""
TABLES: dict[str, Any] = {
    "workloads": "stories260k",
    "policy": ["spatten", "dense"],
    "axes": {"policy.tokens.end": ["1/2", 1.0], "topk.lanes": [4, 8]},
    "metric_file": "measured.csv",
    "metrics": {"loss": "perplexity - 8", "spread": "perplexity_stderr * 2"},
    "objectives": {"cycles": "min", "loss": "min"},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "measured.csv").write_text(FILE)
    return tmp_path


def test_each_point_has_the_metrics_of_its_row(place: Path) -> None:
    result = run_sweep(TABLES, out="out", workers=1, measure=quick)
    rows = result.frame.set_index(["policy", "policy.tokens.end", "topk.lanes"])
    assert rows.loc[("spatten", "1/2", 4), "perplexity"] == rows.loc[("spatten", "1/2", 8), "perplexity"] == 9.25
    assert rows.loc[("spatten", "1.0", 4), "loss"] == 0.5
    assert rows.loc[("spatten", "1.0", 4), "spread"] == 0.2
    assert rows.loc[("dense", "1.0", 8), "loss"] == 0
    assert pd.isna(rows.loc[("dense", "1.0", 8), "perplexity_stderr"])
    assert pd.isna(rows.loc[("dense", "1.0", 8), "spread"])
    assert set(result.pareto()["loss"]) <= {0.0, 0.5, 1.25}


def test_another_file_changes_the_table_and_computes_nothing(place: Path) -> None:
    first = run_sweep(TABLES, out="out", workers=1, measure=quick)
    (place / "measured.csv").write_text(FILE.replace("9.25", "9.5"))
    again = sparcade.read_sweep("out")
    assert again["loss"].max() == 1.5
    assert run_sweep(TABLES, out="out", workers=1, measure=quick).computed == 0
    assert first.frame["loss"].max() == 1.25


BAD: dict[str, tuple[str, str, str]] = {
    "a point without a row": ("dense,1/2,8,\n", "", "no row for a point"),
    "no column for an axis": ("policy.tokens.end", "policy.tokens.start", "column 'policy.tokens.end'"),
    "no column for the policy": ("policy,", "rule,", "column 'policy'"),
    "an axis the sweep does not have": (",perplexity,", ",policy.bits,", "can't be a metric"),
    "a metric of ours": (",perplexity,", ",cycles,", "can't be a metric"),
    "twice the same row": ("dense,1/2,8,", "dense,1,8,", "row 5 twice"),
    "twice the same column": ("perplexity_stderr", "perplexity", "a column twice"),
    "no number": ("9.25", "low", "no number for perplexity in row 3"),
    "not a number": ("9.25", "nan", "no number for perplexity in row 3"),
    "a torn row": ("dense,1/2,8,", "dense,1/2,8", "torn row 5"),
    "a long row": ("dense,1/2,8,", "dense,1/2,8,,", "torn row 5"),
    "empty": (FILE, "", "has no rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(place: Path, name: str) -> None:
    old, new, words = BAD[name]
    assert FILE.count(old) == 1 or old == "policy,"
    (place / "measured.csv").write_text(FILE.replace(old, new, 1))
    tables = TABLES if "column" in words or "row" in words else TABLES | {"metrics": {}, "objectives": {}}
    with pytest.raises(ConfigError) as caught:
        run_sweep(tables, out="out", workers=1, measure=quick)
    assert words in str(caught.value), str(caught.value)
    assert "measured.csv" in str(caught.value)
    assert not list(place.glob("out/shards/*"))


def test_no_file(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv"):
        load_sweep(TABLES | {"metric_file": "none.csv"})
