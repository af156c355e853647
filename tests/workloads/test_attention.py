"""The hook sees every attention of every family, changes nothing, and refuses what a trace can't say."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from small_models import DECODERS, ENCODERS, LEGACY, VISION, small_model  # noqa: E402
from sparcade.errors import TraceError  # noqa: E402
from sparcade_workloads.attention import STOCK, hooked, implementation, probe  # noqa: E402
from sparcade_workloads.masks import mask_kinds  # noqa: E402

TOKENS = torch.tensor([[3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7, 9]])
PIXELS = torch.linspace(-2, 2, 3 * 12 * 12).reshape(1, 3, 12, 12)


def inputs(family):
    return {"pixel_values": PIXELS} if family in VISION else {"input_ids": TOKENS}


def run(model, family):
    with torch.no_grad():
        return model(**inputs(family)).last_hidden_state


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS, *VISION])
def test_the_hook_sees_each_layer_once_and_changes_nothing(family):
    model, calls = small_model(family), []

    def look(call):
        calls.append(call)
        return call.eager()

    with implementation(model, "eager"):
        expected = run(model, family)
    before = model.config._attn_implementation
    with hooked(model, look):
        got = run(model, family)
    assert torch.equal(got, expected)
    assert [call.name for call in calls] == [layer.name for layer in probe(model, lambda: run(model, family))]
    assert len(calls) == 2
    assert model.config._attn_implementation == before
    with implementation(model, STOCK):
        torch.testing.assert_close(run(model, family), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["bert", "llama", "vit"])
def test_the_hook_can_replace_attention(family):
    model = small_model(family)
    with hooked(model, lambda call: call.eager()):
        plain = run(model, family)
    with hooked(model, lambda call: replace(call, value=0 * call.value).eager()):
        changed = run(model, family)
    assert not torch.allclose(plain, changed, atol=1e-2)


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS, *VISION])
def test_the_probe_tells_the_geometry(family):
    model = small_model(family)
    layers = probe(model, lambda: run(model, family))
    for layer in layers:
        assert (layer.heads, layer.kv_heads, layer.head_dim) == (
            4,
            2 if family in ("llama", "mistral", "qwen3") else 4,
            8,
        )
        assert layer.mask == ("causal" if family in DECODERS else "full")
        assert layer.scaling == pytest.approx(1.0 if family == "opt" else 8**-0.5)
    suffix = {
        "bert": "attention.output.dense",
        "roberta": "attention.output.dense",
        "distilbert": "out_lin",
        "gpt2": "attn.c_proj",
        "opt": "out_proj",
    }.get(family, "o_proj")
    assert [layer.reader.endswith(suffix) for layer in layers] == [True, True]


@pytest.mark.parametrize("family", LEGACY)
def test_a_model_outside_the_interface_is_refused(family):
    model = small_model(family)
    with pytest.raises(TraceError, match="ignores the attention interface") as caught:
        probe(model, lambda: run(model, family))
    assert "BERT" in caught.value.expected


@pytest.mark.parametrize(("family", "what"), [("gemma2", "soft-cap"), ("gpt-oss", "sinks"), ("t5", "encoder-decoder")])
def test_attention_that_a_trace_cannot_say_is_refused(family, what):
    model = small_model(family)
    with pytest.raises(TraceError) as caught:
        probe(model, lambda: run(model, family))
    assert what in caught.value.got
    assert "GPT-2" in caught.value.expected


def test_a_model_in_training_mode_is_refused():
    model = small_model("gpt2").train()
    with pytest.raises(TraceError, match="training mode"):
        probe(model, lambda: run(model, "gpt2"))


def test_a_model_that_never_calls_is_refused():
    with pytest.raises(TraceError, match="never called"), hooked(small_model("gpt2"), lambda call: call.eager()):
        pass


def test_the_registry_keeps_nothing():
    class Holder:
        def __call__(self, call):
            return call.eager()

    model, holder = small_model("gpt2"), Holder()
    held = weakref.ref(holder)
    with hooked(model, holder):
        run(model, "gpt2")
    del holder
    gc.collect()
    assert held() is None


HIDDEN = torch.finfo(torch.float32).min


def bias(visible):
    return torch.where(torch.tensor(visible, dtype=torch.bool), 0.0, HIDDEN)[None, None]


@pytest.mark.parametrize(
    ("mask", "first", "keys", "kinds"),
    [
        (None, 0, 3, ("full",)),
        (None, 2, 3, ("causal", "full")),
        (bias([[1, 1, 1]]), 2, 3, ("causal", "full")),
        (bias([[1, 0, 0], [1, 1, 0], [1, 1, 1]]), 0, 3, ("causal",)),
        (bias([[1, 1, 0], [1, 1, 1]]), 1, 3, ("causal",)),
        (bias([[1, 1, 1]] * 3), 0, 3, ("full",)),
    ],
)
def test_masks(mask, first, keys, kinds):
    assert mask_kinds(mask, first=first, keys=keys, where="here") == kinds
    if mask is not None:
        assert mask_kinds(mask == 0, first=first, keys=keys, where="here") == kinds


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (bias([[1, 0, 0], [1, 1, 0], [0, 1, 1]]), "a sliding window of 2"),
        (bias([[1, 1, 0], [1, 1, 0], [1, 1, 0]]), "at most 2"),
        (bias([[1, 0, 0], [1, 1, 0], [1, 1, 1]]) - torch.eye(3), "ALiBi"),
    ],
)
def test_other_masks_are_refused(mask, got):
    with pytest.raises(TraceError) as caught:
        mask_kinds(mask, first=0, keys=3, where="here")
    assert got in caught.value.got


def test_a_model_without_stock_attention_is_refused():
    with (
        pytest.raises(TraceError, match="can't take this attention") as caught,
        implementation(small_model("gpt-oss"), STOCK),
    ):
        pass
    assert "GPT-2" in caught.value.expected
