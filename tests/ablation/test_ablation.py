"""The ablation: each step differs in its feature alone, against literal walks over the tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparcade.ablation import AblationStep, ablate, ablation_steps
from sparcade.accelerator import simulate
from sparcade.arch import load_arch
from sparcade.cli import main
from sparcade.policy import Policy, apply, load_policy
from sparcade.policy.layer_drop import LayerDrop, LayerDropConfig
from sparcade.workload import Workload, generate
from sparcade.workload.cascade import check_cascade
from support import random_tensors, trace_of

ARCH = load_arch("spatten")
NAMES = (
    "datapath",
    "token-pruning",
    "head-pruning",
    "topk-engine",
    "static-quantization",
    "progressive-quantization",
)
SPATTEN = ["tokens.start=0.8", "tokens.end=0.3", "heads.start=0.9", "heads.end=0.5"]


def workload(folder: Path, name: str) -> Workload:
    """Small workloads of every origin."""
    if name == "bert":
        return generate("bert-base-cola")
    rule: Policy = load_policy("spatten", SPATTEN)
    kv_heads = 2 if name == "grouped" else 8
    if name == "layer-drop":
        rule = LayerDrop(LayerDropConfig(name="test", source="test", part="attention", layers=(0, 2)))
    elif name in ("h2o", "duo-attention"):
        rule = load_policy(name)
    tensors = random_tensors(7, layers=4, heads=8, kv_heads=kv_heads, tokens=36, dim=64)
    return apply(trace_of(folder / "trace", *tensors, prompt_tokens=30), rule).workload


ORIGINS = ("spatten", "grouped", "h2o", "layer-drop", "bert")


@pytest.fixture(name="steps", params=ORIGINS)
def _steps(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[AblationStep, ...]:
    return ablation_steps(workload(tmp_path, request.param), ARCH)


def place(row: Any) -> tuple[int, ...]:
    return tuple(int(row[name]) for name in ("sequence", "step", "layer", "head"))


def contents(work: Workload, row: Any) -> tuple[list[int], list[int], list[tuple[Any, ...]]]:
    """Keys, values and queries (with their pass lists) of a row."""
    queries = work.queries[row["query_start"] :][: row["queries"]]
    return (
        work.key_ids[row["key_start"] :][: row["keys"]].tolist(),
        work.value_ids[row["value_start"] :][: row["values"]].tolist(),
        [
            (*(int(q[n]) for n in ("token", "visible", "values")), passes(work, q["pass_start"], q["passes"]))
            for q in queries
        ],
    )


def passes(work: Workload, start: int, count: int) -> list[tuple[int, ...]]:
    return [tuple(map(int, each)) for each in work.passes[start:][:count]]


def events(work: Workload, kind: str) -> list[tuple[Any, ...]]:
    """Selections: step, layer, n, k, pass list, in order."""
    return [
        (
            *place(row)[:3],
            int(row[f"{kind}_n"]),
            int(row[f"{kind}_k"]),
            tuple(passes(work, row[f"{kind}_pass_start"], row[f"{kind}_passes"])),
        )
        for row in work.rows
        if row[f"{kind}_n"]
    ]


def test_there_are_six_steps_and_the_last_is_the_workload_itself(tmp_path: Path) -> None:
    work = workload(tmp_path, "spatten")
    steps = ablation_steps(work, ARCH)
    assert tuple(step.name for step in steps) == NAMES
    assert steps[-1].workload is work
    assert steps[-1].arch is ARCH
    result = ablate(work, ARCH)
    assert np.array_equal(result.runs[-1].counts, simulate(work, ARCH).counts)


def test_pruning_is_final_in_every_step(steps: tuple[AblationStep, ...]) -> None:
    for step in steps:
        check_cascade(step.workload)


def test_the_first_step_is_dense(steps: tuple[AblationStep, ...]) -> None:
    """All layers, heads, keys and values; nothing is selected; words of 32 bits."""
    last, work = steps[-1].workload, steps[0].workload
    shape = last.shape
    contexts = {(int(r["sequence"]), int(r["step"])): int(r["context"]) for r in last.rows}
    want = [(*at, layer, head) for at in contexts for layer in range(shape.layers) for head in range(shape.heads)]
    assert [place(row) for row in work.rows] == want
    causal = shape.policy != "spatten-encoder"
    for row in work.rows:
        context = contexts[place(row)[:2]]
        tokens = range(context) if row["step"] == 0 else [context - 1]
        everything = list(range(context))
        visible = [token + 1 if causal else context for token in tokens]
        queries = [(t, v, v, []) for t, v in zip(tokens, visible, strict=True)]
        assert contents(work, row) == (everything, everything, queries)
        assert row["kv_head"] == row["head"] // (shape.heads // shape.kv_heads)
        assert (row["msb_bits"], row["lsb_bits"], row["value_bits"], row["query_bits"]) == (32, 0, 32, 32)
    assert not events(work, "token")
    assert not events(work, "head")
    assert not work.queries["refetch"].any()


def test_token_pruning_has_every_head_with_the_keys_of_its_layer(steps: tuple[AblationStep, ...]) -> None:
    work, pruned = steps[1].workload, steps[2].workload
    assert [place(row) for row in work.rows] == [place(row) for row in steps[0].workload.rows]
    own = {place(row): contents(pruned, row) for row in pruned.rows}
    layers: dict[tuple[int, ...], list[Any]] = {}
    for at, content in own.items():
        layers.setdefault(at[:3], []).append(content)
    copied = 0
    for row in work.rows:
        at = place(row)
        content = contents(work, row)
        if at in own:
            assert content == own[at]
        elif at[:3] in layers:
            copied += 1
            assert content in layers[at[:3]]
        else:
            copied += 1
            assert any(content in each for other, each in layers.items() if other[:2] == at[:2])
    assert copied == len(work.rows) - len(pruned.rows)
    assert not events(work, "head")
    if "key" not in pruned.shape.persistent:
        assert events(work, "token") == events(pruned, "token")
        last = [row for row, after in zip(work.rows, work.rows[1:], strict=False) if row["layer"] != after["layer"]]
        assert {place(row) for row in work.rows if row["token_n"]} <= {place(row) for row in [*last, work.rows[-1]]}


def test_a_copied_kv_head_has_a_selection_of_its_own_where_keys_are_evicted_per_kv_head(tmp_path: Path) -> None:
    work = workload(tmp_path, "h2o")
    assert "key" in work.shape.persistent
    keep = np.flatnonzero(work.rows["kv_head"] != 3)
    fewer = _rows(work, keep)
    whole = ablation_steps(fewer, ARCH)[1].workload
    per_head = [int((whole.rows["token_n"][whole.rows["kv_head"] == head] > 0).sum()) for head in range(8)]
    assert per_head[3] == per_head[work.rows["kv_head"][keep].tolist()[3]] > 0  # copied from another KV head
    check_cascade(whole)


def _rows(work: Workload, keep: np.ndarray) -> Workload:
    """A workload of some of the rows, built anew."""
    from sparcade.workload.builder import WorkloadBuilder

    builder = WorkloadBuilder()
    for row in work.rows[keep]:
        queries = work.queries[row["query_start"] :][: row["queries"]].copy()
        for query in queries:
            if query["passes"]:
                query["pass_start"] = builder.add_passes(_passes(work, query["pass_start"], query["passes"]))
        columns = {name: row[name] for name in ("sequence", "step", "layer", "kv_head", "head", "context")}
        columns |= {name: row[name] for name in ("query_bits", "msb_bits", "lsb_bits", "value_bits", "accumulate")}
        if row["token_n"]:
            start = builder.add_passes(_passes(work, row["token_pass_start"], row["token_passes"]))
            columns |= {name: row[name] for name in ("token_n", "token_k", "token_passes")}
            columns["token_pass_start"] = start
        key_ids = work.key_ids[row["key_start"] :][: row["keys"]]
        value_ids = work.value_ids[row["value_start"] :][: row["values"]]
        builder.add_row(key_ids=key_ids, value_ids=value_ids, queries=queries, **columns)
    return builder.build(work.shape)


def _passes(work: Workload, start: int, count: int) -> np.ndarray:
    return np.array(passes(work, start, count), np.int64).reshape(-1, 3)


def test_the_other_steps_change_words_or_lanes_alone(steps: tuple[AblationStep, ...]) -> None:
    last = steps[-1].workload
    bits = ("query_bits", "msb_bits", "lsb_bits", "value_bits")
    for step in steps[2:]:
        work = step.workload
        rows = work.rows.copy()
        rows[list(bits)] = last.rows[list(bits)]
        queries = work.queries.copy()
        queries["refetch"] = last.queries["refetch"]
        assert np.array_equal(rows, last.rows)
        assert np.array_equal(queries, last.queries)
        for table in ("passes", "key_ids", "value_ids"):
            assert np.array_equal(getattr(work, table), getattr(last, table))
    serial, parallel, static = steps[2], steps[3], steps[4].workload
    assert np.array_equal(serial.workload.rows, parallel.workload.rows)
    assert np.array_equal(serial.workload.queries, parallel.workload.queries)
    for name in ("msb_bits", "value_bits", "query_bits"):
        assert (parallel.workload.rows[name] == 32).all()
    assert np.array_equal(static.rows["msb_bits"], last.rows["msb_bits"] + last.rows["lsb_bits"])
    for name in ("value_bits", "query_bits"):
        assert np.array_equal(static.rows[name], last.rows[name])
    for step in steps[2:5]:
        assert not step.workload.rows["lsb_bits"].any()
        assert not step.workload.queries["refetch"].any()
    lanes = [step.arch.topk.lanes for step in steps]
    assert lanes == [1, 1, 1, 16, 16, 16]
    for step in steps:
        assert dataclasses.replace(step.arch, topk=ARCH.topk) == ARCH
        assert dataclasses.replace(step.arch.topk, lanes=16) == ARCH.topk


def test_the_first_step_moves_the_dense_fp32_bytes_exactly(tmp_path: Path) -> None:
    """K and V of 64 words of 4 bytes: every context of every step, in 4 layers of 8 heads."""
    frame = ablate(workload(tmp_path, "spatten"), ARCH).frame()
    contexts = [30, *range(31, 37)]
    assert frame["kv_bytes_moved"][0] == sum(contexts) * 4 * 8 * 2 * 64 * 4
    assert frame["kv_bits_needed"][0] == frame["kv_bytes_moved"][0] * 8


def test_factors_multiply_to_the_whole(tmp_path: Path) -> None:
    frame = ablate(workload(tmp_path, "spatten"), ARCH).frame()
    assert tuple(frame["step"]) == NAMES
    assert frame["factor"].cumprod().to_numpy() == pytest.approx(frame["cumulative"].to_numpy())
    assert frame["cumulative"].iloc[-1] == frame["cycles"][0] / frame["cycles"].iloc[-1]
    assert (frame["bound_share"] <= 1).all()
    moved = frame["kv_bytes_moved"]
    assert moved[0] > moved[1] > moved[2] == moved[3] > moved[4] > moved[5]


def test_a_step_that_changes_nothing_is_not_timed_again(tmp_path: Path) -> None:
    """An encoder has one plane of words: its last step is the one before. The timing would be the same."""
    result = ablate(workload(tmp_path, "bert"), ARCH)
    assert result.runs[5].counts is result.runs[4].counts
    assert np.array_equal(simulate(result.steps[5].workload, ARCH).counts, result.runs[5].counts)


def test_the_command_writes_a_folder_and_the_same_bytes_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    files = []
    for _ in range(2):
        assert main(["ablate", "bert-base-cola", "--out", str(out)]) == 0
        files.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert files[0] == files[1]
    assert set(files[0]) == {"ablation.json", "ablation.csv", "ablation.svg"}
    printed = capsys.readouterr().out
    table = json.loads(files[0]["ablation.json"])
    for step, label in zip(table["steps"], ("dedicated datapath", "+ token", "+ head"), strict=False):
        assert f"{step['cycles']:,}" in printed
        assert label in printed


def test_the_end_to_end_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "e2e.json"
    assert main(["e2e", "bert-base-cola", "--weights", "12", "--out", str(out)]) == 0
    table = json.loads(out.read_text())
    printed = capsys.readouterr().out
    assert f"{table['cycles']:,} cycles" in printed
    assert f"{table['total']['fc']['cycles']:,}" in printed
    assert table["model"]["weight_bits"] == 12


@pytest.mark.parametrize("command", ["ablate", "e2e"])
def test_a_policy_for_a_workload_is_an_error(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "bert-base-cola", "--policy", "dense"]) == 2
    assert "already holds its policy" in capsys.readouterr().err
