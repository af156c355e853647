"""`sparcade workload` and `sparcade run NAME`: benchmarks without files or weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sparcade
from sparcade.cli import main
from sparcade.workload import generate
from sparcade.workload.definitions import find_definition, workload_names


@pytest.mark.parametrize("name", ["gpt2-small-wikitext2", "bert-base-mrpc"])
def test_a_benchmark_runs_by_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report says what was drawn, what was chosen, and where every number comes from."""
    assert main(["run", name, "--arch", "spatten", "--out", str(tmp_path / "out")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "ids, scores: synthetic, seed 0" in printed
    definition = find_definition(name)
    assert definition.choices
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [choice for choice in definition.choices if choice not in result["assumptions"]] == []
    workload = result["workload"]
    assert (workload["name"], workload["ids"]) == (name, "synthetic")
    assert workload["policy_settings"]["definition"] == definition.to_dict()
    assert workload["content_hash"] == generate(name).content_hash
    assert result["total"]["counters"]["refetches"] == generate(name).queries["refetch"].sum()


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workload", "generate", "--list"]) == 0
    assert capsys.readouterr().out.split() == workload_names()


def test_generate_writes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the user by default; the choices are printed."""
    monkeypatch.chdir(tmp_path)
    assert main(["workload", "generate", "bert-base-cola", "--seed", "4"]) == 0
    printed = capsys.readouterr().out
    assert "ids, scores: synthetic, seed 4" in printed
    assert "note: tokens: not published" in printed
    loaded = sparcade.Workload.load("bert-base-cola.npz")
    assert loaded.content_hash == generate("bert-base-cola", 4).content_hash
    assert [path.name for path in tmp_path.iterdir()] == ["bert-base-cola.npz"]
