"""Latency model of the released hardware, whose top-k engine is a delay: selections one after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparcade.topk.lists import offsets_of, segment_sums
from sparcade.topk.params import TopKParams

Ints = npt.NDArray[np.int64]

#: Cycles a pass costs beyond its rows.
RELEASED_PASS_OVERHEAD = 3
#: Of the pivots, as in the release.
RELEASED_SEED = 1


def released_passes(sizes: Ints, keep: Ints) -> tuple[Ints, Ints]:
    """List length of each pass, selection after selection, and [n + 1] where each selection's passes begin.

    The release does not look at scores: it draws distinct numbers and takes a random one as the pivot, until the pivot
    is element `keep` from below (from 0). A selection with keep >= size has no pass.

    Source: off-line latency model of the release (uarch.md 3.4). Its seed, but not its order of draws.
    """
    random = np.random.default_rng(RELEASED_SEED)
    size, rank = np.where(keep < sizes, sizes, 0), keep.copy()
    rounds = []
    while size.any():
        rounds.append(size)
        pivot = (random.random(len(size)) * size).astype(np.int64)
        above, found = pivot < rank, pivot == rank
        size = np.where((size == 0) | found, 0, np.where(above, size - pivot - 1, pivot))
        rank = np.where(above, rank - pivot - 1, rank)
    table = np.array(rounds, np.int64).reshape(-1, len(sizes)).T
    ran = table > 0
    return table[ran], offsets_of(ran.sum(axis=1))


def released_search(params: TopKParams, pass_sizes: Ints, offsets: Ints) -> Ints:
    """[q] cycles from the start of each selection to its first element out; 0 for one without passes.

    All elements of the list then come out, or are dropped, before the next selection starts.
    """
    return segment_sums(-(-pass_sizes // params.lanes) + RELEASED_PASS_OVERHEAD, offsets)
