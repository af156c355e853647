"""Synthetic traces with an explicit seed: dense random, and one with attention sinks and heavy hitters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparcade.errors import ConfigError
from sparcade.trace.manifest import Manifest, ModelShape, Sequence
from sparcade.trace.outputs import attention_outputs, output_rows
from sparcade.trace.store import AttentionTrace, LayerTensors

Floats = npt.NDArray[np.float64]
#: Largest Q of a synthetic trace [elements].
_ELEMENTS = 1 << 28


def synthesize(
    folder: str | Path,
    *,
    seed: int,
    kind: Literal["random", "realistic"] = "random",
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 4,
    head_dim: int = 64,
    prompt_tokens: int = 64,
    decode_steps: int = 8,
    mask: Literal["causal", "full"] = "causal",
) -> AttentionTrace:
    """Write a synthetic trace.

    `random` draws Q, K, V from a normal distribution: flat attention. `realistic` adds what trained decoders show:
    a sink at token 0, a few heavy hitters that all queries prefer, and a preference for recent keys.

    Raises
    ------
    ConfigError
        When a dimension is not positive, or the heads do not divide into the KV heads.
    """
    counts = {"layers": layers, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "prompt": prompt_tokens}
    bad = [name for name, value in counts.items() if value < 1] + ["decode"] * (decode_steps < 0)
    bad += ["seed"] * (seed < 0) + ["size"] * (layers * heads * head_dim * (prompt_tokens + decode_steps) > _ELEMENTS)
    bad += ["kv_heads"] * (not bad and heads % kv_heads > 0) + ["decode"] * (mask == "full" and decode_steps > 0)
    if bad:
        raise ConfigError(
            "the synthetic trace has an impossible shape",
            where=bad[0],
            expected="positive counts, heads a multiple of kv_heads, no decode steps with mask 'full', "
            f"seed from 0, at most {_ELEMENTS} elements of Q",
            got=str({**counts, "decode": decode_steps, "mask": mask}),
            remedy="change that number",
        )
    total = prompt_tokens + decode_steps
    manifest = Manifest(
        model=ModelShape(
            name=f"synthetic-{kind}",
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            mask=mask,
            scaling=head_dim**-0.5,
        ),
        sequences=(
            Sequence(
                text="",
                tokens=tuple(f"t{index}" for index in range(total)),
                token_ids=tuple(range(total)),
                key_positions=tuple(range(total)),
                row_steps=(0,) * prompt_tokens + tuple(range(1, decode_steps + 1)),
                prompt_tokens=prompt_tokens,
                output_rows=output_rows(prompt_tokens, total),
            ),
        ),
        dtype="float32",
        source=f"sparcade synthetic, kind {kind}, seed {seed}",
        outputs_from="float64 NumPy attention of the synthetic tensors",
        stored_error=0.0,
    )
    return AttentionTrace.save(folder, manifest, _layers(manifest, np.random.default_rng(seed), kind))


def _layers(manifest: Manifest, rng: np.random.Generator, kind: str) -> Iterator[list[LayerTensors]]:
    model, sequence = manifest.model, manifest.sequences[0]
    total = len(sequence.tokens)
    hitters = rng.choice(total, max(1, total // 16), replace=False)
    for _ in range(model.layers):
        q, k, v = (
            rng.standard_normal((heads, total, model.head_dim))
            for heads in (model.heads, model.kv_heads, model.kv_heads)
        )
        if kind == "realistic":
            _shape_attention(q, k, hitters, model, rng)
        q, k, v = (tensor.astype(np.float32).astype(np.float64) for tensor in (q, k, v))  # outputs of what is stored
        rows = sequence.output_rows
        out = attention_outputs(q[:, rows], k, v, scaling=model.scaling, rows=rows, mask=model.mask)
        yield [LayerTensors(q=q, k=k, v=v, out=out)]


def _shape_attention(
    q: Floats, k: Floats, hitters: npt.NDArray[np.int64], model: ModelShape, rng: np.random.Generator
) -> None:
    """Bias the first dimensions: sink and hitters along axis 0, recency as a slow rotation on axes 1 and 2."""
    strength = np.sqrt(model.head_dim)
    q[..., 0] = strength
    k[..., 0] = rng.normal(0.0, 0.3, k.shape[:2])
    k[:, hitters, 0] += rng.uniform(1.0, 3.0, (k.shape[0], len(hitters)))
    k[:, 0, 0] += 4.0
    if model.head_dim >= 3:
        angle = np.arange(q.shape[1]) * (np.pi / (2 * q.shape[1]))
        for tensor, size in ((q, strength), (k, 3.0)):
            tensor[..., 1], tensor[..., 2] = size * np.cos(angle), size * np.sin(angle)
