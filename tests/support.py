"""What several tests need: small traces on disk, and policies from plain arguments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sparcade.policy import (
    LocalValuePruning,
    PolicyConfig,
    ProgressiveQuantization,
    SpAtten,
    TokenPruning,
    apply,
)
from sparcade.trace import AttentionTrace, LayerTensors, Manifest, ModelShape, Sequence
from sparcade.workload import Workload

HALF = Fraction(1, 2)


def policy(**techniques: Any) -> SpAtten:
    """A SpAtten policy with only the named techniques."""
    return SpAtten(PolicyConfig(name="test", source="test", **techniques))


def trace_of(
    folder: Path,
    q: list[np.ndarray],
    k: list[np.ndarray],
    v: list[np.ndarray],
    *,
    prompt_tokens: int,
    mask: str = "causal",
    scaling: float | None = None,
) -> AttentionTrace:
    """A one-sequence trace of given tensors per layer; its stored outputs are zero and mean nothing."""
    heads, rows, dim = q[0].shape
    model = ModelShape(
        name="test",
        layers=len(q),
        heads=heads,
        kv_heads=len(k[0]),
        head_dim=dim,
        mask=mask,
        scaling=dim**-0.5 if scaling is None else scaling,
    )
    sequence = Sequence(
        text="",
        tokens=tuple(f"t{index}" for index in range(rows)),
        token_ids=tuple(range(rows)),
        key_positions=tuple(range(rows)),
        row_steps=(0,) * prompt_tokens + tuple(range(1, rows - prompt_tokens + 1)),
        prompt_tokens=prompt_tokens,
        output_rows=(0,),
    )
    manifest = Manifest(
        model=model, sequences=(sequence,), dtype="float32", source="test", outputs_from="nothing", stored_error=0.0
    )
    zero = np.zeros((heads, 1, dim))
    layers = [[LayerTensors(q=a, k=b, v=c, out=zero)] for a, b, c in zip(q, k, v, strict=True)]
    return AttentionTrace.save(folder, manifest, layers)


def random_tensors(
    seed: int, *, layers: int, heads: int, kv_heads: int, tokens: int, dim: int, levels: int | None = None
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Q, K, V per layer; `levels` rounds to few values, so that scores tie."""
    rng = np.random.default_rng(seed)

    def draw(count: int) -> np.ndarray:
        values = rng.standard_normal((count, tokens, dim))
        if levels is not None:
            values = np.round(values * levels) / levels
        return values.astype(np.float32)

    return tuple([draw(count) for _ in range(layers)] for count in (heads, kv_heads, kv_heads))  # type: ignore[return-value]


class KeepAll:
    """A policy that keeps everything, for a test to change one answer of."""

    def begin_sequence(self, shape: Any) -> None: ...

    def keep_tokens(self, state: Any) -> Any:
        return state.candidates

    def keep_heads(self, state: Any) -> Any:
        return state.candidates

    def keep_values(self, row: Any) -> Any:
        return row.key_ids

    def bits(self, row: Any) -> tuple[int, int, float]:
        return 12, 0, 0.0


def pruned_workload(folder: Path) -> Workload:
    """A small decoder's work with everything in it: a cascade, local V, refetches, a prefill and four decode steps."""
    tensors = random_tensors(5, layers=2, heads=2, kv_heads=1, tokens=40, dim=64)
    rules = policy(
        tokens=TokenPruning(end=Fraction(1, 2)),
        local_v=LocalValuePruning(keep=Fraction(1, 2)),
        progressive=ProgressiveQuantization(threshold=1.0),
    )
    return apply(trace_of(folder / "trace", *tensors, prompt_tokens=36), rules).workload
