"""Pruned outputs equal a slow, literal transcription of the algorithm, bit for bit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import spatten_literal as literal
from sparcade.policy import HeadPruning, LocalValuePruning, ProgressiveQuantization, TokenPruning, apply
from support import policy, random_tensors, trace_of

ratios = st.fractions(0, 1, max_denominator=8)


@st.composite
def schedules(draw: st.DrawFn, layers: int) -> dict[str, Any]:
    staircase = draw(st.none() | st.lists(ratios, min_size=layers, max_size=layers))
    front = draw(st.none() | st.integers(0, layers))
    return {"start": draw(ratios), "end": draw(ratios), "front": front, "staircase": staircase}


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    layers, kv_heads = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    group = draw(st.integers(1, 3))
    mask = draw(st.sampled_from(["causal", "full"]))
    shape = {
        "layers": layers,
        "heads": kv_heads * group,
        "kv_heads": kv_heads,
        "dim": draw(st.sampled_from([1, 3, 8])),
        "levels": draw(st.sampled_from([None, 1, 2])),
    }
    prompt, steps = draw(st.integers(1, 7)), 0 if mask == "full" else draw(st.integers(0, 4))
    flag = st.booleans()
    tokens = heads = local_v = progressive = None
    if draw(flag):
        tokens = draw(schedules(layers)) | {
            "accumulate": draw(st.sampled_from(["sum", "per-visible-query"])),
            "decay": draw(st.sampled_from([Fraction(1), Fraction(9, 10), Fraction(0)])),
            "decode_only": draw(flag),
            "protect_first": draw(st.integers(0, 2)),
            "protect_last": draw(st.integers(0, 2)),
            "in_prefill": draw(flag),
        }
        tokens["in_prefill"] &= not tokens["decode_only"]
    if draw(flag):
        heads = draw(schedules(layers)) | {"in_prefill": draw(flag), "min_heads": draw(st.integers(1, 4))}
    if draw(flag):
        local_v = {"keep": draw(ratios), "in_prefill": draw(flag)}
    if draw(flag):
        progressive = {
            "msb": draw(st.sampled_from([4, 6, 8])),
            "threshold": draw(st.sampled_from([0.0, 0.1, 0.25, 0.4, 1.0])),
            "in_prefill": draw(flag),
        }
    return {
        "shape": shape,
        "prompt": prompt,
        "steps": steps,
        "mask": mask,
        "seed": draw(st.integers(0, 10**6)),
        "bits": draw(st.sampled_from([4, 6, 8, 10, 12, 32])),
        "tokens": tokens,
        "heads": heads,
        "local_v": local_v,
        "progressive": progressive,
    }


def ours(case: dict[str, Any]) -> dict[str, Any]:
    """The techniques of a case as our configuration."""
    tuples = {
        name: case[name] | {"staircase": tuple(case[name]["staircase"]) if case[name]["staircase"] else None}
        for name in ("tokens", "heads")
        if case[name]
    }
    progressive = case["progressive"]
    return {
        "bits": case["bits"],
        "tokens": TokenPruning(**tuples["tokens"]) if case["tokens"] else None,
        "heads": HeadPruning(**tuples["heads"]) if case["heads"] else None,
        "local_v": LocalValuePruning(**case["local_v"]) if case["local_v"] else None,
        "progressive": progressive
        and ProgressiveQuantization(
            msb_bits=progressive["msb"], threshold=progressive["threshold"], in_prefill=progressive["in_prefill"]
        ),
    }


def theirs(case: dict[str, Any]) -> literal.Params:
    """The same as the oracle's parameters."""
    return literal.Params(
        static_bits=case["bits"],
        tokens=case["tokens"] and literal.Tokens(**case["tokens"]),
        heads=case["heads"] and literal.Heads(**case["heads"]),
        local_v=case["local_v"] and literal.LocalV(**case["local_v"]),
        progressive=case["progressive"] and literal.Progressive(**case["progressive"]),
    )


@given(case=cases())
@settings(max_examples=150)
def test_replay_equals_the_literal_transcription(case: dict[str, Any], tmp_path: Any) -> None:
    q, k, v = random_tensors(case["seed"], tokens=case["prompt"] + case["steps"], **case["shape"])
    trace = trace_of(tmp_path / "trace", q, k, v, prompt_tokens=case["prompt"], mask=case["mask"])
    got = apply(trace, policy(**ours(case)))
    scaling = trace.manifest.model.scaling
    want = literal.run(q, k, v, prompt_tokens=case["prompt"], mask=case["mask"], scaling=scaling, params=theirs(case))

    assert {key[1:]: ids.tolist() for key, ids in got.survivors.items()} == want.survivors
    assert {key[1:]: ids.tolist() for key, ids in got.heads.items()} == want.heads
    work = got.workload
    assert len(work.rows) == len(want.rows)
    for row in work.rows:
        step, layer, head = (int(row[name]) for name in ("step", "layer", "head"))
        expected = want.rows[step, layer, head]
        output = got.outputs[0, step, layer]
        values = output.values[output.heads.tolist().index(head)]
        assert work.key_ids[row["key_start"] :][: row["keys"]].tolist() == expected["key_ids"]
        assert (int(row["msb_bits"]), int(row["lsb_bits"])) == tuple(expected["bits"])
        union = sorted({token for query in expected["queries"] for token in query["value_ids"]})
        assert work.value_ids[row["value_start"] :][: row["values"]].tolist() == union
        assert row["queries"] == len(expected["queries"])
        for index, query in enumerate(expected["queries"]):
            record = work.queries[row["query_start"] + index]
            passes = work.passes[record["pass_start"] :][: record["passes"]]
            assert record["token"] == query["token"]
            assert record["visible"] == len(query["visible"])
            assert record["values"] == len(query["value_ids"])
            assert bool(record["refetch"]) == query["lsb"]
            assert [tuple(map(int, one)) for one in passes] == [tuple(one) for one in query["passes"]]
            np.testing.assert_array_equal(values[index], np.array(query["out"]))
    events = []
    for row in work.rows:
        for kind in ("token", "head"):
            if row[f"{kind}_n"]:
                passes = work.passes[row[f"{kind}_pass_start"] :][: row[f"{kind}_passes"]]
                events.append(
                    (kind, int(row[f"{kind}_n"]), int(row[f"{kind}_k"]), [tuple(map(int, p)) for p in passes])
                )
    assert events == [(e.kind, e.n, e.k, [tuple(p) for p in e.passes]) for e in want.events]


@pytest.mark.parametrize("name", ["tokens", "heads", "local_v", "progressive", "bits"])
def test_each_technique_switches_on_alone(name: str, tmp_path: Any) -> None:
    """Exactly the columns of that technique move away from dense."""
    q, k, v = random_tensors(3, layers=4, heads=4, kv_heads=2, tokens=14, dim=8)
    trace = trace_of(tmp_path / "trace", q, k, v, prompt_tokens=10)
    only = {
        "tokens": {"tokens": TokenPruning(end=Fraction(1, 4))},
        "heads": {"heads": HeadPruning(end=Fraction(1, 2))},
        "local_v": {"local_v": LocalValuePruning(keep=Fraction(3, 10))},
        "progressive": {"progressive": ProgressiveQuantization(threshold=0.4)},
        "bits": {"bits": 6},
    }[name]
    dense, pruned = apply(trace, policy()).workload, apply(trace, policy(**only)).workload
    moved = {
        "tokens": bool((pruned.rows["keys"] < pruned.rows["context"]).any()),
        "heads": len(pruned.rows) < len(dense.rows),
        "local_v": pruned.rows["values"].sum() < pruned.rows["keys"].sum(),
        "progressive": bool(pruned.queries["refetch"].any() and not pruned.queries["refetch"].all()),
        "bits": bool((pruned.rows["msb_bits"] == 6).all()),
    }
    assert {technique for technique, changed in moved.items() if changed} == {name}
