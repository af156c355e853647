"""Prefix counts over the lanes of a row."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparcade_rtl.layouts import count_bits


class PrefixSum(wiring.Component):
    """How many flags are set before each lane, and in all. Combinational: log2(lanes) layers of adders.

    Ports
    -----
    flags : [lanes] one bit a lane.
    counts : [lanes] of `count_bits`: flags set in the lanes below.
    total : `count_bits`: flags set in all lanes.

    Source: Kogge-Stone tree of SpAtten's zero eliminator (HPCA 2021, Fig. 10).
    """

    def __init__(self, lanes: int) -> None:
        self.lanes, self.count_bits = lanes, count_bits(lanes)
        super().__init__(
            {
                "flags": In(lanes),
                "counts": Out(data.ArrayLayout(self.count_bits, lanes)),
                "total": Out(self.count_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums = [self.flags[lane] for lane in range(self.lanes)]
        step = 1
        while step < self.lanes:
            layer = []
            for lane in range(self.lanes):
                width = min(self.count_bits, step.bit_length() + 1)
                total = Signal(width, name=f"sum_{step}_{lane}")
                m.d.comb += total.eq(sums[lane] + sums[lane - step] if lane >= step else sums[lane])
                layer.append(total)
            sums = layer
            step *= 2
        for lane in range(1, self.lanes):
            m.d.comb += self.counts[lane].eq(sums[lane - 1])
        m.d.comb += self.total.eq(sums[-1])
        return m
