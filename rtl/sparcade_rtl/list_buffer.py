"""The lists that a selection reads: taken in beat by beat, read in rows of lanes."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sparcade.topk import TopKParams
from sparcade_rtl.layouts import beats_of, count_bits, request, threshold


class ListBuffer(wiring.Component):
    """Requests, and the scores of those that need passes, in the order they came.

    A beat goes into a memory of rows of max(lanes, input_width) scores; a list begins with a row of its own.

    Handshake: `next` is the next list to select from, and `bypassed` says that it needs no pass (k = 0 or k >= size):
    its elements are not stored, and `outcome` is its threshold. `there`: a row that was not read yet can be; `pop`
    reads it, and `row` has its lanes in the next cycle. A row is free once read; with `rereads`, only if `release` was
    set as it was read, and behind its last row the list begins anew until then (there is a cycle between).
    Latency: a row can be read from the cycle behind the one in which its last beat was taken; interval 1.
    """

    def __init__(self, params: TopKParams, rereads: bool = False) -> None:
        self.params, self.rereads = params, rereads
        super().__init__(
            {
                "requests": In(stream.Signature(request(params))),
                "elements": In(stream.Signature(data.ArrayLayout(params.score_bits, params.input_width))),
                "next": Out(stream.Signature(request(params))),
                "bypassed": Out(1),
                "outcome": Out(threshold(params)),
                "there": Out(1),
                "pop": In(1),
                "release": In(1),
                "row": Out(data.ArrayLayout(params.score_bits, params.lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        lanes, width, score = params.lanes, params.input_width, params.score_bits
        wide = max(lanes, width)
        depth = beats_of(params.capacity, wide)
        size_bits = count_bits(params.capacity)

        # A request waits until the elements before are through and the one before has been started on.
        waiting = Signal(request(params))
        waits = Signal()
        needless = Signal()
        due = Signal(size_bits)
        stores = Signal()
        taken = Signal()
        starts = Signal()
        # due != 0, due <= width: registers, much waits for them
        takes = Signal()
        ending = Signal()
        nothing = self.next.p.k == 0
        m.d.comb += [
            self.outcome.score.eq(Mux(nothing, ~0, 0)),
            self.outcome.ties.eq(Mux(nothing, 0, self.next.p.size)),
            self.outcome.size.eq(self.next.p.size),
            self.requests.ready.eq(~waits),
            needless.eq((waiting.k == 0) | (waiting.k >= waiting.size)),
            starts.eq(waits & (~takes | (taken & ending)) & (~self.next.valid | self.next.ready)),
        ]
        with m.If(self.next.ready):
            m.d.sync += self.next.valid.eq(0)
        with m.If(starts):
            m.d.sync += [
                self.next.valid.eq(1),
                self.next.p.eq(waiting),
                self.bypassed.eq(needless),
                stores.eq(~needless),
            ]
        with m.If(~waits):
            m.d.sync += [waiting.eq(self.requests.p), waits.eq(self.requests.valid)]
        with m.Elif(starts):
            m.d.sync += waits.eq(0)

        memory = Memory(shape=data.ArrayLayout(score, wide), depth=depth, init=[])
        m.submodules.memory = memory
        write, read = memory.write_port(granularity=width), memory.read_port()
        parts = wide // width
        part = Signal(range(max(parts, 2)))
        write_row = Signal(range(depth))
        read_row = Signal(range(depth))
        used = Signal(range(depth + 1))
        closes = Signal()
        frees = Signal()
        m.d.comb += [
            self.elements.ready.eq(takes & (~stores | (used != depth))),
            taken.eq(self.elements.valid & self.elements.ready),
            closes.eq(taken & stores & (ending | (part == parts - 1))),
            write.addr.eq(write_row),
            write.data.as_value().eq(Cat(*[self.elements.p.as_value()] * parts)),
            write.en.eq(Mux(taken & stores, 1 << part, 0)),
        ]
        with m.If(starts):
            m.d.sync += [takes.eq(1), ending.eq(waiting.size <= width), due.eq(waiting.size)]
        with m.Elif(taken):
            m.d.sync += [takes.eq(~ending), ending.eq(due <= 2 * width), due.eq(due - width)]
        with m.If(taken):
            m.d.sync += part.eq(Mux(closes | ~stores, 0, part + 1))
        with m.If(closes):
            m.d.sync += write_row.eq(Mux(write_row == depth - 1, 0, write_row + 1))

        # Rows of the memory hold one row of lanes, or several; `unread` are those there and not read in this pass.
        slices = wide // lanes
        piece = Signal(range(max(slices, 2)))
        chosen = Signal(range(max(slices, 2)))
        size = Signal(size_bits)
        left = Signal(size_bits)
        unread = Signal(range(depth + 1))
        ends = Signal()
        reads = Signal()
        m.d.comb += [
            self.there.eq(unread != 0),
            read.addr.eq(read_row),
            ends.eq(self.pop & (left <= lanes)),
            reads.eq(ends | (self.pop & (piece == slices - 1))),
            frees.eq(reads & self.release) if self.rereads else frees.eq(reads),
        ]
        with m.If(self.next.valid & self.next.ready):
            m.d.sync += [size.eq(self.next.p.size), left.eq(self.next.p.size)]
        with m.Elif(ends):
            m.d.sync += left.eq(size)
        with m.Elif(self.pop):
            m.d.sync += left.eq(left - lanes)
        with m.If(self.pop):
            m.d.sync += [chosen.eq(piece), piece.eq(Mux(reads, 0, piece + 1))]
        following = Mux(read_row == depth - 1, 0, read_row + 1)
        m.d.sync += [used.eq(used + closes - frees), unread.eq(unread + closes - reads)]
        with m.If(reads):
            m.d.sync += read_row.eq(following)
        if self.rereads:
            first = Signal(range(depth))
            passed = Signal(range(depth + 1))
            again = Signal()
            m.d.sync += again.eq(ends & ~self.release)
            with m.If(again):
                m.d.sync += [unread.eq(unread + closes + passed), passed.eq(0)]
            with m.Elif(reads):
                m.d.sync += passed.eq(Mux(ends & self.release, 0, passed + 1))
            with m.If(ends & self.release):
                m.d.sync += first.eq(following)
            with m.Elif(ends):
                m.d.sync += read_row.eq(first)
        m.d.comb += self.row.as_value().eq(read.data.as_value().word_select(chosen, lanes * score))
        return m
