"""The policies inside small models: evicted keys, masked heads, dropped layers and pruned patches leave for real."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from oracles import closed_loop_literal as literal  # noqa: E402
from small_models import CONFIGS, small_model  # noqa: E402
from sparcade.policy import Engine, Policy, PolicyResult  # noqa: E402
from sparcade.policy.duo_attention import DuoAttention, DuoAttentionConfig  # noqa: E402
from sparcade.policy.evit import EViT, EViTConfig  # noqa: E402
from sparcade.policy.h2o import H2O, H2OConfig  # noqa: E402
from sparcade.policy.head_mask import HeadMask, HeadMaskConfig  # noqa: E402
from sparcade.policy.head_table import HeadTable  # noqa: E402
from sparcade.policy.layer_drop import LayerDrop, LayerDropConfig  # noqa: E402
from sparcade.policy.snapkv import SnapKV, SnapKVConfig  # noqa: E402
from sparcade.policy.streaming_llm import StreamingLLM, StreamingLLMConfig  # noqa: E402
from sparcade.workload.cascade import check_cascade  # noqa: E402
from sparcade_workloads.__main__ import main  # noqa: E402
from sparcade_workloads.attention import hooked  # noqa: E402
from sparcade_workloads.closed_loop import run_image, run_sequence, shape_of  # noqa: E402
from sparcade_workloads.head_importance import head_importance  # noqa: E402
from sparcade_workloads.inputs import Input, read_steps  # noqa: E402

IDS = [3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 3, 8, 46, 26, 43, 38, 32, 7, 9, 50, 28]
PROMPT = 16
NAMED = {"name": "test", "source": "test", "bits": 32}
LAYERS = {"gpt2": {"n_layer": 4}, "llama": {"num_hidden_layers": 4}, "bert": {"num_hidden_layers": 4}}


def closed(model: Any, rules: Policy, prompt: int = PROMPT) -> tuple[PolicyResult, list[np.ndarray]]:
    """The result of IDS, and the last hidden states of each step."""
    engine = Engine(model=shape_of(model, "test"), policy=rules)
    steps = run_sequence(model, engine, IDS, prompt_tokens=prompt, names=[str(token) for token in IDS])
    outputs = [output[0][0].detach().numpy() for output in steps]
    result = engine.result(name="test", trace_hash="", closed=True)
    check_cascade(result.workload)
    return result, outputs


def attended(net: literal.Net, keys: dict[tuple[int, int, int], set[int]]) -> list[np.ndarray]:
    """Last hidden states of each step of a literal forward pass in which each KV head reads given keys, in float64."""
    group = net.heads // net.kv_heads
    cache: dict[tuple[str, int], np.ndarray] = {}
    outputs = []
    for step in range(1 + len(IDS) - PROMPT):
        rows = list(range(PROMPT)) if step == 0 else [PROMPT + step - 1]
        x = net.embed([IDS[token] for token in rows], rows)
        for layer in range(net.layers):
            q, k, v = net.project(layer, x, rows)
            for name, new in (("k", k), ("v", v)):
                old = cache.get((name, layer))
                cache[name, layer] = new if old is None else np.concatenate([old, new], axis=1)
            out = np.zeros((len(rows), net.heads, net.dim))
            for head in range(net.heads):
                for index, token in enumerate(rows):
                    ids = [key for key in sorted(keys[step, layer, head // group]) if key <= token]
                    scores = cache["k", layer][head // group][ids] @ q[head, index] * net.dim**-0.5
                    weights = np.exp(scores - scores.max())
                    out[index, head] = weights / weights.sum() @ cache["v", layer][head // group][ids]
            x = net.finish(layer, x, out.reshape(len(rows), -1))
        outputs.append(net.read(x))
    return outputs


EVICTING = {
    "streaming-llm": StreamingLLM(StreamingLLMConfig(**NAMED, sinks=2, window=5)),
    "h2o": H2O(H2OConfig(**NAMED, heavy=Fraction(1, 4), recent=Fraction(1, 8))),
    "snapkv": SnapKV(SnapKVConfig(**NAMED, window=3, budget=8, kernel=3)),
    "duo-attention": DuoAttention(DuoAttentionConfig(**NAMED, sinks=1, window=4)),
}


@pytest.mark.parametrize("name", EVICTING)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_evicted_keys_are_read_by_nobody(family: str, name: str) -> None:
    model = small_model(family, **LAYERS[family]).double()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    net = literal.llama(weights, 4, 4, 2) if family == "llama" else literal.gpt2(weights, 4, 4)
    result, outputs = closed(model, EVICTING[name])
    work = result.workload
    keys: dict[tuple[int, int, int], set[int]] = {}
    for row in work.rows:
        ids = set(work.key_ids[row["key_start"] :][: row["keys"]].tolist())
        assert keys.setdefault((int(row["step"]), int(row["layer"]), int(row["kv_head"])), ids) == ids
    for (step, layer, kv), ids in keys.items():
        if step == 0:
            assert ids == set(range(PROMPT))  # the prompt is dense
            continue
        context = PROMPT + step
        assert context - 1 in ids
        size = {"streaming-llm": 8, "h2o": 4 + 2 + 1, "snapkv": 8 + step}.get(name)
        assert len(ids) == size or (size is None and len(ids) in (6, context))
        if name == "streaming-llm":
            assert ids == {0, 1, *range(context - 6, context)}
        before = keys[step - 1, layer, kv]
        assert ids <= before | {context - 1}
    if name == "duo-attention":
        assert sorted(len(keys[8, layer, kv]) == 24 for layer in range(4) for kv in range(net.kv_heads)) == [
            *([False] * (2 * net.kv_heads)),
            *([True] * (2 * net.kv_heads)),
        ]
    want = attended(net, keys)
    for got, expected in zip(outputs, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)
    assert np.abs(outputs[-1] - attended(net, {key: set(range(len(IDS))) for key in keys})[-1]).max() > 0.01


def blocks(model: Any) -> Any:
    """The list of the layers of a small model."""
    for path in ("h", "layers", "encoder.layer", "encoder.layers"):
        try:
            return model.get_submodule(path)
        except AttributeError:
            continue
    raise AssertionError("no layers")


def projection(block: Any) -> Any:
    """The module behind the attention output of a layer of GPT-2, Llama, BERT or ViT."""
    for path in ("attn.c_proj", "self_attn.o_proj", "attention.output.dense", "attention.o_proj"):
        try:
            return block.get_submodule(path)
        except AttributeError:
            continue
    raise AssertionError("no projection")


def without(model: Any, family: str, dropped: list[int], part: str) -> Any:
    """The model without those layers, or with the attention of those layers contributing nothing."""
    if part == "attention":
        for layer in dropped:
            for parameter in projection(blocks(model)[layer]).parameters():
                torch.nn.init.zeros_(parameter)
        return model
    layers = blocks(model)
    stay = [layer for index, layer in enumerate(layers) if index not in dropped]
    del layers[:]
    for index, layer in enumerate(stay):
        layers.append(layer)
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index
    model.config.num_hidden_layers = len(stay)
    return model


@pytest.mark.parametrize("part", ["layer", "attention"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_dropped_layers_are_the_model_without_them(family: str, part: Any) -> None:
    prompt = len(IDS) if family == "bert" else PROMPT
    rules = LayerDrop(LayerDropConfig(**NAMED, part=part, layers=(0, 2)))
    result, outputs = closed(small_model(family, **LAYERS[family]), rules, prompt)
    assert set(result.workload.rows["layer"].tolist()) == {1, 3}
    smaller = without(small_model(family, **LAYERS[family]), family, [0, 2], part)
    for got, output in zip(outputs, read_steps(smaller, IDS, prompt), strict=True):
        np.testing.assert_allclose(got, output[0][0].detach().numpy(), rtol=0, atol=1e-4)


def test_a_dropped_layer_hands_on_pruned_tokens_too() -> None:
    """Tokens that an earlier layer pruned stay away behind a layer without attention."""

    class Mine(LayerDrop):
        def keep_tokens(self, state: Any) -> Any:
            ids = state.candidates
            return ids[(ids % 2 == 0) | (ids == state.newest)] if state.layer == 1 else ids

    for part in ("layer", "attention"):
        rules = Mine(LayerDropConfig(**NAMED, part=part, layers=(2,)))  # type: ignore[arg-type]
        result, outputs = closed(small_model("gpt2", **LAYERS["gpt2"]), rules)
        assert result.survivors[0, 0, 2].tolist() == result.survivors[0, 0, 3].tolist() == [*range(0, 16, 2), 15]
        assert np.isfinite(outputs[0][[*range(0, 16, 2), 15]]).all() and np.isnan(outputs[0][1:15:2]).all()


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_masked_heads_add_nothing(family: str) -> None:
    prompt = len(IDS) if family == "bert" else PROMPT
    mask = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 1, 0]])
    table = HeadTable(rows=tuple(map(tuple, mask.astype(float).tolist())))
    rules = HeadMask(HeadMaskConfig(**NAMED, importance=table))
    result, outputs = closed(small_model(family, **LAYERS[family]), rules, prompt)
    assert {(int(row["layer"]), int(row["head"])) for row in result.workload.rows} == set(
        zip(*map(np.ndarray.tolist, mask.nonzero()), strict=True)
    )
    model = small_model(family, **LAYERS[family])
    with torch.no_grad():
        for layer, head in zip(*np.nonzero(mask == 0), strict=True):
            weight = projection(blocks(model)[layer]).weight
            (weight if family == "gpt2" else weight.T)[head * 8 : (head + 1) * 8] = 0  # rows of the head's 8 features
    for got, output in zip(outputs, read_steps(model, IDS, prompt), strict=True):
        np.testing.assert_allclose(got, output[0][0].detach().numpy(), rtol=0, atol=1e-4)


def image(model: Any) -> Input:
    pixels = np.random.default_rng(4).standard_normal((3, 12, 12)).astype(np.float32)
    count = 9 + (2 if model.config.model_type == "deit" else 1)
    return Input(
        text="noise",
        tokens=tuple(f"t{index}" for index in range(count)),
        token_ids=tuple(range(count)),
        prompt_tokens=count,
        pixels=lambda: pixels,
    )


@pytest.mark.parametrize("family", ["vit", "deit"])
def test_pruned_patches_leave_a_vision_transformer(family: str) -> None:
    special = 2 if family == "deit" else 1
    model = small_model(family, num_hidden_layers=4)
    item = image(model)
    engine = Engine(
        model=shape_of(model, "test"),
        policy=EViT(EViTConfig(**NAMED, keep=Fraction(1, 2), after=(0, 2), special=special)),
    )
    output = run_image(model, engine, item)
    result = engine.result(name="test", trace_hash="", closed=True)
    check_cascade(result.workload)

    # The same by hand: run each layer on what is left, and drop rows behind layers 0 and 2.
    assert item.pixels is not None
    weights: list[Any] = []

    def look(call: Any) -> tuple[Any, Any]:
        out, attention = call.eager()
        weights.append(attention)
        return out, attention

    alive = np.arange(len(item.tokens))
    with torch.no_grad(), hooked(model, look):
        x = model.embeddings(torch.from_numpy(item.pixels())[None])
        for layer, block in enumerate(blocks(model)):
            assert result.survivors[0, 0, layer].tolist() == alive.tolist()
            x = block(x)
            x = x[0] if isinstance(x, tuple) else x
            if layer in (0, 2):
                votes = weights[-1][0, :, 0, special:].sum(dim=0).numpy()
                best = np.sort(np.argsort(-votes, kind="stable")[: -(-len(votes) // 2)])
                rows = np.concatenate([np.arange(special), special + best])
                alive, x = alive[rows], x[:, rows]
        want = model.layernorm(x)[0].numpy()
    assert len(alive) == special + 3  # 9, 5, 3 patches
    got = output.last_hidden_state[0].numpy()
    np.testing.assert_allclose(got[alive], want, rtol=0, atol=1e-4)
    assert np.isnan(np.delete(got, alive, axis=0)).all()
    rows = result.workload.rows
    assert [(int(n), int(k)) for n, k in zip(rows["token_n"], rows["token_k"], strict=True) if n] == [(9, 5), (5, 3)]


def test_a_vision_transformer_without_pruning_is_itself() -> None:
    model = small_model("vit")
    item = image(model)
    assert item.pixels is not None
    engine = Engine(model=shape_of(model, "test"), policy=EViT(EViTConfig(**NAMED, after=())))
    with torch.no_grad():
        own = model(pixel_values=torch.from_numpy(item.pixels())[None]).last_hidden_state
    np.testing.assert_allclose(run_image(model, engine, item).last_hidden_state, own, rtol=0, atol=1e-4)


def test_importance_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["importance", "model", "--data", "text.txt", "--out", str(tmp_path / "table.tsv"), "--tokens", "1"]
    assert main(asked) == 2
    assert "16 of 1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_importance_is_the_gradient_of_a_factor_on_each_head() -> None:
    """Against a central difference of the loss, head by head."""
    torch.manual_seed(7)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**CONFIGS["gpt2"][2])).eval().double()
    sequences = [IDS[:10], IDS[8:20]]

    def loss(ids: list[int], layer: int, head: int, factor: float) -> float:
        calls = iter(range(2))

        def attend(call: Any) -> tuple[Any, Any]:
            out, weights = call.eager()
            if next(calls) == layer:
                out = out.clone()
                out[:, :, head] *= factor
            return out, weights

        with torch.no_grad(), hooked(model, attend):
            rows = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, :-1], dim=-1)
            return -float(rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean())

    small = 1e-5
    slopes = np.array(
        [
            [
                sum(
                    abs(loss(ids, layer, head, 1 + small) - loss(ids, layer, head, 1 - small)) / (2 * small)
                    for ids in sequences
                )
                for head in range(4)
            ]
            for layer in range(2)
        ]
    )
    want = slopes / np.sqrt((slopes**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(head_importance(model, sequences), want, rtol=1e-4)
