"""Quick-select: the k-th largest score of a list, in passes that partition it around a pivot."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sparcade.topk import ACTS, PASS_OVERHEAD, TopKParams
from sparcade_rtl.compare import compare
from sparcade_rtl.layouts import beats_of, count_bits, flagged, selection_ports
from sparcade_rtl.list_buffer import ListBuffer
from sparcade_rtl.packer import Packer
from sparcade_rtl.zero_eliminator import ZeroEliminator

#: Cycles from the last row of a pass read to the last before the next pass.
TURN = PASS_OVERHEAD


class QuickSelect(wiring.Component):
    """Finds the score above which all elements of a list belong to its k largest, and how many equal ones do.

    A pass reads `lanes` scores per cycle, writes the greater and the smaller ones, compacted, into two memories (a list
    that is read from one is overwritten behind the reading), and counts. The next pass takes the side that holds the
    k-th. The pivot is the head of the list, unless the pass before kept more than 7/8 of its own; then it splits the
    values still possible at the highest bit in which they differ. `sparcade.topk.select` lists the passes, whose number
    is bounded whatever the input (`most_passes`).

    Handshake: `requests` are taken ahead of their `elements`, which come `input_width` a beat (the last may be partial)
    and are buffered; a request with k = 0 or k >= size costs no pass, and its elements are not stored.
    Cycles: the first pass reads each row when it is there; every pass costs ceil(size / lanes) + PASS_OVERHEAD, and the
    threshold is valid ACTS + 1 cycles behind the last row read. The next list starts then.

    Source: SpAtten (HPCA 2021) Algorithm 3, with a 1-based rank; uarch.md 3.2.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        super().__init__(selection_ports(params))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        lanes, score, size_bits = params.lanes, params.score_bits, count_bits(params.capacity)
        depth = beats_of(params.capacity, lanes)

        m.submodules.lists = lists = ListBuffer(params)
        wiring.connect(m, wiring.flipped(self.requests), lists.requests)
        wiring.connect(m, wiring.flipped(self.elements), lists.elements)

        # The list being read: 0 the buffered input, 1 the greater, 2 the smaller side of the pass before.
        source = Signal(2)
        size = Signal(size_bits)
        row_index = Signal(range(depth + 1))
        left = Signal(size_bits)
        most = Signal(size_bits)  # that a pass keeps if the next one is to begin with the head of its list
        low, high, pivot, span = (Signal(score, name=name) for name in ("low", "high", "pivot", "span"))
        whole = Signal(size_bits)  # size of the request
        # Elements above the k-th, and most below it (rank + 1 + spare = size): a pivot with more on a side is not it.
        rank = Signal(size_bits)
        spare = Signal(size_bits)
        greater = Signal(size_bits)
        smaller = Signal(size_bits)
        # rank - greater, spare - smaller
        short_above = Signal(size_bits + 1)
        short_below = Signal(size_bits + 1)
        upper = Signal()
        lower = Signal()
        stop = Signal()
        loads = Signal()
        turn = Signal(range(TURN + 1))
        read = Signal()

        m.submodules.greater_side = up = _Side(score, lanes, depth)
        m.submodules.smaller_side = down = _Side(score, lanes, depth)

        # Stage 0: read a row. Stage 1: compare its halves with the pivot, which the first row of a list brings along.
        valid, head_row, last = (Signal(name=f"read_{name}") for name in ("valid", "head", "last"))
        count = Signal(count_bits(lanes), name="read_count")
        chosen = Signal.like(source, name="read_source")
        word = Signal(data.ArrayLayout(score, lanes))
        centre = Signal(score)
        m.d.sync += valid.eq(read)
        with m.If(read):
            m.d.sync += [
                head_row.eq((source == 0) & (row_index == 0)),
                last.eq(left <= lanes),
                count.eq(Mux(left <= lanes, left, lanes)),
                chosen.eq(source),
            ]
        m.d.comb += [
            lists.pop.eq(read & (source == 0)),
            word.eq(Mux(chosen == 0, lists.row, Mux(chosen == 1, up.row, down.row))),
            centre.eq(Mux(head_row, lists.row[0], pivot)),
        ]
        with m.If(valid & head_row):
            m.d.sync += pivot.eq(lists.row[0])
        restart = Signal()
        above_pivot = []
        below_pivot = []
        for lane in range(lanes):
            there = lane < count
            upper_above, upper_equal = compare(word[lane][score // 2 :], centre[score // 2 :])
            lower_above, lower_equal = compare(word[lane][: score // 2], centre[: score // 2])
            tied = Signal(name=f"tied_{lane}")
            above = Signal(2, name=f"above_{lane}")
            below = Signal(2, name=f"below_{lane}")
            m.d.sync += [
                tied.eq(upper_equal & there),
                above.eq(Cat(lower_above, upper_above & there)),
                below.eq(Cat(~lower_above & ~lower_equal, ~upper_above & ~upper_equal & there)),
            ]
            above_pivot.append(above[1] | (tied & above[0]))
            below_pivot.append(below[1] | (tied & below[0]))

        # Stage 2 and on: the halves together say on which side an element is.
        for part, flags in ((up, above_pivot), (down, below_pivot)):
            m.d.sync += [part.i.valid.eq(valid), part.i.p.lanes.eq(word), part.i.p.last.eq(last)]
            m.d.comb += [part.i.p.flags.eq(Cat(*flags)), part.address.eq(row_index), part.restart.eq(restart)]

        # Counts, and how far they are below what makes the pass go on on that side: a sign says whether it does.
        with m.If(loads):
            m.d.sync += [greater.eq(0), smaller.eq(0), short_above.eq(rank), short_below.eq(spare)]
        with m.Else():
            m.d.sync += [
                greater.eq(greater + up.count),
                smaller.eq(smaller + down.count),
                short_above.eq(short_above - up.count),
                short_below.eq(short_below - down.count),
            ]
        m.d.comb += [upper.eq(short_above[-1]), lower.eq(short_below[-1]), stop.eq(~upper & ~lower)]
        m.d.sync += loads.eq(restart)

        # Those bits of the values that may still differ, and all below: the pivot that splits them keeps the highest.
        splits = Signal()
        half = score // 2
        differ_low = Signal(half)
        differ_high = Signal(score - half)
        differing = Cat(Mux(differ_high.any(), ~0, differ_low)[:half], differ_high)
        m.d.sync += [
            most.eq(size - (size >> 3)),
            splits.eq((turn == TURN) & (size > most)),
            differ_low.eq(_and_below((low ^ high)[:half])),
            differ_high.eq(_and_below((low ^ high)[half:])),
        ]
        with m.If(splits):
            m.d.sync += [span.eq(differing), pivot.eq(high & ~(differing >> 1))]

        free = Signal()
        m.d.comb += free.eq(~self.thresholds.valid | self.thresholds.ready)
        with m.If(self.thresholds.ready):
            m.d.sync += self.thresholds.valid.eq(0)

        m.d.comb += read.eq((left != 0) & (turn == 0) & ((source != 0) | lists.there))
        with m.If(read):
            m.d.sync += [row_index.eq(row_index + 1), left.eq(Mux(left <= lanes, 0, left - lanes))]
            with m.If(left <= lanes):
                m.d.sync += turn.eq(1)

        # Between passes: turn counts cycles from the last row read.
        with m.If((turn != 0) & (turn != ACTS)):
            m.d.sync += turn.eq(Mux(turn == TURN, 0, turn + 1))
        with m.If((turn == ACTS) & (~stop | free)):
            m.d.sync += [
                turn.eq(Mux(stop, 0, TURN)),
                row_index.eq(0),
            ]
            with m.If(stop):
                m.d.sync += [
                    self.thresholds.valid.eq(1),
                    self.thresholds.p.score.eq(pivot),
                    self.thresholds.p.ties.eq(short_above + 1),
                    self.thresholds.p.size.eq(whole),
                ]
            with m.Elif(upper):
                m.d.sync += [low.eq(pivot), source.eq(1), size.eq(greater), spare.eq(~short_above)]
            with m.Else():
                m.d.sync += [high.eq(pivot ^ span), source.eq(2), size.eq(smaller), rank.eq(~short_below)]
        with m.If(turn == TURN):
            m.d.comb += restart.eq(1)
            m.d.sync += [left.eq(size), pivot.eq(Mux(source == 1, up.head, down.head)), span.eq(0)]

        # Between lists: the next request, or the outcome of one that needs no pass.
        idle = Signal()
        m.d.comb += idle.eq((left == 0) & (turn == 0))
        m.d.comb += lists.next.ready.eq(idle & (~lists.bypassed | free))
        with m.If(idle & lists.next.valid):
            with m.If(~lists.bypassed):
                m.d.comb += restart.eq(1)
                m.d.sync += [
                    size.eq(lists.next.p.size),
                    whole.eq(lists.next.p.size),
                    left.eq(lists.next.p.size),
                    rank.eq(lists.next.p.k - 1),
                    spare.eq(lists.next.p.size - lists.next.p.k),
                    source.eq(0),
                    low.eq(0),
                    high.eq(~0),
                    span.eq(0),
                ]
            with m.Elif(free):
                m.d.sync += [self.thresholds.valid.eq(1), self.thresholds.p.eq(lists.outcome)]
        return m


def _and_below(bits: Value) -> Value:
    """The highest bit that is set, and all below it."""
    return Cat(*(bits[place:].any() for place in range(len(bits))))


class _Side(wiring.Component):
    """The scores of a pass on one side of its pivot: compacted, and written into a memory from row 0 on.

    A row's `count` comes a cycle behind its offer, and it is written 2 behind that; what overflows from a last row, 3.
    `head` is the first score since `restart`; `row` what was written at `address` in the cycle before.
    """

    def __init__(self, score: int, lanes: int, depth: int) -> None:
        self.score, self.lanes, self.depth = score, lanes, depth
        super().__init__(
            {
                "i": In(stream.Signature(flagged(score, lanes), always_ready=True)),
                "restart": In(1),
                "count": Out(count_bits(lanes)),
                "head": Out(score),
                "address": In(range(depth + 1)),
                "row": Out(data.ArrayLayout(score, lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.eliminate = eliminate = ZeroEliminator(self.score, self.lanes)
        m.submodules.pack = pack = Packer(self.score, self.lanes)
        m.submodules.rows = rows = Memory(shape=self.row.shape(), depth=self.depth, init=[])
        write, read = rows.write_port(), rows.read_port()
        place = Signal(range(self.depth + 1))
        seen = Signal()
        wiring.connect(m, eliminate.o, pack.i)
        m.d.comb += [
            eliminate.i.valid.eq(self.i.valid),
            eliminate.i.p.eq(self.i.p),
            pack.o.ready.eq(1),
            self.count.eq(eliminate.ahead),
            write.addr.eq(place),
            write.data.eq(pack.o.p.lanes),
            write.en.eq(pack.o.valid),
            read.addr.eq(self.address),
            self.row.eq(read.data),
        ]
        with m.If(pack.o.valid):
            m.d.sync += place.eq(Mux(pack.o.p.last, 0, place + 1))
        with m.If(self.restart):
            m.d.sync += seen.eq(0)
        with m.Elif(eliminate.o.valid & (eliminate.o.p.count != 0) & ~seen):
            m.d.sync += [self.head.eq(eliminate.o.p.lanes[0]), seen.eq(1)]
        return m
