"""Doubling one K vector of an attended token moves what it should, in every bundled trace."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sparcade
from damage import signature
from sparcade._files import canonical_json
from sparcade.arch import load_arch
from sparcade.evaluation import default_policy
from sparcade.trace import AttentionTrace

#: (layer, KV head, token) of a key that the model attends to, and what its doubling moves besides the outputs.
CASES = {
    "minilm": ((0, 5, 1), {"scores", "survivors", "cycles"}),
    "stories260k": ((0, 1, 3), {"scores", "survivors", "LSB decisions", "cycles"}),
    "gpt2-tiny": ((1, 0, 0), {"scores", "survivors", "cycles"}),
}


def doubled(source: Path, target: Path, layer: int, kv_head: int, token: int) -> AttentionTrace:
    """A copy of a trace with one K vector doubled, and its SHA-256 mended."""
    shutil.copytree(source, target)
    path = target / f"layer_{layer:03d}.safetensors"
    arrays = load_file(str(path))
    key = arrays["sequence_000.k"].copy()
    key[kv_head, token] *= 2
    save_file(arrays | {"sequence_000.k": key}, str(path))
    trace = AttentionTrace.load(source)
    files = signature(target.glob("*.safetensors"))
    (target / "manifest.json").write_text(canonical_json(trace.manifest.to_dict(files)))
    return AttentionTrace.load(target)


def moved(name: str, folder: Path) -> set[str]:
    place, _ = CASES[name]
    source = sparcade.bundled_trace(name)
    traces = (AttentionTrace.load(source), doubled(source, folder / name, *place))
    policy = default_policy(traces[0])
    before, after = (sparcade.apply(trace, sparcade.load_policy(policy)) for trace in traces)
    cycles = [sparcade.simulate(result.workload, load_arch("spatten")).cycles for result in (before, after)]

    def differs(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
        return any(not np.array_equal(left[key], right[key]) for key in left)

    decisions = [
        {
            tuple(row)[:5]: result.workload.queries["refetch"][row["query_start"] :][: row["queries"]]
            for row in work.rows
        }
        for result in (before, after)
        for work in (result.workload,)
    ]
    scores = [
        {key: kinds["token"] for key, kinds in result.scores.items() if "token" in kinds} for result in (before, after)
    ]
    outputs = [{key: output.values for key, output in result.outputs.items()} for result in (before, after)]
    changes = {
        "outputs": differs(*outputs),
        "scores": differs(*scores),
        "survivors": differs(before.survivors, after.survivors),
        "LSB decisions": any(
            not np.array_equal(decisions[0][key], decisions[1][key])
            for key in decisions[0].keys() & decisions[1].keys()
        ),
        "cycles": cycles[0] != cycles[1],
    }
    return {kind for kind, changed in changes.items() if changed}


@pytest.mark.parametrize("name", CASES)
def test_a_doubled_key_moves_the_run(name: str, tmp_path: Path) -> None:
    assert moved(name, tmp_path) == {"outputs"} | CASES[name][1]


def test_each_kind_of_change_occurs() -> None:
    kinds = set.union(*(expected for _, expected in CASES.values()))
    assert kinds == {"scores", "survivors", "LSB decisions", "cycles"}
