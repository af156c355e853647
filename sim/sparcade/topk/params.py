"""Shape of the top-k engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparcade.config import check_counts

#: Importance scores, which cascade selections rank, are 32-bit unsigned with 12 fractional bits.
IMPORTANCE_BITS = 32
#: Cycles a pass costs beyond its rows, as in the RTL of each engine.
PASS_OVERHEAD = 5
RADIX_PASS_OVERHEAD = 4
#: Cycles from the last row of a pass read to the act on its counts, in both.
ACTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TopKParams:
    """Shape of a top-k engine; the simulator and the RTL are both built from this object."""

    lanes: int = 16  #: elements compared per cycle in a pass
    input_width: int = 8  #: elements arriving and filtered per cycle
    capacity: int = 1024  #: longest candidate list, and elements of the FIFO that delays the input
    score_bits: int = 12  #: of the RTL: unsigned scores
    index_bits: int = 16  #: of the RTL: indices that travel with the scores
    radix_bits: int = 4  #: bits of the scores that a pass of `radix-select` settles
    latency: int = 2  #: of `released-serial`: first element in to the start of a selection [cycles]
    #: SpAtten's engine, radix select, or the latency model of the released RTL
    engine: Literal["quick-select", "radix-select", "released-serial"] = "quick-select"
    #: where the numbers are from
    source: str = "SpAtten Table I, parallelism 16; cycles are those of the RTL in rtl/sparcade_rtl"

    def __post_init__(self) -> None:
        check_counts(self, lanes=4096, input_width=4096, capacity=1 << 22, latency=1 << 10, radix_bits=6)

    @property
    def pass_overhead(self) -> int:
        """Cycles from the last row of a pass read to the first row of the next, less one."""
        return RADIX_PASS_OVERHEAD if self.engine == "radix-select" else PASS_OVERHEAD

    @property
    def digits(self) -> int:
        """Passes of `radix-select`, whatever the scores."""
        return -(-self.score_bits // self.radix_bits)
