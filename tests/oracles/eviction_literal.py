"""H2O and SnapKV as their papers state them, one row at a time: the oracle of the eviction policies.

Written from algorithm 1 of H2O (arXiv 2306.14048) and listing 1 of SnapKV (arXiv 2404.14469), over the attention of
`spatten_literal`. The caches are lists of token ids, one per layer and KV head; the prompt's attention is dense.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from oracles import spatten_literal as literal

Tensors = list[NDArray[np.float32]]
Rows = list[list[literal.Query]]  # per query head of a KV head, the rows of a layer in a step


@dataclass
class Caches:
    """Key ids that each (step, layer, KV head) reads, and its outputs per query head of the group."""

    keys: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    outputs: dict[tuple[int, int, int], list[list[list[float]]]] = field(default_factory=dict)
    selections: list[tuple[int, int]] = field(default_factory=list)  # n and k of each ranking that dropped something


class Rule:
    """Keeps everything."""

    def __init__(self, caches: Caches, prompt: int) -> None:
        self.caches, self.prompt = caches, prompt

    def after(self, step: int, cache: list[int], context: int, rows: Rows) -> list[int]:
        """The cache of one layer and KV head after a step that read `cache`."""
        return cache

    def ranked(self, scores: dict[int, int], k: int) -> list[int]:
        """The k best by score, ties to the first."""
        if k >= len(scores):
            return sorted(scores)
        if k:
            self.caches.selections.append((len(scores), k))
        return sorted(sorted(scores, key=lambda key: (-scores[key], key))[:k])


class HeavyHitters(Rule):
    """H2O: accumulate, then drop the least of what is not recent until the budget holds."""

    def __init__(self, caches: Caches, prompt: int, heavy: Fraction, recent: Fraction) -> None:
        super().__init__(caches, prompt)
        self.heavy, self.recent = math.floor(heavy * prompt), max(1, math.floor(recent * prompt))
        self.score: dict[int, int] = {}

    def after(self, step: int, cache: list[int], context: int, rows: Rows) -> list[int]:
        for head in rows:
            for query in head:
                for key, word in zip(query["visible"], query["p12"], strict=True):
                    self.score[key] = self.score.get(key, 0) + word
        old, new = cache[: -self.recent], cache[-self.recent :]
        return self.ranked({key: self.score[key] for key in old}, self.heavy) + new


class Observed(Rule):
    """SnapKV: once, by the prompt's last `window` queries."""

    def __init__(self, caches: Caches, prompt: int, window: int, budget: int, kernel: int, pooling: str) -> None:
        super().__init__(caches, prompt)
        self.window, self.budget, self.kernel, self.pooling = window, budget, kernel, pooling

    def after(self, step: int, cache: list[int], context: int, rows: Rows) -> list[int]:
        if step > 0 or self.prompt <= self.budget:
            return cache
        prefix = self.prompt - self.window
        scores = [0] * prefix
        for head in rows:
            votes = [0] * prefix
            for query in head[-self.window :]:
                for key in range(prefix):
                    votes[key] += query["p12"][key]
            for key in range(prefix):
                near = votes[max(0, key - self.kernel // 2) : key + self.kernel // 2 + 1]
                scores[key] += sum(near) if self.pooling == "average" else max(near)
        chosen = self.ranked(dict(enumerate(scores)), self.budget - self.window)
        return chosen + list(range(prefix, self.prompt))


def run(
    q: Tensors,
    k: Tensors,
    v: Tensors,
    *,
    prompt: int,
    scaling: float,
    bits: int,
    rule: Callable[[Caches], Rule],
) -> Caches:
    """Prefill, then one decode step per further token; each layer and KV head has a rule of its own."""
    heads, length, _ = q[0].shape
    kv_heads = len(k[0])
    group = heads // kv_heads
    case = literal.Case(q, k, v, prompt, "causal", scaling, literal.Params(static_bits=bits))
    caches = Caches()
    rules = {(layer, kv): rule(caches) for layer in range(len(q)) for kv in range(kv_heads)}
    held = {place: list(range(prompt)) for place in rules}
    for step in range(length - prompt + 1):
        context = prompt + step
        for (layer, kv), cache in held.items():
            if step > 0:
                cache.append(context - 1)
            rows: Rows = []
            outputs = []
            for head in range(kv * group, (kv + 1) * group):
                planes = literal.encode_head(case, step, layer, head)
                queries = range(prompt) if step == 0 else [context - 1]
                seen = [[key for key in cache if key <= query] for query in queries]
                rows.append(
                    [literal.attend(case, step, planes, t, keys).query for t, keys in zip(queries, seen, strict=True)]
                )
                outputs.append([query["out"] for query in rows[-1]])
            caches.keys[step, layer, kv] = list(cache)
            caches.outputs[step, layer, kv] = outputs
            if context < length:
                held[layer, kv] = rules[layer, kv].after(step, cache, context, rows)
    return caches
