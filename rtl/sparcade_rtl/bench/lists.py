"""Lists of scores to select from, drawn with an explicit seed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparcade.topk import TopKParams

Ints = npt.NDArray[np.int64]
SHAPES = ("uniform", "ties", "constant", "sorted", "reversed", "skewed", "two values")


def draw_lists(params: TopKParams, count: int, seed: int) -> list[tuple[Ints, int]]:
    """(scores, k): sizes, k, ties, order and skew mixed; k = 0, k = size and k > size occur."""
    rng = random.Random(seed)
    return [_draw(params, rng) for _ in range(count)]


def save_lists(path: Path, lists: list[tuple[Ints, int]]) -> None:
    """Write lists for `load_lists`."""
    np.savez_compressed(
        path,
        scores=np.concatenate([scores for scores, _ in lists]),
        sizes=np.array([len(scores) for scores, _ in lists]),
        keep=np.array([k for _, k in lists]),
    )


def load_lists(path: Path) -> list[tuple[Ints, int]]:
    """What `save_lists` wrote."""
    with np.load(path) as stored:
        ends = np.cumsum(stored["sizes"])[:-1]
        return list(zip(np.split(stored["scores"], ends), stored["keep"].tolist(), strict=True))


def _draw(params: TopKParams, rng: random.Random) -> tuple[Ints, int]:
    top = (1 << params.score_bits) - 1
    longest = params.capacity if rng.random() < 0.1 else max(1, params.capacity // 4)
    size = rng.choice([1, rng.randint(1, longest), rng.randint(1, longest), longest])
    shape = rng.choice(SHAPES)
    if shape == "ties":
        scores = [rng.randint(0, min(top, 3)) for _ in range(size)]
    elif shape == "constant":
        scores = [rng.choice([0, top, rng.randint(0, top)])] * size
    elif shape == "skewed":
        scores = [int(top * rng.random() ** 8) for _ in range(size)]
    elif shape == "two values":
        scores = [rng.choice([0, top]) for _ in range(size)]
    else:
        scores = [rng.randint(0, top) for _ in range(size)]
    if shape in ("sorted", "reversed"):
        scores.sort(reverse=shape == "reversed")
    k = rng.choice([0, 1, size, min(size + 1, params.capacity), rng.randint(0, size), rng.randint(1, size)])
    return np.array(scores, np.int64), k
