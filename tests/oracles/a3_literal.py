"""A3's candidate search and pipeline as docs/baselines.md states them, one product at a time: the oracle.

No sorted columns, no pointers: what is left is a set of products, searched whole in every iteration.
"""

from __future__ import annotations


def candidates(query: list[float], keys: list[list[float]], iterations: int) -> list[int]:
    """Rows of `keys` that the greedy search finds, ascending."""
    left = {(j, i): query[j] * row[j] for i, row in enumerate(keys) for j in range(len(query))}
    score: dict[int, float] = {}
    total = 0.0
    for _ in range(iterations):
        for largest in (True, False):
            if not left or (not largest and total < 0):
                continue
            place = min(left, key=lambda place, largest=largest: rank(place, left, query, keys, largest))
            product = left.pop(place)
            score[place[1]] = score.get(place[1], 0.0) + product
            total += product
    found = sorted(row for row, value in score.items() if value > 0)
    return found or [min(score, key=lambda row: (-score[row], row))]


def rank(place, left, query, keys, largest):
    """Order of the products: by value, then the lowest column, then the end of the column that the product stands at.

    A column is sorted by (value of the key, row). Its largest product stands at the high end when the query's element
    is not negative, its smallest at the low end; else the other way around.
    """
    j, i = place
    value = -left[place] if largest else left[place]
    from_high_end = (query[j] >= 0) == largest
    key, row = keys[i][j], i
    return value, j, (-key, -row) if from_high_end else (key, row)


def base_cycles(visible: list[int]) -> int:
    """Cycles of one unit for queries that see so many keys: three modules of n + 9 cycles, one query in each."""
    ends = [0, 0, 0]
    for n in visible:
        for module in range(3):
            before = ends[module - 1] if module else 0
            ends[module] = max(ends[module], before) + n + 9
    return ends[2]
