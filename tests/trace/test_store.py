"""Traces come back as they were saved, and synthetic ones are the same bytes for the same seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import sparcade
from sparcade.policy import load_policy
from sparcade.trace import AttentionTrace
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
