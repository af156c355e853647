"""The main job end to end: determinism, energy, comparison, workload files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import sparcade
from sparcade.arch import load_arch
from sparcade.cli import main
from sparcade.energy import PARTS, energy_joules, load_profile
from sparcade.evaluation import evaluate
from sparcade.policy import load_policy
from sparcade.workload import Workload, from_trace


@pytest.fixture
def trace(tmp_path: Path) -> sparcade.AttentionTrace:
    return sparcade.synthesize(
        tmp_path / "synthetic", seed=4, kind="realistic", layers=3, heads=8, kv_heads=4, prompt_tokens=40
    )


def test_two_runs_give_the_same_bytes(trace: sparcade.AttentionTrace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["run", str(trace.folder), "--compare", "dense", "--out", str(tmp_path / name)]) == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["detail.json.gz", "layers.csv", "report.html", "result.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_result_holds_no_path_time_or_host(trace: sparcade.AttentionTrace, tmp_path: Path) -> None:
    assert main(["run", str(trace.folder), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "result.json").read_text()
    assert str(tmp_path) not in text
    result = json.loads(text)
    assert result["schema"] == "sparcade.run"
    assert result["workload"]["trace_hash"] == trace.content_hash
    assert result["model_version"] == sparcade.MODEL_VERSION


def test_a_run_replaces_its_own_report_only(trace: sparcade.AttentionTrace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["run", str(trace.folder), "--out", str(out)]) == 0
    assert main(["run", str(trace.folder), "--policy", "dense", "--out", str(out)]) == 0
    assert json.loads((out / "result.json").read_text())["workload"]["policy"] == "dense"
    (out / "notes.txt").write_text("mine")
    assert main(["run", str(trace.folder), "--out", str(out)]) == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_settings_reach_arch_and_policy(trace: sparcade.AttentionTrace, tmp_path: Path) -> None:
    settings = ["--set", "dram.channels=8", "--set", "policy.tokens.end=0.5", "--set", "policy.local_v=off"]
    assert main(["run", str(trace.folder), *settings, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["arch"]["dram"]["channels"] == 8
    assert result["workload"]["policy_settings"]["tokens"]["end"] == "1/2"
    assert "local_v" not in result["workload"]["policy_settings"]


def test_a_workload_file_gives_the_same_run(trace: sparcade.AttentionTrace, tmp_path: Path) -> None:
    path = tmp_path / "work.npz"
    assert main(["workload", "make", str(trace.folder), "--out", str(path)]) == 0
    work = from_trace(trace, load_policy("spatten"))
    loaded = Workload.load(path)
    assert loaded.content_hash == work.content_hash
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first
    arch = load_arch("spatten")
    assert np.array_equal(sparcade.simulate(loaded, arch).counts, sparcade.simulate(work, arch).counts)
    assert main(["run", str(path), "--out", str(tmp_path / "out")]) == 0


def test_workload_frames(trace: sparcade.AttentionTrace) -> None:
    work = from_trace(trace, load_policy("spatten"))
    rows, queries = work.rows_frame(), work.queries_frame()
    assert len(rows) == len(work.rows)
    assert queries.groupby("row").size().tolist() == rows["queries"].tolist()
    assert rows["keys"].sum() == len(work.key_ids)


def test_energy_moves_with_traffic_and_adds_up(trace: sparcade.AttentionTrace) -> None:
    arch, profile = load_arch("spatten", ["dram.kind=ideal"]), load_profile()
    evaluation = evaluate(trace, arch, compare=load_policy("dense"))
    assert evaluation.baseline is not None
    total = evaluation.run.total()
    energy = energy_joules(total, arch=arch, profile=profile)
    dense = energy_joules(evaluation.baseline.total(), arch=arch, profile=profile)
    assert tuple(energy) == PARTS
    assert energy["dram"] == pytest.approx(
        sum(total[f"tx_{k}"] for k in ("q", "k_msb", "k_lsb", "v", "out")) * 256 * 3.92e-12
    )
    assert energy["dram"] < dense["dram"]
    doubled = energy_joules(total | {"tx_v": 2 * total["tx_v"]}, arch=arch, profile=profile)
    assert doubled["dram"] - energy["dram"] == pytest.approx(total["tx_v"] * 256 * 3.92e-12)
    assert {part for part in PARTS if doubled[part] != energy[part]} == {"dram", "fetch"}
    layers = evaluation.layers(evaluation.run)
    assert sum(layer[f"energy_{part}_joules"] for layer in layers for part in PARTS) == pytest.approx(
        sum(energy.values())
    )


def test_reductions_count_k_and_v_only(trace: sparcade.AttentionTrace) -> None:
    evaluation = evaluate(trace, load_arch("spatten"), policy=load_policy("dense"), compare=load_policy("dense"))
    part = evaluation.part(evaluation.run, None)
    assert part["kv_reduction_vs_dense_12_bit"] == 1.0
    assert part["kv_reduction_vs_dense_fp32"] == 32 / 12
    comparison = evaluation.comparison()["total"]
    assert comparison["speedup"] == comparison["energy_reduction"] == comparison["kv_bytes_moved_reduction"] == 1.0
    fewer_bits = dataclasses.replace(evaluation.run, workload=from_trace(trace, load_policy("dense-fp32")))
    assert evaluation.part(fewer_bits, None)["kv_reduction_vs_dense_fp32"] == 32 / 12


def test_float_policy_has_no_error_and_dense_has_little(trace: sparcade.AttentionTrace) -> None:
    exact = evaluate(trace, load_arch("spatten"), policy=load_policy("dense-fp32"))
    assert {error.max_abs_error for error in exact.errors} == {0.0}
    assert {error.cosine_min for error in exact.errors} == {1.0}
    dense = evaluate(trace, load_arch("spatten"), policy=load_policy("dense"))
    assert 0 < max(error.max_abs_error for error in dense.errors) < 0.05
    assert len(dense.errors) == 3 * 8
