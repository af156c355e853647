"""Traces come back as they were saved, and synthetic ones are the same bytes for the same seed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import sparcade
from sparcade._files import content_hash
from sparcade.arch import load_arch
from sparcade.errors import TraceError
from sparcade.evaluation import evaluate
from sparcade.policy import load_policy
from sparcade.trace import AttentionTrace, Excerpt, Rounding, TraceWriter
from support import random_tensors, trace_of


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_saved_trace_comes_back(tmp_path: Path) -> None:
    q, k, v = random_tensors(1, layers=3, heads=4, kv_heads=2, tokens=7, dim=8)
    trace = trace_of(tmp_path / "trace", q, k, v, prompt_tokens=5)
    loaded = AttentionTrace.load(tmp_path / "trace")
    assert loaded.manifest == trace.manifest
    assert loaded.content_hash == trace.content_hash
    assert loaded.manifest.model.group == 2
    assert loaded.manifest.sequences[0].decode_steps == 2
    for layer, (tensors,) in enumerate(loaded.layers()):
        np.testing.assert_array_equal(tensors.q, q[layer])
        np.testing.assert_array_equal(tensors.k, k[layer])
        np.testing.assert_array_equal(tensors.v, v[layer])


@pytest.mark.parametrize("kind", ["random", "realistic"])
def test_synthetic_traces_depend_on_the_seed_only(tmp_path: Path, kind: str) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        sparcade.synthesize(tmp_path / name, seed=seed, kind=kind, layers=2, prompt_tokens=12)  # type: ignore[arg-type]
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")


def test_realistic_traces_have_sinks_and_heavy_hitters(tmp_path: Path) -> None:
    """Token 0 and a few others hold most of the importance; in a random trace none does."""
    shares = {}
    for kind in ("random", "realistic"):
        trace = sparcade.synthesize(tmp_path / kind, seed=5, kind=kind, layers=2, prompt_tokens=96)  # type: ignore[arg-type]
        scores = sparcade.apply(trace, load_policy("spatten")).scores[0, 0, 1]["token"]
        shares[kind] = np.sort(scores)[::-1][:10].sum() / scores.sum()
        assert kind == "random" or scores.argmax() == 0
    assert shares["realistic"] > 1.5 * shares["random"]


def test_a_float16_trace_runs(tmp_path: Path) -> None:
    single = sparcade.synthesize(tmp_path / "single", seed=3, prompt_tokens=20)
    manifest = dataclasses.replace(single.manifest, dtype="float16")
    half = AttentionTrace.save(tmp_path / "half", manifest, single.layers())
    assert half.stored_bytes() < 0.7 * single.stored_bytes()
    assert half.tensors(0, 0).q.dtype == np.float16
    policy = load_policy("dense")
    exact, rounded = (sparcade.apply(trace, policy).outputs[0, 0, 3].values for trace in (single, half))
    assert 0 < np.abs(exact - rounded).max() < 0.02


def test_the_files_are_those_of_the_safetensors_library(tmp_path: Path) -> None:
    """Byte for byte, for both dtypes: the layout made in advance is the library's own."""
    for dtype in ("float32", "float16"):
        single = sparcade.synthesize(tmp_path / "single", seed=3, layers=1, prompt_tokens=9, decode_steps=2)
        manifest = dataclasses.replace(single.manifest, dtype=dtype, sequences=single.manifest.sequences * 11)
        tensors = single.tensors(0, 0)
        AttentionTrace.save(tmp_path / dtype, manifest, [[tensors] * 11])
        arrays = {
            f"sequence_{index:03d}.{name}": getattr(tensors, name).astype("float32" if name == "out" else dtype)
            for index in range(11)
            for name in ("q", "k", "v", "out")
        }
        save_file(arrays, tmp_path / "expected")
        assert (tmp_path / dtype / "layer_000.safetensors").read_bytes() == (tmp_path / "expected").read_bytes()


def test_rows_may_come_in_any_order(tmp_path: Path) -> None:
    """A writer that is closed and opened again goes on where the first left off."""
    whole = sparcade.synthesize(tmp_path / "whole", seed=3, layers=2, prompt_tokens=9, decode_steps=2)
    (tmp_path / "parts").mkdir()
    for part in (range(10, 4, -1), range(5)):
        with TraceWriter(tmp_path / "parts", whole.manifest) as writer:
            for layer in range(2):
                tensors = whole.tensors(layer, 0)
                for name in ("q", "k", "v", "out"):
                    for row in part:
                        writer.write(layer, 0, name, getattr(tensors, name)[:, row : row + 1], first=row)
    with TraceWriter(tmp_path / "parts", whole.manifest) as writer:
        np.testing.assert_array_equal(writer.read(1, 0, "k"), whole.tensors(1, 0).k)
        with pytest.raises(TraceError, match="do not fit"):
            writer.write(0, 0, "k", tensors.k, first=1)
        writer.finish(whole.manifest)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["a layer", "two layers", "a sequence", "a row"])
def test_tensors_that_the_manifest_does_not_describe_are_not_saved(tmp_path: Path, damage: str) -> None:
    whole = sparcade.synthesize(tmp_path / "whole", seed=3, layers=2)
    layers = list(whole.layers())
    if damage == "a layer":
        del layers[1]
    elif damage == "two layers":
        layers *= 2
    elif damage == "a sequence":
        layers[1] *= 2
    else:
        layers[1] = [dataclasses.replace(layers[1][0], out=layers[1][0].out[:, 1:])]
    with pytest.raises(TraceError, match="not those that the manifest describes"):
        AttentionTrace.save(tmp_path / "new", whole.manifest, layers)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_traces_from_before_excerpts_and_rounding_keep_their_hash() -> None:
    trace = AttentionTrace.load(sparcade.bundled_trace("minilm"))
    raw = json.loads((trace.folder / "manifest.json").read_text())
    assert "rounding" not in raw
    assert "excerpt" not in raw["model"]
    assert content_hash(trace.manifest.to_dict(raw["files"])) == trace.content_hash


EXTENDED = {"excerpt": Excerpt(layers=(0, 5), of=7)}
ROUNDED = Rounding(q=0.1, k=0.2, v=0.3, output=0.4, error_before=1e-6)


def test_excerpts_and_rounding_come_back(tmp_path: Path) -> None:
    single = sparcade.synthesize(tmp_path / "single", seed=3, layers=2)
    manifest = dataclasses.replace(
        single.manifest, dtype="float16", rounding=ROUNDED, model=dataclasses.replace(single.manifest.model, **EXTENDED)
    )
    assert AttentionTrace.save(tmp_path / "half", manifest, single.layers()).manifest == manifest


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("excerpt", {"layers": [0, 5, 6], "of": 7}, "other layers"),
        ("excerpt", {"layers": [5, 0], "of": 7}, "excerpt is not of"),
        ("excerpt", {"layers": [0, 7], "of": 7}, "excerpt is not of"),
        ("excerpt", {"layers": [0, 5]}, "of is not a count"),
        ("excerpt", None, "not a table"),
        ("rounding", {"q": 0.1}, "k is not a number"),
        ("rounding", {"q": -0.1, "k": 0.2, "v": 0.3, "output": 0.4, "error_before": 0}, "negative"),
    ],
)
def test_damaged_excerpts_and_rounding_are_refused(tmp_path: Path, field: str, value: object, what: str) -> None:
    sparcade.synthesize(tmp_path / "trace", seed=3, layers=2)
    path = tmp_path / "trace" / "manifest.json"
    raw = json.loads(path.read_text())
    (raw["model"] if field == "excerpt" else raw)[field] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(TraceError, match=what):
        AttentionTrace.load(tmp_path / "trace")


def test_a_replay_of_an_excerpt_says_so(tmp_path: Path) -> None:
    single = sparcade.synthesize(tmp_path / "single", seed=3, layers=2, prompt_tokens=8)
    manifest = dataclasses.replace(single.manifest, model=dataclasses.replace(single.manifest.model, **EXTENDED))
    part = AttentionTrace.save(tmp_path / "part", manifest, single.layers())
    notes = evaluate(part, load_arch("spatten")).to_dict()["assumptions"]
    assert [note for note in notes if "2 of the model's 7 layers: 0, 5" in note]
    assert len(notes) == len(evaluate(single, load_arch("spatten")).to_dict()["assumptions"]) + 1
