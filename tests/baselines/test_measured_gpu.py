"""The roofline of a GPU against what one did: reports/published/gpu, as benchmarks/gpu_attention.py wrote it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sparcade.baselines.roofline import evaluate, find_platform
from sparcade.baselines.work import DenseWork

MEASURED = Path(__file__).parents[2] / "reports" / "published" / "gpu" / "h100.csv"
#: model: layers, heads, queries, keys; as in the benchmark.
MODELS = {
    "gpt2-small": (12, 12, 1, 1008),
    "gpt2-medium": (24, 16, 1, 1008),
    "bert-base, 25 tokens": (12, 12, 25, 25),
    "bert-base, 178 tokens": (12, 12, 178, 178),
    "bert-large, 178 tokens": (24, 16, 178, 178),
}


def measured(method: str) -> dict[str, float]:
    """Microseconds of a step in 16-bit words, by model."""
    with MEASURED.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["words"] == "fp16" and row["method"] == method]
    return {row["model"]: float(row["us_a_step"]) for row in rows}


def predicted(model: str) -> tuple[float, float]:
    """Microseconds of a step, low and high."""
    layers, heads, queries, keys = MODELS[model]
    work = DenseWork(
        name=model,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=64,
        causal=queries == 1,
        sequence=np.zeros(1, np.int64),
        step=np.array([int(queries == 1)]),
        context=np.array([keys]),
        queries=np.array([queries]),
        visible=np.full(queries, keys),
    )
    total = evaluate(work, find_platform("h100")).parts["total"]
    assert total.seconds_high is not None
    return total.seconds * 1e6, total.seconds_high * 1e6


@pytest.mark.parametrize("model", MODELS)
def test_fused_kernels_in_a_graph_are_within_the_roofline_with_its_launches(model: str) -> None:
    low, high = predicted(model)
    assert low <= measured("graph")[model] <= high


@pytest.mark.parametrize("model", MODELS)
def test_a_framework_is_beyond_it(model: str) -> None:
    """As the paper's measurements are, only less so."""
    assert measured("eager")[model] > 2 * predicted(model)[1]


def test_the_docs_have_these_numbers() -> None:
    page = (MEASURED.parents[3] / "docs" / "baselines.md").read_text(encoding="utf-8")
    for model in MODELS:
        low, high = predicted(model)
        times = " | ".join(f"{measured(method)[model]:.0f}" for method in ("graph", "fused", "eager"))
        assert f"| {model} | {low:.0f} to {high:.0f} | {times} |" in page
