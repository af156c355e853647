"""The top-k engines: their shape, and their cycles as a closed form of (n, k, pass list, lanes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparcade.config import check_counts

Ints = npt.NDArray[np.int64]

#: Cycles a pass costs beyond its rows (as in the RTL), and a query beyond its passes (an estimate: docs/rtl.md), in the
#: `overlapped` engine.
PASS_OVERHEAD = 6
QUERY_OVERHEAD = 8
#: Cycles a pass costs beyond its rows in the latency model of the released hardware.
RELEASED_PASS_OVERHEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TopKParams:
    """Shape of a top-k engine; the simulator and the RTL are both built from this object."""

    lanes: int = 16  #: elements compared per cycle in a pass
    input_width: int = 8  #: elements arriving and filtered per cycle
    capacity: int = 1024  #: longest candidate list, and elements of the FIFO that delays the input
    score_bits: int = 12  #: of the RTL: unsigned scores, and the indices that travel with them
    index_bits: int = 16
    latency: int = 2  #: first element in to the start of a selection [cycles]
    engine: Literal["overlapped", "released-serial"] = "overlapped"
    source: str = (
        "SpAtten Table I, parallelism 16; cycles of an overlapped engine are an estimate, not yet those of its RTL"
    )

    def __post_init__(self) -> None:
        check_counts(self, lanes=4096, input_width=4096, capacity=1 << 22, latency=1 << 10)


def search_cycles(params: TopKParams, sizes: Ints, pass_sizes: Ints, offsets: Ints, width: int) -> Ints:
    """Cycles from the start of each selection to its first element out; 0 for a bypassed one (empty pass list).

    Engine `overlapped` may then start the next selection; `released-serial` first puts out, and drops, all elements.

    Parameters
    ----------
    sizes : [q] candidates of each selection.
    pass_sizes : [sum of passes] list length of each pass; offsets : [q + 1] where each selection's passes begin.
    width : elements filtered per cycle (the score rate of the datapath, at most `params.input_width`).
    """
    rows = -(-pass_sizes // params.lanes)
    if params.engine == "overlapped":
        cycles = np.maximum(_filtering(params, sizes, width), _segment_sums(rows + PASS_OVERHEAD, offsets))
        return np.where(np.diff(offsets) > 0, cycles + QUERY_OVERHEAD, 0)
    return _segment_sums(rows + RELEASED_PASS_OVERHEAD, offsets)


def query_cycles(params: TopKParams, sizes: Ints, pass_sizes: Ints, offsets: Ints, width: int) -> Ints:
    """Cycles the engine is occupied by each selection; 0 for a bypassed one. Arguments as of `search_cycles`."""
    search = search_cycles(params, sizes, pass_sizes, offsets, width)
    if params.engine == "overlapped":
        return search
    return np.where(np.diff(offsets) > 0, search + _filtering(params, sizes, width), 0)


def _filtering(params: TopKParams, sizes: Ints, width: int) -> Ints:
    return -(-sizes // min(width, params.input_width))


def _segment_sums(values: npt.NDArray[np.int64], offsets: Ints) -> Ints:
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])
    sums: Ints = total[offsets[1:]] - total[offsets[:-1]]
    return sums
