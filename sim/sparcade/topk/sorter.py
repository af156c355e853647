"""Batcher's odd-even merge sorter, the baseline of the top-k engine: its stages, and its cycles as closed forms.

A list is padded to N, the next power of two, at least one row of 2 * `lanes`. Each of its log2(N) (log2(N) + 1) / 2
stages (p, k) compares elements x and x + k of a block of 2p: if k = p, every x with bit k clear, else with it set.

Source: Batcher (AFIPS 1968); SpAtten (HPCA 2021) compares its engine with such a sorter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparcade.topk.params import TopKParams

Ints = npt.NDArray[np.int64]

#: Cycles from a row read to the row written and readable again, as in the RTL.
WRITTEN = 6


def sorter_stages(size: int) -> list[tuple[int, int]]:
    """(p, k) of every stage for `size` elements, a power of two."""
    levels = size.bit_length() - 1
    return [(1 << merge, 1 << bit) for merge in range(levels) for bit in reversed(range(merge + 1))]


def stage_pairs(size: int, p: int, k: int) -> Ints:
    """[pairs] places x of a stage that are compared with x + k; the greater goes to x."""
    x = np.arange(size)
    lower = (x & k) == (0 if k == p else k)
    pairs: Ints = x[lower & (x // (2 * p) == (x + k) // (2 * p))]
    return pairs


def sort_cycles(params: TopKParams, n: int | Ints) -> Ints:
    """Cycles from the first row read to the last one written and readable, for lists of `n` elements.

    A stage reads N / W rows of W = 2 * lanes; if W <= k < p, only N / W (1 - k / p). The next one begins WRITTEN - 1
    cycles later, or, if both have k <= W and so take rows in order, after one cycle and WRITTEN behind its first row:

        sum over the stages of  rows + WRITTEN - 1  or  max(rows + 1, WRITTEN)
    """
    wide = 2 * params.lanes
    levels = range(wide.bit_length() - 1, params.capacity.bit_length())
    cycles = np.array([_padded_cycles(1 << level, wide) for level in levels])
    sizes = np.array([1 << level for level in levels])
    found: Ints = cycles[np.searchsorted(sizes, np.asarray(n))]
    return found


def alone_cycles(params: TopKParams, n: int | Ints, k: int | Ints) -> tuple[Ints, Ints]:
    """Cycles from the last element of a list taken to its first and to its last row out, without stalls.

    sort + 6, and a row a cycle: max(1, ceil(min(k, n) / input_width)) of them.
    """
    first = sort_cycles(params, n) + 6
    return first, first + _output_rows(params, n, k) - 1


def two_lists_cycles(params: TopKParams, n: int | Ints, k: int | Ints) -> Ints:
    """Cycles in which two lists of equal n and k are taken, sorted and put out, one after the other without end.

    Either one bank, which holds a list from its request to its last row out, or sorting, or taking in is never idle:

        max(in + sort + out + 5, 2 (sort + 2), 2 (in + 1)),  which is at most  2 max(sort + 2, in + out + 3)
    """
    sort, rows = sort_cycles(params, n), _output_rows(params, n, k)
    beats = -(-np.asarray(n) // params.input_width)
    cycles: Ints = np.maximum(beats + sort + rows + 5, 2 * np.maximum(sort + 2, beats + 1))
    return cycles


def _padded_cycles(size: int, wide: int) -> int:
    stages, cycles = sorter_stages(size), 0
    for index, (p, k) in enumerate(stages):
        rows = (size - size * k // p if wide <= k < p else size) // wide
        follows = stages[index + 1][1] if index + 1 < len(stages) else 2 * size
        cycles += max(rows + 1, WRITTEN) if max(k, follows) <= wide else rows + WRITTEN - 1
    return cycles


def _output_rows(params: TopKParams, n: int | Ints, k: int | Ints) -> Ints:
    rows: Ints = np.maximum(1, -(-np.minimum(n, k) // params.input_width))
    return rows
