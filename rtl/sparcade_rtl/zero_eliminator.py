"""Compaction of a row: lanes without a flag are squeezed out, the others keep their order."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparcade_rtl.layouts import count_bits, flagged, row
from sparcade_rtl.prefix_sum import PrefixSum


class ZeroEliminator(wiring.Component):
    """Rows with flags in, compacted rows out.

    Handshake: elastic pipeline of two registers, `ready` is combinational, `valid` never depends on it.
    Latency 2 cycles (count the gaps before each lane; move lanes), initiation interval 1.
    A lane moves left by the number of gaps before it, a power of two per layer. `ahead` is the count of the row that is
    the next at `o`, known a cycle before it; 0 while there is none.

    Source: SpAtten's zero eliminator (HPCA 2021, Fig. 10).
    """

    def __init__(self, lane: ShapeLike, lanes: int) -> None:
        self.lane, self.lanes = lane, lanes
        super().__init__(
            {
                "i": In(stream.Signature(flagged(lane, lanes))),
                "o": Out(stream.Signature(row(lane, lanes))),
                "ahead": Out(count_bits(lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gaps = gaps = PrefixSum(self.lanes)
        counted = Signal(flagged(self.lane, self.lanes))
        shifts = Signal(data.ArrayLayout(gaps.count_bits, self.lanes))
        count = Signal(gaps.count_bits)
        counted_valid = Signal()
        moves = Signal()
        m.d.comb += [
            gaps.flags.eq(~self.i.p.flags),
            moves.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(~counted_valid | moves),
            self.ahead.eq(Mux(counted_valid, count, 0)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                counted_valid.eq(self.i.valid),
                counted.eq(self.i.p),
                shifts.eq(gaps.counts),
                count.eq(self.lanes - gaps.total),
            ]
        with m.If(moves):
            m.d.sync += [
                self.o.valid.eq(counted_valid),
                self.o.p.count.eq(count),
                self.o.p.last.eq(counted.last),
            ]
            for lane, value in enumerate(self._moved(m, counted, shifts)):
                m.d.sync += self.o.p.lanes[lane].eq(value)
        return m

    def _moved(self, m: Module, counted: Signal, shifts: Signal) -> list[Any]:
        """log2(lanes) layers of multiplexers; what is not meant, or has moved, has no way left and is overwritten."""
        bits = len(shifts[0])
        lanes = [counted.lanes[lane] for lane in range(self.lanes)]
        ways = [Mux(counted.flags[lane], shifts[lane], 0) for lane in range(self.lanes)]
        for bit in range((self.lanes - 1).bit_length()):
            step, moved = 1 << bit, []
            for lane in range(self.lanes):
                value = Signal(self.lane, name=f"lane_{bit}_{lane}")
                way = Signal(bits, name=f"way_{bit}_{lane}")
                m.d.comb += [value.eq(lanes[lane]), way.eq(Mux(ways[lane][bit], 0, ways[lane]))]
                if lane + step < self.lanes:
                    with m.If(ways[lane + step][bit]):
                        m.d.comb += [value.eq(lanes[lane + step]), way.eq(ways[lane + step])]
                moved.append((value, way))
            lanes, ways = [value for value, _ in moved], [way for _, way in moved]
        return lanes
