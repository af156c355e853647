"""Captures of every family: right to 1e-4 against an independent attention, resumable, bounded in memory."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from small_models import DECODERS, ENCODERS, VISION, small_model  # noqa: E402
from sparcade.errors import ConfigError, TraceError  # noqa: E402
from sparcade.trace import AttentionTrace, Excerpt  # noqa: E402
from sparcade_workloads import capture as capture_module  # noqa: E402
from sparcade_workloads.attention import STOCK  # noqa: E402
from sparcade_workloads.capture import capture  # noqa: E402
from sparcade_workloads.inputs import Input  # noqa: E402

TOKENS = [3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 3, 8, 46, 26, 43, 38, 32, 7, 9, 50, 28]
PROMPT = 17
PIXELS = np.linspace(-2, 2, 3 * 12 * 12, dtype=np.float32).reshape(3, 12, 12)
#: The projections that read the attention output, written down by hand.
PROJECTIONS = {
    "bert": "encoder.layer.{}.attention.output.dense",
    "roberta": "encoder.layer.{}.attention.output.dense",
    "distilbert": "transformer.layer.{}.attention.out_lin",
    "gpt2": "h.{}.attn.c_proj",
    "opt": "decoder.layers.{}.self_attn.out_proj",
    "llama": "layers.{}.self_attn.o_proj",
    "mistral": "layers.{}.self_attn.o_proj",
    "qwen3": "layers.{}.self_attn.o_proj",
    "vit": "layers.{}.attention.o_proj",
    "deit": "layers.{}.attention.o_proj",
}


def sequence(tokens=TOKENS, prompt=None):
    return Input(
        text="",
        tokens=tuple(map(str, tokens)),
        token_ids=tuple(tokens),
        prompt_tokens=prompt or len(tokens),
    )


def family_input(family):
    if family in VISION:
        tokens = tuple(map(str, range(10 + (family == "deit"))))
        ids = tuple(range(len(tokens)))
        return Input(text="", tokens=tokens, token_ids=ids, prompt_tokens=len(ids), pixels=lambda: PIXELS)
    return sequence(prompt=PROMPT if family in DECODERS else None)


def run(folder, family, items=None, model=None, **options):
    return capture(
        model or small_model(family), items or [family_input(family)], folder, name=family, source="test", **options
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def attention_by_hand(layer, model):
    """Every row of every head, one after the other, in float64."""
    heads, tokens, dim = layer.q.shape
    output = np.zeros((tokens, heads, dim))
    for head in range(heads):
        kv_head = head * layer.k.shape[0] // heads
        for row in range(tokens):
            seen = row + 1 if model.mask == "causal" else tokens
            scores = [
                sum(float(a) * float(b) for a, b in zip(layer.q[head, row], layer.k[kv_head, key], strict=True))
                for key in range(seen)
            ]
            powers = np.exp(model.scaling * (np.array(scores) - max(scores)))
            output[row, head] = (powers / powers.sum()) @ layer.v[kv_head, :seen].astype(np.float64)
    return output


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS, *VISION])
def test_captured_attention_is_that_of_the_model(tmp_path, family):
    """By hand from the stored Q, K, V, beside what the projection reads when the plain model runs at once."""
    model = small_model(family)
    trace = run(tmp_path / "trace", family, model=model)
    shape = trace.manifest.model
    assert (shape.layers, shape.heads, shape.head_dim) == (2, 4, 8)
    assert shape.kv_heads == (2 if family in ("llama", "mistral", "qwen3") else 4)
    assert shape.mask == ("causal" if family in DECODERS else "full")
    assert 0 < trace.manifest.stored_error <= 1e-4
    taken = []
    for index in range(2):
        module = model.get_submodule(PROJECTIONS[family].format(index))
        module.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0][0].numpy().copy()))
    with torch.no_grad():
        if family in VISION:
            model(pixel_values=torch.from_numpy(PIXELS)[None])
        else:
            model(input_ids=torch.tensor([TOKENS]))
    rows = list(trace.manifest.sequences[0].output_rows)
    assert rows == list(range(len(trace.manifest.sequences[0].tokens)))
    for index, own in enumerate(taken):
        layer = trace.tensors(index, 0)
        own = own.reshape(len(rows), 4, 8)
        np.testing.assert_allclose(attention_by_hand(layer, shape), own, atol=1e-4, rtol=0)
        np.testing.assert_allclose(layer.out.swapaxes(0, 1), own, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", DECODERS)
def test_decode_equals_a_full_prefill(tmp_path, family):
    steps = run(tmp_path / "steps", family)
    whole = run(tmp_path / "whole", family, [sequence()])
    assert steps.manifest.sequences[0].decode_steps == len(TOKENS) - PROMPT
    for layer in range(2):
        for name in ("q", "k", "v"):
            decoded, prefilled = (getattr(trace.tensors(layer, 0), name) for trace in (steps, whole))
            np.testing.assert_allclose(decoded, prefilled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_sequences_are_captured_alone(tmp_path, family):
    """A batch is its sequences one by one, without padding: each as if it had been captured alone."""
    items = [sequence(TOKENS[:count], min(count, 9) if family == "llama" else None) for count in (24, 9, 1, 13)]
    batch = run(tmp_path / "batch", family, items)
    for index, item in enumerate(items):
        alone = run(tmp_path / f"alone{index}", family, [item])
        for layer in range(2):
            for name in ("q", "k", "v", "out"):
                np.testing.assert_array_equal(
                    getattr(batch.tensors(layer, index), name), getattr(alone.tensors(layer, 0), name)
                )


def test_some_layers(tmp_path):
    model = small_model("gpt2", n_layer=5)
    whole = run(tmp_path / "whole", "gpt2", model=model)
    part = run(tmp_path / "part", "gpt2", model=model, layers=[4, 1, 2])
    assert part.manifest.model.layers == 3
    assert part.manifest.model.excerpt == Excerpt(layers=(1, 2, 4), of=5)
    assert whole.manifest.model.excerpt is None
    assert run(tmp_path / "all", "gpt2", model=model, layers=range(5)).content_hash == whole.content_hash
    for stored, layer in enumerate((1, 2, 4)):
        for name in ("q", "k", "v", "out"):
            np.testing.assert_array_equal(
                getattr(part.tensors(stored, 0), name), getattr(whole.tensors(layer, 0), name)
            )


@pytest.mark.parametrize("layers", [[2], [-1], []])
def test_a_layer_that_does_not_exist_is_refused(tmp_path, layers):
    with pytest.raises(ConfigError, match="no such layer") as caught:
        run(tmp_path / "trace", "gpt2", layers=layers)
    assert "0..1" in caught.value.expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_float16_and_its_errors(tmp_path, family):
    """The stored values are the rounded ones, and the manifest says what rounding did, measured here again."""
    single, half = (run(tmp_path / dtype, family, dtype=dtype) for dtype in ("float32", "float16"))
    rounding = half.manifest.rounding
    assert single.manifest.rounding is None
    assert rounding.error_before == single.manifest.stored_error
    assert half.stored_bytes() < 0.8 * single.stored_bytes()
    changes = dict.fromkeys(("q", "k", "v", "output", "stored"), 0.0)
    for layer in range(2):
        exact, rounded = single.tensors(layer, 0), half.tensors(layer, 0)
        np.testing.assert_array_equal(exact.out, rounded.out)
        for name in ("q", "k", "v"):
            before, after = getattr(exact, name), getattr(rounded, name)
            np.testing.assert_array_equal(after, before.astype(np.float16))
            changes[name] = max(changes[name], np.abs(after.astype(np.float32) - before).max())
        outputs = [attention_by_hand(tensors, half.manifest.model) for tensors in (exact, rounded)]
        changes["output"] = max(changes["output"], np.abs(outputs[0] - outputs[1]).max())
        changes["stored"] = max(changes["stored"], np.abs(outputs[1] - exact.out.swapaxes(0, 1)).max())
    for name in ("q", "k", "v", "output"):
        assert changes[name] <= getattr(rounding, name) * (1 + 1e-9)
        assert changes[name] == pytest.approx(getattr(rounding, name), rel=0.01)
    assert changes["stored"] == pytest.approx(half.manifest.stored_error, rel=0.01)
    assert half.manifest.stored_error > 1e-4 > rounding.error_before


def test_values_too_large_for_float16_are_refused(tmp_path):
    model = small_model("gpt2")
    with torch.no_grad():
        model.h[1].attn.c_attn.bias[70] = 1e5
    with pytest.raises(TraceError, match="does not fit") as caught:
        run(tmp_path / "trace", "gpt2", model=model, dtype="float16")
    assert "1e+05 in v" in caught.value.got
    assert list(tmp_path.iterdir()) == []


def items_of(*counts):
    return [sequence(TOKENS[:count], count - 3) for count in counts]


class StoppedError(Exception):
    """A capture that was stopped."""


def stop_after(fraction):
    def progress(done):
        if done > fraction:
            raise StoppedError

    return progress


def test_a_stopped_capture_goes_on(tmp_path):
    """At the sequence that is missing, to the same bytes as in one go; what is done is not run again."""
    items = items_of(24, 20, 22, 19)
    whole = run(tmp_path / "whole", "llama", items)
    for fraction in (0.3, 0.7, 0.95):
        with pytest.raises(StoppedError):
            run(tmp_path / "trace", "llama", items, progress=stop_after(fraction))
        assert not (tmp_path / "trace").exists()
    model, read = small_model("llama"), []
    model.register_forward_pre_hook(
        lambda _module, _args, options: read.append(options["input_ids"].shape[1]), with_kwargs=True
    )
    fractions = []
    resumed = run(tmp_path / "trace", "llama", items, model=model, progress=fractions.append)
    assert read[1:] == [16, 1, 1, 1] * 2  # after the probe, the last sequence alone, under both attentions
    assert resumed.content_hash == whole.content_hash
    assert contents(tmp_path / "trace") == contents(tmp_path / "whole")
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "trace"}


def test_a_killed_capture_goes_on(tmp_path):
    """SIGKILL in the middle of the third sequence, and a line that was torn."""
    script = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import test_capture as t\n"
        "progress = lambda done: done > 0.7 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.run(Path(sys.argv[2]) / 'trace', 'gpt2', t.items_of(24, 20, 22, 19), dtype='float16', progress=progress)"
    )
    folder = str(tmp_path)
    here = __file__.rpartition("/")[0]
    done = subprocess.run([sys.executable, "-c", script, here, folder], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    progress = tmp_path / "trace.partial" / "progress.jsonl"
    assert len(progress.read_text().splitlines()) == 3
    with progress.open("a") as stream:
        stream.write('{"sequence": 3, "err')
    items = items_of(24, 20, 22, 19)
    resumed = run(tmp_path / "trace", "gpt2", items, dtype="float16")
    run(tmp_path / "whole", "gpt2", items, dtype="float16")
    assert contents(tmp_path / "trace") == contents(tmp_path / "whole")
    assert AttentionTrace.load(tmp_path / "trace").content_hash == resumed.content_hash


def test_an_unfinished_capture_of_something_else_is_kept(tmp_path):
    with pytest.raises(StoppedError):
        run(tmp_path / "trace", "llama", items_of(24, 20), progress=stop_after(0.8))
    before = contents(tmp_path / "trace.partial")
    with pytest.raises(ConfigError, match="unfinished capture of something else"):
        run(tmp_path / "trace", "llama", items_of(24, 21))
    assert contents(tmp_path / "trace.partial") == before


def test_two_captures_into_one_folder_are_refused(tmp_path):
    def again(_done):
        run(tmp_path / "trace", "llama", items_of(24))

    with pytest.raises(ConfigError, match="another process"):
        run(tmp_path / "trace", "llama", items_of(24), progress=again)


@pytest.mark.parametrize("name", ["trace", "trace.partial"])
def test_a_folder_that_is_not_ours_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="not written by sparcade"):
        run(tmp_path / "trace", "llama", items_of(24))
    assert contents(tmp_path / name) == {"thesis.tex": b"mine"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_capture_replaces_a_trace(tmp_path):
    run(tmp_path / "trace", "llama", items_of(24, 20))
    run(tmp_path / "trace", "bert", [sequence()])
    assert AttentionTrace.load(tmp_path / "trace").manifest.model.name == "bert"
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]


def test_nothing_outlives_its_layer_step(tmp_path, monkeypatch):
    """Of all queries that were given to the hook one is alive at a time, and arrays do not add up over layers, steps
    or sequences."""
    held, alive = [], []
    store = capture_module._Run._store

    def counted(self, number, call):
        held.append(weakref.ref(call.query))
        alive.append(sum(query() is not None for query in held))
        store(self, number, call)

    monkeypatch.setattr(capture_module._Run, "_store", counted)
    tokens = [index % 60 for index in range(400)]

    def peak(name, layers, sequences, decode):
        model = small_model("gpt2", n_layer=layers, n_embd=128, n_positions=512, initializer_range=0.02)
        items = [sequence(tokens, len(tokens) - decode)] * sequences
        tracemalloc.start()
        run(tmp_path / name, "gpt2", items, model=model)
        _, bytes_held = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return bytes_held

    layer_step = 3 * 400 * 128 * 4
    least = peak("least", 2, 1, 0)
    assert peak("layers", 8, 1, 0) < least + layer_step / 2
    assert peak("sequences", 2, 4, 0) < least + layer_step / 2
    assert peak("decode", 2, 1, 8) < least + layer_step / 2
    assert max(alive) == 1


def test_the_stock_run_is_without_our_function(tmp_path, monkeypatch):
    """The outputs that a trace is checked against come from the library's attention: a hook that lies is found."""
    used = []
    implementation = capture_module.implementation

    def noted(model, name):
        used.append(name)
        return implementation(model, name)

    monkeypatch.setattr(capture_module, "implementation", noted)
    store = capture_module._Run._store

    def lying(self, number, call):
        call.query.mul_(1.01)
        store(self, number, call)

    monkeypatch.setattr(capture_module._Run, "_store", lying)
    with pytest.raises(TraceError, match="not what the model computes"):
        run(tmp_path / "trace", "llama")
    assert used == [STOCK]


def test_an_encoder_has_no_decode_steps(tmp_path):
    with pytest.raises(ConfigError, match="no decode steps"):
        run(tmp_path / "trace", "bert", [sequence(prompt=PROMPT)])


@pytest.mark.parametrize("prompt", [PROMPT, None])
def test_a_sliding_window_must_hold_the_context(tmp_path, prompt):
    run(tmp_path / "fits", "mistral", [sequence(prompt=prompt)], model=small_model("mistral", sliding_window=24))
    with pytest.raises(ConfigError, match="sliding window") as caught:
        run(tmp_path / "trace", "mistral", [sequence(prompt=prompt)], model=small_model("mistral", sliding_window=23))
    assert "23" in caught.value.expected


@pytest.mark.parametrize(("prompt", "what"), [(None, "a sliding window of 8"), (PROMPT, "a sliding window of 8")])
def test_a_window_that_the_configuration_does_not_name_is_found(tmp_path, prompt, what, monkeypatch):
    """At the mask of the first step that it cuts."""
    monkeypatch.setattr(capture_module, "_check_inputs", lambda *_: None)
    with pytest.raises(TraceError) as caught:
        run(tmp_path / "trace", "mistral", [sequence(prompt=prompt)], model=small_model("mistral", sliding_window=8))
    assert what in caught.value.got
    with pytest.raises(TraceError, match="one key per token"):
        run(tmp_path / "trace", "mistral", [sequence(prompt=5)], model=small_model("mistral", sliding_window=8))


def test_layers_of_different_scaling_are_refused(tmp_path):
    model = small_model("gpt2", scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(TraceError, match="layers differ") as caught:
        run(tmp_path / "trace", "gpt2", model=model)
    assert "scaling [0.17" in caught.value.got
    assert run(tmp_path / "one", "gpt2", model=model, layers=[1]).manifest.model.layers == 1


def test_a_cache_that_forgets_is_refused(tmp_path):
    """K of an earlier token changes between two decode steps."""
    model, runs = small_model("gpt2"), []

    def change(_module, _args, options):
        runs.append(1)
        if len(runs) == 1 + 8 + 4:  # after the probe and the stock run: the third decode step
            options["past_key_values"].layers[1].keys[0, 2, 5] += 1.0

    model.register_forward_pre_hook(change, with_kwargs=True)
    with pytest.raises(TraceError, match="earlier tokens") as caught:
        run(tmp_path / "trace", "gpt2", [sequence(TOKENS, PROMPT)], model=model)
    assert "h.1.attn" in caught.value.where
