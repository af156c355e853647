"""KV eviction: hand-made cases from the papers' rules, and H2O and SnapKV against a literal transcription."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparcade
from oracles import eviction_literal as literal
from sparcade.errors import PolicyError, WorkloadError
from sparcade.policy import Policy, PolicyResult, RandomRanking, TopK, apply, load_policy
from sparcade.policy.duo_attention import DuoAttention, DuoAttentionConfig
from sparcade.policy.h2o import H2O, H2OConfig
from sparcade.policy.head_table import HeadTable
from sparcade.policy.snapkv import SnapKV, SnapKVConfig, pooled
from sparcade.policy.streaming_llm import StreamingLLM, StreamingLLMConfig
from sparcade.workload import Workload
from sparcade.workload.cascade import check_cascade, find_return
from support import KeepAll, policy, random_tensors, trace_of

LN2 = 0.6931471805599453
NAMED = {"name": "test", "source": "test"}


def read(result: PolicyResult) -> dict[tuple[int, int, int], list[int]]:
    """Key ids of each (step, layer, KV head) of the first sequence; query heads of a group must agree."""
    work = result.workload
    keys: dict[tuple[int, int, int], list[int]] = {}
    for row in work.rows[work.rows["sequence"] == 0]:
        ids = work.key_ids[row["key_start"] :][: row["keys"]].tolist()
        assert keys.setdefault((int(row["step"]), int(row["layer"]), int(row["kv_head"])), ids) == ids
    return keys


def selections(work: Workload) -> list[tuple[int, int, int, int, int]]:
    """Step, layer, head, n and k of each selection that stands on a row."""
    names = ("step", "layer", "head", "token_n", "token_k")
    return [tuple(int(row[name]) for name in names) for row in work.rows if row["token_n"]]  # type: ignore[misc]


def scored(folder: Path, scores: list[list[list[int]]], prompt: int) -> sparcade.AttentionTrace:
    """A trace in which every query gives key j of a KV head of a layer the score scores[layer][kv][j] ln 2."""
    k = [np.array(layer, np.float32)[:, :, None] for layer in scores]
    ones = [np.ones((2 * len(layer), layer.shape[1], 1), np.float32) for layer in k]  # two query heads each
    return trace_of(folder, ones, k, k, prompt_tokens=prompt, scaling=LN2)


FLAT = [[0] * 8]


def test_streaming_llm_keeps_sinks_and_a_window_between_steps(tmp_path: Path) -> None:
    trace = scored(tmp_path / "trace", [FLAT * 2, FLAT * 2], prompt=5)
    result = apply(trace, StreamingLLM(StreamingLLMConfig(**NAMED, sinks=1, window=2)))
    expected = [[0, 1, 2, 3, 4], [0, 3, 4, 5], [0, 4, 5, 6], [0, 5, 6, 7]]  # cache and newest; the prompt is dense
    assert read(result) == {(s, layer, kv): expected[s] for s in range(4) for layer in range(2) for kv in range(2)}
    assert {key: ids.tolist() for key, ids in result.survivors.items()} == {
        (0, s, layer): expected[s] for s in range(4) for layer in range(2)
    }
    # Three times that a step follows, 2 layers, 2 KV heads, each drops something; nothing is ranked.
    assert result.workload.shape.uncharged_selections == 12
    assert not selections(result.workload) and not result.workload.rows["accumulate"].any()
    assert result.workload.shape.persistent == ("key",)


def test_streaming_llm_without_sinks_is_a_window(tmp_path: Path) -> None:
    trace = scored(tmp_path / "trace", [FLAT], prompt=3)
    result = apply(trace, StreamingLLM(StreamingLLMConfig(**NAMED, sinks=0, window=4)))
    assert [read(result)[s, 0, 0] for s in range(6)] == [
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [1, 2, 3, 4, 5],
        [2, 3, 4, 5, 6],
        [3, 4, 5, 6, 7],
    ]


def test_h2o_keeps_heavy_hitters_and_recent_tokens_per_kv_head(tmp_path: Path) -> None:
    # Weights of the keys are 2^score: KV head 0 has its heavy hitter at key 1 (8), and a larger one at key 4 (32).
    heads = [[0, 3, 0, 0, 5, 0, 0], [0, 0, 0, 0, 0, 0, 0]]
    trace = scored(tmp_path / "trace", [heads, heads[::-1]], prompt=4)
    quarter = Fraction(1, 4)
    result = apply(trace, H2O(H2OConfig(**NAMED, bits=32, heavy=quarter, recent=quarter)))  # one of each
    keys = read(result)
    # The prompt's rows of KV head 0: (1), (1, 8)/9, (1, 8, 1)/10, (1, 8, 1, 1)/11. Words, summed over two query heads:
    # key 0: 2 (4095 + 455 + 410 + 372) = 10664; key 1: 2 (3641 + 3277 + 2979) = 19794; key 2: 1564. Key 3 is recent.
    # Step 1 reads 1, 3, 4: (8, 1, 32)/41. Key 1: + 2 * 799; key 3: 744 + 2 * 100. Key 4 is recent: 2 * 3197.
    # Step 2 reads 1, 4, 5, the same weights: key 1 has 22990, key 4 12788: 4 leaves, although it weighs most.
    assert [keys[s, 0, 0] for s in range(4)] == [[0, 1, 2, 3], [1, 3, 4], [1, 4, 5], [1, 5, 6]]
    # Flat: earlier keys have more votes: 4095 + 2048 + 1365 + 1024 for key 0.
    assert [keys[s, 0, 1] for s in range(4)] == [[0, 1, 2, 3], [0, 3, 4], [0, 4, 5], [0, 5, 6]]
    assert [keys[s, 1, 0] for s in range(4)] == [keys[s, 0, 1] for s in range(4)]  # a layer of its own
    assert [keys[s, 1, 1] for s in range(4)] == [keys[s, 0, 0] for s in range(4)]
    # One selection per KV head, on the row of its last query head: of the prompt's 3 old keys, then of 2.
    assert selections(result.workload) == [
        (s, layer, head, n, 1) for s, n in ((0, 3), (1, 2), (2, 2)) for layer in range(2) for head in (1, 3)
    ]
    assert result.workload.shape.uncharged_selections == 0
    rows = result.workload.rows
    assert (rows["accumulate"] == (rows["step"] < 3)).all()


def test_snapkv_keeps_pooled_keys_of_the_prompt_and_all_of_decode(tmp_path: Path) -> None:
    # The window's rows (tokens 6 and 7) give keys 0..5 votes proportional to 1, 16, 1, 1, 2, 1.
    trace = scored(tmp_path / "trace", [[[0, 4, 0, 0, 1, 0, 0, 0, 9, 0]]], prompt=8)
    kept = {}
    for pooling in ("average", "max"):
        config = SnapKVConfig(**NAMED, bits=32, window=2, budget=4, kernel=3, pooling=pooling)  # type: ignore[arg-type]
        result = apply(trace, SnapKV(config))
        keys = read(result)
        kept[pooling] = keys[1, 0, 0]
        assert keys[0, 0, 0] == list(range(8))
        assert keys[2, 0, 0] == [*kept[pooling], 9]
        assert selections(result.workload) == [(0, 0, 1, 6, 2)]
    # Sums of three neighbours: 17, 18, 18, 4, 4, 3. Largest of three: 16, 16, 16, 2, 2, 2, ties to the first.
    assert kept == {"average": [1, 2, 6, 7, 8], "max": [0, 1, 6, 7, 8]}


def test_snapkv_leaves_a_prompt_within_its_budget(tmp_path: Path) -> None:
    trace = scored(tmp_path / "trace", [FLAT], prompt=6)
    result = apply(trace, SnapKV(SnapKVConfig(**NAMED, window=2, budget=6, kernel=1)))
    assert [read(result)[s, 0, 0] for s in range(3)] == [list(range(6 + s)) for s in range(3)]


def test_votes_are_pooled_over_neighbours() -> None:
    votes = np.array([[1, 2, 3, 4], [0, 9, 0, 0]])
    assert pooled(votes, 3, "average").tolist() == [[3, 6, 9, 7], [9, 9, 9, 0]]
    assert pooled(votes, 3, "max").tolist() == [[2, 3, 4, 4], [9, 9, 9, 0]]
    assert pooled(votes, 1, "max").tolist() == votes.tolist()


def test_duo_attention_retrieval_heads_keep_all(tmp_path: Path) -> None:
    trace = scored(tmp_path / "trace", [FLAT * 2, FLAT * 2], prompt=5)
    gates = HeadTable(rows=((0.1, 0.7), (0.9, 0.2)))
    config = DuoAttentionConfig(**NAMED, retrieval=Fraction(1, 2), gates=gates, sinks=1, window=1)
    result = apply(trace, DuoAttention(config))
    keys = read(result)
    for step in range(1, 4):
        dense, streaming = list(range(5 + step)), [0, 3 + step, 4 + step]
        assert [keys[step, layer, kv] for layer in range(2) for kv in range(2)] == [streaming, dense, dense, streaming]
    assert result.workload.shape.uncharged_selections == 6


@pytest.mark.parametrize(("share", "count"), [("0", 0), ("1/4", 1), ("1/3", 2), ("1/2", 2), ("1", 4)])
def test_duo_attention_counts_retrieval_heads_as_a_quantile(tmp_path: Path, share: str, count: int) -> None:
    trace = scored(tmp_path / "trace", [FLAT * 2, FLAT * 2], prompt=5)
    gates = HeadTable(rows=((0.1, 0.7), (0.9, 0.2)))
    config = DuoAttentionConfig(**NAMED, retrieval=Fraction(share), gates=gates, sinks=0, window=1)
    keys = read(apply(trace, DuoAttention(config)))
    assert sum(len(ids) == 8 for (step, _, _), ids in keys.items() if step == 3) == count
    if 0 < Fraction(share) < 1:
        assert (gates.array >= np.quantile(gates.array, float(1 - Fraction(share)))).sum() == count


def test_duo_attention_without_gates_goes_by_the_prompt(tmp_path: Path) -> None:
    # KV head 0 of layer 0 looks back to token 2, between sink and window; KV head 1 to the sink. Layer 1: reversed.
    back, sink = [0, 0, 9, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0]
    trace = scored(tmp_path / "trace", [[back, sink], [sink, back]], prompt=6)
    config = DuoAttentionConfig(**NAMED, bits=32, retrieval=Fraction(1, 2), sinks=1, window=1)
    keys = read(apply(trace, DuoAttention(config)))
    dense, streaming = list(range(8)), [0, 6, 7]
    assert [keys[2, layer, kv] for layer in range(2) for kv in range(2)] == [dense, streaming, streaming, dense]


@st.composite
def traces(draw: st.DrawFn) -> dict[str, Any]:
    kv_heads = draw(st.integers(1, 2))
    return {
        "shape": {
            "layers": draw(st.integers(1, 2)),
            "heads": kv_heads * draw(st.integers(1, 2)),
            "kv_heads": kv_heads,
            "dim": draw(st.sampled_from([1, 3])),
            "levels": draw(st.sampled_from([None, 1])),
        },
        "seed": draw(st.integers(0, 10**6)),
        "prompt": draw(st.integers(1, 9)),
        "steps": draw(st.integers(0, 4)),
        "bits": draw(st.sampled_from([6, 12, 32])),
    }


def check_against_the_literal(case: dict[str, Any], folder: Path, rules: Policy, rule: Any) -> None:
    q, k, v = random_tensors(case["seed"], tokens=case["prompt"] + case["steps"], **case["shape"])
    trace = trace_of(folder, q, k, v, prompt_tokens=case["prompt"])
    got = apply(trace, rules)
    scaling = trace.manifest.model.scaling
    want = literal.run(q, k, v, prompt=case["prompt"], scaling=scaling, bits=case["bits"], rule=rule)
    assert read(got) == want.keys
    assert sorted((n, kept) for *_, n, kept in selections(got.workload)) == sorted(want.selections)
    group = case["shape"]["heads"] // case["shape"]["kv_heads"]
    for (step, layer, kv), outputs in want.outputs.items():
        values = got.outputs[0, step, layer].values[kv * group : (kv + 1) * group]
        np.testing.assert_array_equal(values, np.array(outputs))
    check_cascade(got.workload)


@given(case=traces(), heavy=st.fractions(0, 1, max_denominator=6), recent=st.fractions(0, 1, max_denominator=6))
@settings(max_examples=60)
def test_h2o_equals_the_literal_transcription(
    case: dict[str, Any], heavy: Fraction, recent: Fraction, tmp_path: Any
) -> None:
    rules = H2O(H2OConfig(**NAMED, bits=case["bits"], heavy=heavy, recent=recent))
    check_against_the_literal(
        case,
        tmp_path / "trace",
        rules,
        lambda caches: literal.HeavyHitters(caches, case["prompt"], heavy, recent),
    )


@given(case=traces(), data=st.data())
@settings(max_examples=60)
def test_snapkv_equals_the_literal_transcription(case: dict[str, Any], data: st.DataObject, tmp_path: Any) -> None:
    window = data.draw(st.integers(1, 4))
    budget = data.draw(st.integers(window + 1, 8))
    kernel, pooling = data.draw(st.sampled_from([1, 3, 5, 11])), data.draw(st.sampled_from(["average", "max"]))
    config = SnapKVConfig(**NAMED, bits=case["bits"], window=window, budget=budget, kernel=kernel, pooling=pooling)
    check_against_the_literal(
        case,
        tmp_path / "trace",
        SnapKV(config),
        lambda caches: literal.Observed(caches, case["prompt"], window, budget, kernel, pooling),
    )


def test_a_random_control_evicts_as_many(tmp_path: Path) -> None:
    q, k, v = random_tensors(5, layers=2, heads=4, kv_heads=2, tokens=30, dim=4)
    trace = trace_of(tmp_path / "trace", q, k, v, prompt_tokens=20)
    rules = H2OConfig(**NAMED)
    ours, control = apply(trace, H2O(rules)), apply(trace, RandomRanking(H2O(rules), seed=1, lsb_rate={}))
    assert {key: len(ids) for key, ids in read(ours).items()} == {key: len(ids) for key, ids in read(control).items()}
    assert read(ours) != read(control)
    check_cascade(control.workload)


class Own(KeepAll):
    """A policy that keeps everything but what a test makes it drop."""

    def keep_keys(self, state: Any) -> Any:
        return state.candidates


def small(folder: Path) -> sparcade.AttentionTrace:
    q, k, v = random_tensors(5, layers=2, heads=4, kv_heads=2, tokens=9, dim=4)
    return trace_of(folder, q, k, v, prompt_tokens=6)


def test_keeping_all_keys_is_dense(tmp_path: Path) -> None:
    trace = small(tmp_path / "trace")
    ours, dense = apply(trace, Own()).workload, apply(trace, policy()).workload
    for name in ("rows", "queries", "passes", "key_ids", "value_ids"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(dense, name))


def test_what_a_layer_drops_as_tokens_is_evicted_there(tmp_path: Path) -> None:
    class Mine(Own):
        def keep_tokens(self, state: Any) -> Any:
            ids = state.candidates
            return ids[ids != 1] if (state.step, state.layer) == (1, 1) else ids

        def keep_keys(self, state: Any) -> Any:
            ids = state.candidates
            return ids[ids != 2] if (state.layer, state.kv_head) == (0, 1) else ids

    keys = read(apply(small(tmp_path / "trace"), Mine()))
    assert keys[1, 0, 0] == list(range(7)) and keys[1, 0, 1] == [0, 1, 3, 4, 5, 6]
    assert keys[1, 1, 0] == keys[1, 1, 1] == [0, 2, 3, 4, 5, 6]
    assert keys[2, 0, 0] == list(range(8)) and keys[2, 0, 1] == [0, 1, 3, 4, 5, 6, 7]
    assert keys[2, 1, 0] == [0, 2, 3, 4, 5, 6, 7]  # token 2 is still there, although KV head 1 of layer 0 lost it


def test_a_policy_sees_what_its_kv_head_gave(tmp_path: Path) -> None:
    seen = []

    class Mine(Own):
        def keep_keys(self, state: Any) -> Any:
            seen.append((state.step, state.layer, state.kv_head, state.candidates.tolist()))
            assert len(state.probability) == len(state.seen) == state.context
            assert state.seen.tolist() == ([12, 10, 8, 6, 4, 2] if state.step == 0 else [2] * state.context)
            rows = 6 if state.step == 0 else 1
            assert abs(int(state.probability.sum()) - 2 * rows * 4096) < 40  # two query heads, rounded words
            with pytest.raises(ValueError, match="read-only"):
                state.probability[0] = 1
            return state.candidates

    apply(small(tmp_path / "trace"), Mine())
    places = [(s, layer, kv, list(range(6 + s))) for s in range(3) for layer in range(2) for kv in range(2)]
    assert seen == places  # not after the last step


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (lambda state: state.candidates[:0], ["keep_keys() at sequence 0, step 0, layer 0, KV head 0", "nothing"]),
        (lambda state: [99], ["id 99"]),
        (lambda state: None, ["TopK"]),
        (lambda state: 1 / 0, ["ZeroDivisionError"]),
        (lambda state: TopK(state.probability, 2) if state.step else state.candidates[1:], ["6 integers", "(7,)"]),
    ],
)
def test_answers_outside_the_protocol(tmp_path: Path, keep: Any, words: list[str]) -> None:
    class Mine(Own):
        def keep_keys(self, state: Any) -> Any:
            return keep(state)

    with pytest.raises(PolicyError) as caught:
        apply(small(tmp_path / "trace"), Mine())
    for word in words:
        assert word in str(caught.value)


def test_tokens_are_not_ranked_beside_keys(tmp_path: Path) -> None:
    class Mine(Own):
        def keep_tokens(self, state: Any) -> Any:
            ids = state.candidates
            return TopK(state.probability[ids], 3, ids[-1:]) if state.step else ids

    with pytest.raises(PolicyError, match="ranked as well as keys"):
        apply(small(tmp_path / "trace"), Mine())


def test_an_evicted_key_that_comes_back_is_found(tmp_path: Path) -> None:
    work = apply(small(tmp_path / "trace"), StreamingLLM(StreamingLLMConfig(**NAMED, sinks=1, window=2))).workload
    assert find_return(work) is None
    work.save(tmp_path / "work.npz")
    again = Workload.load(tmp_path / "work.npz")
    assert again.content_hash == work.content_hash
    assert again.shape == work.shape and again.shape.persistent == ("key",)
    row = np.flatnonzero((work.rows["step"] == 2) & (work.rows["layer"] == 1) & (work.rows["kv_head"] == 1))[0]
    ids = work.key_ids.copy()
    for member in (row, row + 1):  # [0, 5, 6, 7] reads token 3, which left after the prompt
        ids[work.rows["key_start"][member] + 1] = 3
    spoilt = Workload(
        shape=work.shape,
        rows=work.rows,
        queries=work.queries,
        passes=work.passes,
        key_ids=ids,
        value_ids=work.value_ids,
    )
    found = find_return(spoilt)
    assert found is not None and (found.row, found.kind, found.ids, found.returned) == (row, "key", 4, 1)
    with pytest.raises(WorkloadError, match="comes back after it was evicted"):
        check_cascade(spoilt)


@pytest.fixture(scope="module")
def stories() -> sparcade.AttentionTrace:
    return sparcade.AttentionTrace.load(sparcade.bundled_trace("stories260k"))


@pytest.fixture(scope="module")
def dense(stories: sparcade.AttentionTrace) -> sparcade.RunResult:
    return sparcade.simulate(apply(stories, load_policy("dense")).workload, sparcade.load_arch("spatten"))


@pytest.mark.parametrize(
    ("name", "changes", "keys"),
    [
        ("streaming-llm", ["window=124"], 4 + 124 + 1),
        ("h2o", [], 41 + 41 + 1),  # a tenth of 416, twice, and the newest
        ("snapkv", ["budget=96"], 96 + 96),  # of the prompt, and 96 of decode
        ("duo-attention", ["sinks=4", "window=60"], None),
    ],
)
def test_on_the_bundled_trace_and_the_hardware(
    stories: sparcade.AttentionTrace, dense: sparcade.RunResult, name: str, changes: list[str], keys: int | None
) -> None:
    result = apply(stories, load_policy(name, changes))
    work = result.workload
    check_cascade(work)
    last = work.rows[work.rows["step"] == 96]
    assert set(last["keys"].tolist()) == ({keys} if keys else {65, 512})
    if keys is None:
        assert (last["keys"] == 512).sum() == 5 * 2 * 2  # 2 of 4 KV heads, with two query heads each, in 5 layers
    prompt = work.rows["step"] == 0
    assert (work.rows["keys"][prompt] == 416).all()  # dense
    if name == "streaming-llm":
        assert result.survivors[0, 96, 4].tolist() == [*range(4), *range(512 - 125, 512)]
    ranked = (work.rows["token_n"] > 0).sum()
    assert ranked == {"h2o": 5 * 4 * 96, "snapkv": 5 * 4}.get(name, 0)
    run = sparcade.simulate(work, sparcade.load_arch("spatten"))
    decode = run.phase("decode")
    moved, before = (sum(each.total(decode)[f"tx_{kind}"] for kind in ("k_msb", "v")) for each in (run, dense))
    held = work.rows["keys"][~prompt].sum() / dense.workload.rows["keys"][~prompt].sum()
    assert moved / before == pytest.approx(held, rel=1e-9)
    assert run.cycles < dense.cycles
