"""Latency model of the released hardware, whose top-k engine is a delay: selections one after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparcade.topk.lists import segment_sums
from sparcade.topk.params import TopKParams

Ints = npt.NDArray[np.int64]

#: Cycles a pass costs beyond its rows.
RELEASED_PASS_OVERHEAD = 3


def released_search(params: TopKParams, pass_sizes: Ints, offsets: Ints) -> Ints:
    """[q] cycles from the start of each selection to its first element out; 0 for a bypassed one (empty pass list).

    All elements of the list then come out, or are dropped, before the next selection starts.

    Parameters
    ----------
    pass_sizes : [sum of passes] list length of each pass; offsets : [q + 1] where each selection's passes begin.

    Source: off-line latency model of the release (uarch.md 3.4).
    """
    return segment_sums(-(-pass_sizes // params.lanes) + RELEASED_PASS_OVERHEAD, offsets)
