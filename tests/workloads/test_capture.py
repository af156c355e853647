"""Capture against stock attention, on random-init models of the three families, and the bundled traces."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparcade.errors import ConfigError, TraceError
from sparcade.trace import AttentionTrace
from sparcade_workloads import TRACE_NAMES, bundled_traces
from sparcade_workloads.__main__ import main

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sparcade_workloads import models, recipes  # noqa: E402
from sparcade_workloads.capture import attention, capture, output_rows, record  # noqa: E402

TOKENS = [3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 3, 8, 46, 26, 43, 38, 32, 7, 9, 50, 28]
PROMPT = 17


def _gpt2():
    # A wide initialisation makes attention peaked: a wrong mask or a wrong row then shows.
    config = transformers.GPT2Config(
        vocab_size=64,
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config).eval()


def _llama():
    config = transformers.LlamaConfig(
        vocab_size=64,
        max_position_embeddings=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config).eval()


def _bert():
    config = transformers.BertConfig(
        vocab_size=64,
        max_position_embeddings=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.3,
    )
    return transformers.BertModel(config).eval()


FAMILIES = {
    "gpt2": (_gpt2, PROMPT, "causal", 4),
    "llama": (_llama, PROMPT, "causal", 2),
    "bert": (_bert, len(TOKENS), "full", 4),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    make, prompt, mask, kv_heads = FAMILIES[request.param]
    torch.manual_seed(7)
    return make(), prompt, mask, kv_heads


def test_capture_reproduces_stock_attention(family):
    model, prompt, mask, kv_heads = family
    before = model.config._attn_implementation
    captured = capture(model, TOKENS, prompt_tokens=prompt, mask=mask)
    assert captured.error <= 1e-4
    assert captured.scaling == pytest.approx(8**-0.5)
    assert captured.output_rows == tuple(range(len(TOKENS)))
    assert len(captured.layers) == 2
    for layer in captured.layers:
        assert layer.q.shape == layer.out.shape == (4, len(TOKENS), 8)
        assert layer.k.shape == layer.v.shape == (kv_heads, len(TOKENS), 8)
        assert {array.dtype for array in (layer.q, layer.k, layer.v, layer.out)} == {np.dtype("float32")}
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_decode_equals_a_full_prefill(name):
    torch.manual_seed(7)
    model = FAMILIES[name][0]()
    steps = record(model, TOKENS, prompt_tokens=PROMPT)
    whole = record(model, TOKENS, prompt_tokens=len(TOKENS))
    for decoded, prefilled in zip(steps, whole, strict=True):
        assert decoded.name == prefilled.name
        for tensor in ("q", "k", "v"):
            np.testing.assert_allclose(getattr(decoded, tensor), getattr(prefilled, tensor), atol=1e-5, rtol=0)


def test_a_wrong_mask_is_refused(family):
    model, prompt, mask, _kv_heads = family
    wrong = {"causal": "full", "full": "causal"}[mask]
    with pytest.raises(TraceError, match="not what the model computes"):
        capture(model, TOKENS, prompt_tokens=prompt, mask=wrong)


def test_a_model_outside_the_registry_is_refused():
    config = transformers.OpenAIGPTConfig(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    model = transformers.OpenAIGPTModel(config).eval()
    with pytest.raises(TraceError, match="ignores the attention interface"):
        capture(model, TOKENS, prompt_tokens=len(TOKENS), mask="causal")


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(TraceError, match="training mode"):
        capture(_gpt2().train(), TOKENS, prompt_tokens=PROMPT, mask="causal")


def test_layers_with_different_scaling_are_refused():
    torch.manual_seed(7)
    config = dataclasses.replace(_gpt2().config, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(TraceError, match="layers scale"):
        capture(transformers.GPT2LMHeadModel(config).eval(), TOKENS, prompt_tokens=PROMPT, mask="causal")


def test_a_windowed_cache_is_refused():
    config = transformers.MistralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
    )
    model = transformers.MistralForCausalLM(config).eval()
    with pytest.raises(TraceError, match="one key per token"):
        capture(model, TOKENS, prompt_tokens=PROMPT, mask="causal")


@pytest.mark.parametrize(
    ("prompt", "tokens", "prefill"),
    [(1, 1, [0]), (5, 7, [0, 1, 2, 3, 4]), (32, 32, list(range(32))), (33, 34, [*range(31), 32])],
)
def test_output_rows_of_short_prompts(prompt, tokens, prefill):
    assert output_rows(prompt, tokens) == (*prefill, *range(prompt, tokens))


def test_output_rows_of_a_long_prompt():
    rows = output_rows(416, 512)
    assert (len(rows), rows[0], rows[1], rows[30], rows[31], rows[32], rows[-1]) == (128, 0, 13, 401, 415, 416, 511)


def test_sampling_follows_its_seed_and_starts_again_after_the_end():
    torch.manual_seed(7)
    model = _gpt2()
    options = {"tokens": 40, "temperature": 1.0, "bos": 1}
    first = models.sample(model, [1, 5], seed=3, eos=63, **options)
    assert first == models.sample(model, [1, 5], seed=3, eos=63, **options)
    assert first != models.sample(model, [1, 5], seed=4, eos=63, **options)
    assert len(first) == 40
    end = first[2]
    ended = models.sample(model, [1, 5], seed=3, eos=end, **options)
    assert ended[2] == 1
    assert end not in ended[2:]


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys; import sparcade_workloads as w; w.bundled_traces(); "
        "print(sorted({'torch', 'transformers', 'numpy', 'pandas', 'sparcade'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_missing_folders_are_reported_without_a_traceback(tmp_path, capsys):
    arguments = ["make", "minilm", "--models", str(tmp_path / "none"), "--texts", str(tmp_path), "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "--models" in capsys.readouterr().err
    arguments[3] = str(tmp_path)
    arguments[1] = "stories260k"
    assert main(arguments) == 2
    assert "config.json" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such trace recipe"):
        recipes.make("bert", tmp_path, tmp_path, tmp_path)


@pytest.mark.parametrize("name", TRACE_NAMES)
def test_bundled_trace_reproduces_the_model(name):
    trace = AttentionTrace.load(bundled_traces()[name])
    model = trace.manifest.model
    worst = 0.0
    for sequences in trace.layers():
        for shape, layer in zip(trace.manifest.sequences, sequences, strict=True):
            rows = shape.output_rows
            out = attention(layer.q, layer.k, layer.v, scaling=model.scaling, rows=rows, mask=model.mask)
            worst = max(worst, float(np.abs(out - layer.out).max()))
    assert 0.9 * trace.manifest.stored_error <= worst <= trace.manifest.stored_error <= 1e-4


def test_bundled_traces_are_small_enough():
    sizes = [
        path.stat().st_size for folder in bundled_traces().values() for path in Path(folder).iterdir() if path.is_file()
    ]
    assert max(sizes) <= 5_000_000
    assert sum(sizes) <= 15_000_000


@pytest.mark.parametrize("name", TRACE_NAMES)
def test_bundled_tokens_spell_their_text(name):
    for sequence in AttentionTrace.load(bundled_traces()[name]).manifest.sequences:
        spelled = "".join(sequence.tokens)
        if name == "minilm":
            spelled = spelled.removeprefix("[CLS]").removesuffix("[SEP]").replace("##", "")
            assert spelled == sequence.text.lower().replace(" ", "")
        else:
            assert spelled.replace("<s>", "").replace(" ", "") == sequence.text.replace("<s>", "").replace(" ", "")
            assert not set(spelled) & {"\u0120", "\u2581", "\ufffd"}
