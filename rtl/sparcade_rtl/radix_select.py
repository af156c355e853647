"""Radix select: the k-th largest score of a list, digit by digit, in passes whose number depends on nothing."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from sparcade.topk import ACTS, TopKParams
from sparcade_rtl.layouts import count_bits, selection_ports
from sparcade_rtl.list_buffer import ListBuffer
from sparcade_rtl.one_of import one_of
from sparcade_rtl.prefix_sum import PrefixSum


class RadixSelect(wiring.Component):
    """Finds the score above which all elements of a list belong to its k largest, and how many equal ones do.

    A pass reads the whole list, `lanes` scores per cycle, and counts, among those that agree with the digits known so
    far, how many have a next digit of at least 1, 2, ...: a histogram, summed from the top. The largest digit that
    enough of them reach is the k-th's. After ceil(score_bits / radix_bits) passes all digits are known.

    Handshake: as `QuickSelect`, whose place it can take.
    Cycles: the first pass reads each row when it is there; every pass costs ceil(size / lanes) + RADIX_PASS_OVERHEAD,
    whatever the scores; the threshold is valid ACTS + 1 cycles behind the last row read. The next list starts then.

    Source: radix selection by most significant digits, as in Alabi et al., ACM JEA 17 (2012).
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        super().__init__(selection_ports(params))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        lanes, digits, size_bits = params.lanes, params.digits, count_bits(params.capacity)
        digit_bits, score = params.radix_bits, digits * params.radix_bits  # zeros above the scores fill the first digit

        m.submodules.lists = lists = ListBuffer(params, rereads=True)
        wiring.connect(m, wiring.flipped(self.requests), lists.requests)
        wiring.connect(m, wiring.flipped(self.elements), lists.elements)

        size = Signal(size_bits)
        left = Signal(size_bits)
        turn = Signal(range(ACTS + 1))
        digit = Signal(range(max(digits, 2)))  # the one this pass settles, the last being 0
        # digits settled, and a mask of them
        prefix = Signal(score)
        known = Signal(score)
        rank = Signal(size_bits)  # of those that agree with them, elements above the k-th
        idle = Signal()
        read = Signal()
        acts = Signal()
        loads = Signal()
        free = Signal()

        # Stage 0: read a row. Stage 1: the elements that agree so far, and the digits their next one reaches.
        valid = Signal(name="read_valid")
        count = Signal(count_bits(lanes), name="read_count")
        m.d.sync += [valid.eq(read), count.eq(Mux(left <= lanes, left, lanes))]
        m.d.comb += [lists.pop.eq(read), lists.release.eq(digit == 0)]
        reached = [Signal(lanes, name=f"reached_{least}") for least in range(1, 1 << digit_bits)]
        for lane in range(lanes):
            word = Signal(score, name=f"word_{lane}")
            value = Signal(digit_bits, name=f"digit_{lane}")
            agrees = Signal(name=f"agrees_{lane}")
            m.d.comb += [
                word.eq(lists.row[lane]),
                value.eq(word.word_select(digit, digit_bits)),
                agrees.eq((((word ^ prefix) & known) == 0) & valid & (lane < count)),
            ]
            m.d.sync += [flags[lane].eq(agrees & (value >= least)) for least, flags in enumerate(reached, start=1)]

        # Stage 2: count them in the row. Stage 3: over the rows, down from `rank`: below 0 there are enough.
        short = [Signal(size_bits + 1, name=f"short_{least}") for least in range(1, 1 << digit_bits)]
        for least, (flags, total) in enumerate(zip(reached, short, strict=True), start=1):
            m.submodules[f"sum_{least}"] = sums = PrefixSum(lanes)
            row_count = Signal(count_bits(lanes), name=f"count_{least}")
            m.d.comb += sums.flags.eq(flags)
            m.d.sync += [row_count.eq(sums.total), total.eq(Mux(loads, rank, total - row_count))]

        # The k-th has the largest digit that enough reach; its new rank is what the next larger digit leaves of it.
        enough = [Const(1), *(total[-1] for total in short), Const(0)]
        is_digit = [enough[value] & ~enough[value + 1] for value in range(1 << digit_bits)]
        chosen = Signal(digit_bits)
        new_rank = Signal(size_bits)
        m.d.comb += [
            chosen.eq(one_of((one, Const(value)) for value, one in enumerate(is_digit))),
            new_rank.eq(one_of(zip(is_digit, [*short, rank], strict=True))),
        ]

        m.d.comb += [
            free.eq(~self.thresholds.valid | self.thresholds.ready),
            acts.eq((turn == ACTS) & ((digit != 0) | free)),
            idle.eq((left == 0) & (turn == 0)),
            read.eq((left != 0) & (turn == 0) & lists.there),
            lists.next.ready.eq(idle & (~lists.bypassed | free)),
        ]
        m.d.sync += loads.eq(acts | idle)
        with m.If(self.thresholds.ready):
            m.d.sync += self.thresholds.valid.eq(0)
        with m.If(read):
            m.d.sync += [left.eq(Mux(left <= lanes, 0, left - lanes)), turn.eq(left <= lanes)]
        with m.Elif((turn != 0) & (turn != ACTS)):
            m.d.sync += turn.eq(turn + 1)
        with m.If(acts):
            m.d.sync += [
                turn.eq(0),
                prefix.word_select(digit, digit_bits).eq(chosen),
                known.word_select(digit, digit_bits).eq(~0),
                rank.eq(new_rank),
            ]
            with m.If(digit != 0):
                m.d.sync += [digit.eq(digit - 1), left.eq(size)]
            with m.Else():
                m.d.sync += [
                    self.thresholds.valid.eq(1),
                    self.thresholds.p.score.eq(Cat(chosen, prefix[digit_bits:])),
                    self.thresholds.p.ties.eq(new_rank + 1),
                    self.thresholds.p.size.eq(size),
                ]

        # Between lists: the next request, or the outcome of one that needs no pass.
        with m.If(idle & lists.next.valid):
            with m.If(~lists.bypassed):
                m.d.sync += [
                    size.eq(lists.next.p.size),
                    left.eq(lists.next.p.size),
                    rank.eq(lists.next.p.k - 1),
                    digit.eq(digits - 1),
                    prefix.eq(0),
                    known.eq(0),
                ]
            with m.Elif(free):
                m.d.sync += [self.thresholds.valid.eq(1), self.thresholds.p.eq(lists.outcome)]
        return m
