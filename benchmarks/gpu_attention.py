"""Attention of GPT-2 and BERT on a GPU as a framework runs it, beside the roofline that `sparcade baselines` uses.

    python benchmarks/gpu_attention.py [--csv FILE]

Needs PyTorch with CUDA and nothing else. Batch 1, as in the paper. A step is all layers of a model, one after the
other, each with K and V of its own, so that they come from memory: GPT-2 one generated token at a context of 1,008 (the
mean of 32 tokens behind 992), BERT one sentence. Only attention is timed: no projection, no FC layer.

- eager: heads split from (1, tokens, hidden), Q x K, scale, softmax, prob x V, heads joined, an operator each, as in
  the paper.
- fused: `scaled_dot_product_attention` on split heads.
- graph: the fused step as one CUDA graph, without the launches from Python.

Each number is the median of 100 steps; a cold cache between steps (a buffer larger than L2 is written).
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

CONTEXT = 1008
#: model: layers, heads, queries, keys
MODELS = {
    "gpt2-small": (12, 12, 1, CONTEXT),
    "gpt2-medium": (24, 16, 1, CONTEXT),
    "bert-base, 25 tokens": (12, 12, 25, 25),
    "bert-base, 178 tokens": (12, 12, 178, 178),
    "bert-large, 178 tokens": (24, 16, 178, 178),
}
HEAD_DIM = 64
STEPS = 100
COLUMNS = ("device", "model", "words", "method", "us_a_step", "gb_s")


def eager(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """One layer, (1, tokens, hidden) in and out."""
    q, k, v = (x.view(1, x.shape[1], heads, HEAD_DIM).transpose(1, 2) for x in (q, k, v))
    scores = torch.matmul(q, k.transpose(-1, -2)) / HEAD_DIM**0.5
    outputs = torch.matmul(torch.softmax(scores, dim=-1), v)
    return outputs.transpose(1, 2).reshape(1, outputs.shape[2], -1)


def fused(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """One layer, likewise."""
    q, k, v = (x.view(1, x.shape[1], heads, HEAD_DIM).transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, q.shape[2], -1)


def run(layer: Callable[..., Tensor], inputs: list[tuple[Tensor, ...]], heads: int) -> None:
    """One step."""
    for q, k, v in inputs:
        layer(q, k, v, heads)


def graphed(step: Callable[[], None]) -> Callable[[], None]:
    """The step as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def median_us(step: Callable[[], None]) -> float:
    """Median of STEPS timed steps [us]."""
    cold = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    times = []
    for number in range(STEPS + 10):
        cold.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize()
        if number >= 10:
            times.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(times)


def rows() -> list[tuple[str, str, str, str, float, float]]:
    """One per model, word and method."""
    device, table = torch.cuda.get_device_name(), []
    for model, (layers, heads, queries, keys) in MODELS.items():
        for words, kind in (("fp32", torch.float32), ("fp16", torch.float16)):
            hidden = heads * HEAD_DIM
            inputs = [
                tuple(torch.randn(1, tokens, hidden, device="cuda", dtype=kind) for tokens in (queries, keys, keys))
                for _ in range(layers)
            ]

            moved = layers * hidden * (2 * keys + 2 * queries) * inputs[0][0].element_size()
            slow, fast = (partial(run, layer, inputs, heads) for layer in (eager, fused))
            steps = {"eager": slow, "fused": fast, "graph": graphed(fast)}
            for method, step in steps.items():
                us = median_us(step)
                table.append((device, model, words, method, us, moved / us / 1e3))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="also write the table here")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    table = rows()
    print(f"{table[0][0]}, PyTorch {torch.__version__}")
    for _, model, words, method, us, gb_s in table:
        print(f"{model:24} {words} {method:6} {us:9.1f} us a step {gb_s:8.1f} GB/s")
    if options.csv:
        with Path(options.csv).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((*row[:4], f"{row[4]:.1f}", f"{row[5]:.1f}") for row in table)


if __name__ == "__main__":
    main()
