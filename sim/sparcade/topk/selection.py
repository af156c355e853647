"""Golden top-k: order-preserving, ties to the lowest index, with the list of quick-select passes.

A pass partitions the current list around a pivot: the head of the list, unless the pass before kept more than 7/8 of
its list; then the pivot splits the values still possible at the highest bit in which they differ, which settles a bit.
So the pass list depends on the scores and k only, never on the lanes, and is bounded whatever they are (`most_passes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Outcome of one top-k: the indices kept (ascending) and the passes (size, greater, equal) it took."""

    kept: Ints  #: [min(k, n)]
    passes: Ints  #: [passes, 3]; empty when k >= n or k = 0 (bypassed)


def select(scores: Ints, k: int, score_bits: int) -> Selection:
    """The k largest of `scores` (unsigned integers below 2^score_bits), ties to the lowest index."""
    passes = np.empty((most_passes(scores.shape[0], score_bits), 3), np.int64)
    kept = np.empty(scores.shape[0], np.bool_)
    current = scores.astype(np.int64)
    count = select_kernel(scores.astype(np.int64), k, score_bits, passes, kept, current)
    return Selection(kept=np.flatnonzero(kept), passes=passes[:count].copy())


def most_passes(n: int, score_bits: int) -> int:
    """Bound of the passes over n elements.

    A pass either keeps at most 7/8 (of a list below 8: one less), which only so many can do before the list is empty,
    or is followed by one that settles a bit; with all bits settled, that is the last one.
    """
    shrinking = 0
    while n > 0:
        n -= max(1, n // 8)
        shrinking += 1
    return shrinking + score_bits + 2


@kernel
def select_kernel(
    scores: Ints, k: int, score_bits: int, passes: Ints, kept: npt.NDArray[np.bool_], current: Ints
) -> int:
    """Quick-select of the k-th largest, then the filter; writes `kept` [n] and `passes`, returns their number.

    current : [n] the scores again; the list that the passes shrink in place.
    """
    n = scores.shape[0]
    if k >= n or k <= 0:
        for i in range(n):
            kept[i] = k >= n
        return 0
    size = n
    target = k
    low = 0
    high = (1 << score_bits) - 1
    count = 0
    before = n
    while True:
        pivot, span = current[0], 0
        if count > 0 and size > before - before // 8:
            span = low ^ high
            for shift in (1, 2, 4, 8, 16, 32):
                span |= span >> shift
            pivot = high & ~(span >> 1)
        greater = 0
        equal = 0
        for i in range(size):
            greater += current[i] > pivot
            equal += current[i] == pivot
        before = size
        passes[count, 0] = size
        passes[count, 1] = greater
        passes[count, 2] = equal
        count += 1
        if greater < target <= greater + equal:
            ties = target - greater
            for i in range(n):
                keep = scores[i] > pivot
                if scores[i] == pivot and ties > 0:
                    keep = True
                    ties -= 1
                kept[i] = keep
            return count
        upper = greater >= target
        if upper:
            low = pivot
        else:
            target -= greater + equal
            high = pivot ^ span
        packed = 0
        for i in range(size):
            if (upper and current[i] > pivot) or (not upper and current[i] < pivot):
                current[packed] = current[i]
                packed += 1
        size = packed
