"""The filter behind the selection: the elements of a list that belong to its k largest, in their order."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparcade.topk import TopKParams
from sparcade_rtl.compare import compare
from sparcade_rtl.layouts import count_bits, element, flagged, row, threshold
from sparcade_rtl.packer import Packer
from sparcade_rtl.prefix_sum import PrefixSum
from sparcade_rtl.zero_eliminator import ZeroEliminator


class TopKFilter(wiring.Component):
    """Keeps the elements above a threshold and the first `ties` equal to it, compacted into full beats.

    Handshake: elastic pipeline, `ready` is combinational, `valid` never depends on it. A threshold is taken when the
    list before is through, or with its last beat, so lists follow each other without a bubble.
    Latency 6 cycles from the beat that fills a row to the row; interval 1 beat a cycle, and one cycle more for a list
    whose last beat overflows a row. Every list ends with a row marked `last`, an empty one if nothing is kept.

    Source: SpAtten (HPCA 2021) section IV-B; ties go to the lowest index, by a count over the whole list.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        lane, width = element(params), params.input_width
        super().__init__(
            {
                "thresholds": In(stream.Signature(threshold(params))),
                "elements": In(stream.Signature(data.ArrayLayout(lane, width))),
                "o": Out(stream.Signature(row(lane, width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        lane, width, size_bits = element(params), params.input_width, count_bits(params.capacity)
        m.submodules.eliminate = eliminate = ZeroEliminator(lane, width)
        m.submodules.pack = pack = Packer(lane, width)
        m.submodules.ranks = ranks = PrefixSum(width)
        wiring.connect(m, eliminate.o, pack.i)
        wiring.connect(m, pack.o, wiring.flipped(self.o))

        # The list at the input.
        current = Signal(threshold(params))
        left = Signal(size_bits)
        first = Signal()
        # left != 0, left <= width: registers, they are awaited
        busy = Signal()
        ending = Signal()
        fires = Signal()
        compares, counts, keeps = (Signal(name=f"{name}_moves") for name in ("compare", "count", "keep"))
        m.d.comb += [
            self.elements.ready.eq(busy & compares),
            fires.eq(self.elements.valid & self.elements.ready),
            self.thresholds.ready.eq(~busy | (fires & ending)),
        ]
        with m.If(fires):
            m.d.sync += [busy.eq(~ending), ending.eq(left <= 2 * width), left.eq(left - width), first.eq(0)]
        with m.If(self.thresholds.valid & self.thresholds.ready):
            size = self.thresholds.p.size
            m.d.sync += [
                current.eq(self.thresholds.p),
                busy.eq(1),
                ending.eq(size <= width),
                left.eq(size),
                first.eq(1),
            ]

        # Compare with the threshold.
        compared = Signal(flagged(lane, width))
        compared_valid = Signal()
        equal = Signal(width)
        compared_first = Signal()
        ties = Signal(size_bits)
        m.d.comb += compares.eq(~compared_valid | counts)
        flags = []
        for place in range(width):
            greater, same = compare(self.elements.p[place].score, current.score)
            flags.append((greater & (place < left), same & (place < left)))
        with m.If(compares):
            m.d.sync += [
                compared_valid.eq(fires),
                compared.lanes.eq(self.elements.p),
                compared.flags.eq(Cat(*(greater for greater, _ in flags))),
                compared.last.eq(ending),
                equal.eq(Cat(*(same for _, same in flags))),
                compared_first.eq(first),
                ties.eq(current.ties),
            ]

        # Rank the equal ones within the beat.
        ranked = Signal(flagged(lane, width))
        ranked_valid = Signal()
        ranked_equal = Signal(width)
        ranked_first = Signal()
        ranked_ties = Signal(size_bits)
        rank = Signal(data.ArrayLayout(ranks.count_bits, width))
        total = Signal(ranks.count_bits)
        m.d.comb += [counts.eq(~ranked_valid | keeps), ranks.flags.eq(equal)]
        with m.If(counts):
            m.d.sync += [
                ranked_valid.eq(compared_valid),
                ranked.eq(compared),
                ranked_equal.eq(equal),
                ranked_first.eq(compared_first),
                ranked_ties.eq(ties),
                rank.eq(ranks.counts),
                total.eq(ranks.total),
            ]

        # Keep those above, and equal ones while ties are left.
        kept = Signal(flagged(lane, width))
        kept_valid = Signal()
        ties_left = Signal(size_bits)
        budget = Signal(size_bits)
        m.d.comb += [
            keeps.eq(~kept_valid | eliminate.i.ready),
            budget.eq(Mux(ranked_first, ranked_ties, ties_left)),
            eliminate.i.valid.eq(kept_valid),
            eliminate.i.p.eq(kept),
        ]
        with m.If(keeps):
            m.d.sync += kept_valid.eq(ranked_valid)
            with m.If(ranked_valid):
                chosen = Cat(*(ranked_equal[place] & (rank[place] < budget) for place in range(width)))
                m.d.sync += [
                    kept.lanes.eq(ranked.lanes),
                    kept.last.eq(ranked.last),
                    kept.flags.eq(ranked.flags | chosen),
                    ties_left.eq(Mux(budget > total, budget - total, 0)),
                ]
        return m
