"""What must hold of each block, as assertions around it with arbitrary inputs in every cycle."""

from __future__ import annotations

from typing import Any

from amaranth.asserts import AnySeq, Initial
from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal
from amaranth.lib import data

from sparcade.topk import PASS_OVERHEAD, TopKParams
from sparcade_rtl.layouts import count_bits, element


def anything(port: Any) -> Any:
    """An arbitrary payload in every cycle."""
    return port.p.as_value().eq(AnySeq(len(port.p.as_value())))


def any_constant(m: Module, bits: int, name: str) -> Any:
    """An arbitrary value that stays."""
    kept, free = Signal(bits, name=f"kept_{name}"), Signal(bits, name=f"free_{name}")
    m.d.comb += free.eq(AnySeq(bits))
    m.d.sync += kept.eq(Mux(Initial(), free, kept))
    return Mux(Initial(), free, kept)


def stays(m: Module, name: str, port: Any, claim: Any) -> None:
    """An offer that is not taken is there in the next cycle, too: assumed of an input, asserted of an output."""
    waited, payload = Signal(name=f"{name}_waited"), Signal(len(port.p.as_value()), name=f"{name}_payload")
    m.d.sync += [waited.eq(port.valid & ~port.ready), payload.eq(port.p.as_value())]
    with m.If(waited):
        m.d.comb += [claim(port.valid), claim(payload == port.p.as_value())]


def ends_within(m: Module, begun: Any, finished: Any, taken: Any, most: int) -> None:
    """No deadlock: once begun, and with the consumer ready in `most` cycles, it has finished."""
    waited = Signal(range(most + 3))
    with m.If(begun & ~finished & taken):
        m.d.sync += waited.eq(waited + 1)
        m.d.comb += Assert(waited < most, "no deadlock")


class Harness(Elaboratable):
    """A block and what is claimed of it."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = self.dut
        self.surround(m, self.dut)
        return m

    def surround(self, m: Module, dut: Any) -> None:
        """Drive the inputs of the block, and assert."""
        raise NotImplementedError


class PrefixSumProof(Harness):
    """counts[i] is the number of flags below lane i, total that of all."""

    def surround(self, m: Module, dut: Any) -> None:
        m.d.comb += dut.flags.eq(AnySeq(dut.lanes))
        below: Any = 0
        for lane in range(dut.lanes):
            m.d.comb += Assert(dut.counts[lane] == below, f"count of lane {lane}")
            below = below + dut.flags[lane]
        m.d.comb += Assert(dut.total == below, "total")


class StreamProof(Harness):
    """Arbitrary offers and stalls; an offer that is not taken stays; the block's own must, too."""

    def surround(self, m: Module, dut: Any) -> None:
        m.d.comb += [
            dut.i.valid.eq(AnySeq(1)),
            anything(dut.i),
            dut.o.ready.eq(AnySeq(1)),
        ]
        for name, port, claim in (("i", dut.i, Assume), ("o", dut.o, Assert)):
            stays(m, name, port, claim)
        with m.If(Initial()):
            m.d.comb += Assert(~dut.o.valid, "nothing is offered before anything was taken")
        self.check(m, dut)

    def check(self, m: Module, dut: Any) -> None:
        """More assertions."""


class ZeroEliminatorProof(StreamProof):
    """Each row comes out once, in order: flagged lanes in their order, then nothing that is meant."""

    def check(self, m: Module, dut: Any) -> None:
        layout = dut.i.p.shape()
        rows = [Signal(layout, name=f"row_{stage}") for stage in range(2)]
        valid = [Signal(name=f"valid_{stage}") for stage in range(2)]
        moves, takes = Signal(), Signal()
        m.d.comb += [moves.eq(~valid[1] | dut.o.ready), takes.eq(~valid[0] | moves)]
        with m.If(moves):
            m.d.sync += [rows[1].eq(rows[0]), valid[1].eq(valid[0])]
        with m.If(takes):
            m.d.sync += [rows[0].eq(dut.i.p), valid[0].eq(dut.i.valid)]
        m.d.comb += [Assert(dut.o.valid == valid[1], "loss or duplication"), Assert(dut.i.ready == takes, "deadlock")]
        row, rank = rows[1], Signal(range(dut.lanes + 1), name="rank_0")
        with m.If(valid[1]):
            m.d.comb += Assert(dut.o.p.last == row.last, "last")
            for lane in range(dut.lanes):
                with m.If(row.flags[lane]):
                    m.d.comb += Assert(dut.o.p.lanes[rank] == row.lanes[lane], f"lane {lane}")
                after = Signal(range(dut.lanes + 1), name=f"rank_{lane + 1}")
                m.d.comb += after.eq(rank + row.flags[lane])
                rank = after
            m.d.comb += Assert(dut.o.p.count == rank, "count")
        flags: Any = sum(rows[0].flags[lane] for lane in range(dut.lanes))
        m.d.comb += Assert(dut.ahead == Mux(valid[0], flags, 0), "count ahead")


class PackerProof(StreamProof):
    """Elements of a list come out in order, in full rows but the last: the n-th in is the n-th out, for every n.

    One element, chosen by the solver, is followed by its number in the list; rows before and after it are counted.
    """

    def check(self, m: Module, dut: Any) -> None:
        bits, lane = 5, len(dut.i.p.lanes[0])
        chosen = Signal(bits, name="chosen")
        m.d.comb += chosen.eq(any_constant(m, bits, "choice"))
        put, got = Signal(bits), Signal(bits)
        word, known = Signal(lane), Signal()
        fires_in, fires_out = Signal(), Signal()
        m.d.comb += [
            fires_in.eq(dut.i.valid & dut.i.ready),
            fires_out.eq(dut.o.valid & dut.o.ready),
            Assume(dut.i.p.count <= dut.lanes),
        ]
        closed = Signal()  # one list only
        with m.If(closed):
            m.d.comb += Assume(~dut.i.valid)
        with m.If(fires_in):
            m.d.comb += Assume(put + dut.i.p.count < (1 << bits))
            m.d.sync += [put.eq(put + dut.i.p.count), closed.eq(dut.i.p.last)]
            for place in range(dut.lanes):
                with m.If((place < dut.i.p.count) & (put + place == chosen)):
                    m.d.sync += [word.eq(dut.i.p.lanes[place]), known.eq(1)]
        finished = Signal()
        with m.If(fires_out):
            m.d.sync += [got.eq(got + dut.o.p.count), finished.eq(dut.o.p.last)]
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(dut.o.p.last | (dut.o.p.count == dut.lanes), "a row that is not the last is full"),
                Assert(dut.o.p.count <= dut.lanes),
                Assert(~finished, "nothing behind the last row"),
                Assert(got + dut.o.p.count <= put, "no element comes out that did not go in"),
            ]
            for place in range(dut.lanes):
                with m.If((place < dut.o.p.count) & (got + place == chosen)):
                    m.d.comb += [Assert(known), Assert(dut.o.p.lanes[place] == word, "order, loss or duplication")]
        with m.If(dut.o.valid & dut.o.p.last):
            m.d.comb += [Assert(closed), Assert(got + dut.o.p.count == put, "all elements came out")]
        ends_within(m, closed, finished, dut.o.ready, 2)


class ListBufferProof(Harness):
    """Two lists come in under stalls and are read under stalls (twice, if that is what the buffer is for).

    Every row has the elements that came, in their order, none before it came, none overwritten or lost: one element of
    one list, chosen by the solver, is followed.
    """

    LISTS = 2

    def surround(self, m: Module, dut: Any) -> None:
        params: TopKParams = dut.params
        bits, width, lanes = count_bits(2 * params.capacity), params.input_width, params.lanes
        chosen_list, chosen = any_constant(m, 1, "list"), any_constant(m, bits, "place")

        # In: two requests, and their elements.
        asked = Signal(2)
        sizes = Signal(data.ArrayLayout(bits, self.LISTS))
        asks = dut.requests.p
        m.d.comb += [
            dut.requests.valid.eq(AnySeq(1) & (asked < self.LISTS)),
            anything(dut.requests),
            Assume((asks.size > 0) & (asks.size <= params.capacity)),
            dut.elements.valid.eq(AnySeq(1)),
            anything(dut.elements),
        ]
        with m.If(dut.requests.valid & dut.requests.ready):
            m.d.sync += [asked.eq(asked + 1), sizes[asked[0]].eq(asks.size)]
        coming, seen = Signal(2), Signal(bits)
        word, known = Signal(params.score_bits), Signal()
        with m.If(dut.elements.valid & dut.elements.ready):
            m.d.comb += Assert(coming < asked, "elements nobody asked for")
            last_beat = seen + width >= sizes[coming[0]]
            m.d.sync += [seen.eq(Mux(last_beat, 0, seen + width)), coming.eq(coming + last_beat)]
            for place in range(width):
                with m.If((coming == chosen_list) & (seen + place == chosen)):
                    m.d.sync += [word.eq(dut.elements.p[place]), known.eq(1)]

        # Out: a reader that begins, reads and pauses when it likes.
        begun, reading, pauses, number = Signal(2), Signal(), Signal(), Signal(2)
        left, at = Signal(bits), Signal(bits)
        readings = 2 if dut.rereads else 1
        final = number == readings - 1
        m.d.comb += [
            dut.next.ready.eq(AnySeq(1) & ~reading),
            dut.pop.eq(AnySeq(1) & reading & dut.there & ~pauses),
            dut.release.eq(final),
        ]
        m.d.sync += pauses.eq(0)
        with m.If(dut.next.valid & dut.next.ready):
            m.d.comb += Assert(dut.next.p.size == sizes[begun[0]], "requests in their order")
            m.d.sync += [begun.eq(begun + 1), reading.eq(~dut.bypassed), number.eq(0)]
            m.d.sync += [left.eq(dut.next.p.size), at.eq(0)]
        with m.If(dut.pop):
            m.d.sync += [left.eq(left - lanes), at.eq(at + lanes)]
            with m.If(left <= lanes):
                m.d.sync += [number.eq(number + 1), at.eq(0), left.eq(sizes[begun[0] ^ 1]), pauses.eq(1)]
                m.d.sync += reading.eq(~final)
        popped, row_list, row_at = Signal(), Signal(), Signal(bits)
        m.d.sync += [popped.eq(dut.pop), row_list.eq(begun[0] ^ 1), row_at.eq(at)]
        for lane in range(lanes):
            here = (row_list == chosen_list) & (row_at + lane == chosen) & (chosen < sizes[row_list])
            with m.If(popped & here):
                m.d.comb += [
                    Assert(known, "a row before its elements"),
                    Assert(dut.row[lane] == word, "another element"),
                ]


class FilterProof(Harness):
    """One list of arbitrary scores: exactly those above the threshold and the first `ties` equal ones come out."""

    def surround(self, m: Module, dut: Any) -> None:
        params: TopKParams = dut.params
        bits, width = count_bits(params.capacity), params.input_width
        asked = Signal()
        m.d.comb += [
            dut.thresholds.valid.eq(~asked),
            anything(dut.thresholds),
            dut.elements.valid.eq(AnySeq(1)),
            anything(dut.elements),
            dut.o.ready.eq(AnySeq(1)),
            Assume((dut.thresholds.p.size > 0) & (dut.thresholds.p.size <= params.capacity)),
        ]
        stays(m, "o", dut.o, Assert)
        limit = Signal(dut.thresholds.p.shape())
        with m.If(dut.thresholds.valid & dut.thresholds.ready):
            m.d.sync += [asked.eq(1), limit.eq(dut.thresholds.p)]

        # What must come out: the elements, in their order, of the whole list.
        seen, equal, kept = Signal(bits), Signal(bits), Signal(bits)
        wanted = Signal(data.ArrayLayout(element(params).size, params.capacity))
        at_equal: Any = equal
        at_kept: Any = kept
        fires = dut.elements.valid & dut.elements.ready
        with m.If(fires):
            m.d.sync += seen.eq(seen + width)
            for place in range(width):
                there, one = seen + place < limit.size, dut.elements.p[place]
                ties = there & (one.score == limit.score)
                keeps = (there & (one.score > limit.score)) | (ties & (at_equal < limit.ties))
                with m.If(keeps):
                    m.d.sync += wanted[at_kept].eq(one)
                next_equal, next_kept = Signal(bits, name=f"equal_{place}"), Signal(bits, name=f"kept_{place}")
                m.d.comb += [next_equal.eq(at_equal + ties), next_kept.eq(at_kept + keeps)]
                at_equal, at_kept = next_equal, next_kept
            m.d.sync += [equal.eq(at_equal), kept.eq(at_kept)]

        got, finished = Signal(bits), Signal()
        with m.If(dut.o.valid):
            m.d.comb += [Assert(~finished, "early done"), Assert(got + dut.o.p.count <= kept, "an element too many")]
            for place in range(width):
                with m.If(place < dut.o.p.count):
                    m.d.comb += Assert(dut.o.p.lanes[place].as_value() == wanted[got + place], "order or loss")
            with m.If(dut.o.p.last):
                m.d.comb += [Assert(seen >= limit.size), Assert(got + dut.o.p.count == kept, "exactly k")]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += [got.eq(got + dut.o.p.count), finished.eq(dut.o.p.last)]
        ends_within(m, asked & (seen >= limit.size), finished, dut.o.ready, 7)


class SelectProof(Harness):
    """One list of arbitrary scores: the threshold is its k-th largest, with the right ties, after a bounded time."""

    def surround(self, m: Module, dut: Any) -> None:
        params: TopKParams = dut.params
        bits, width = count_bits(params.capacity), params.input_width
        asked, ask = Signal(), Signal(dut.requests.p.shape())
        m.d.comb += [
            dut.requests.valid.eq(~asked),
            anything(dut.requests),
            Assume((dut.requests.p.size > 0) & (dut.requests.p.size <= params.capacity)),
            dut.elements.valid.eq(asked),
            anything(dut.elements),
            dut.thresholds.ready.eq(AnySeq(1)),
        ]
        with m.If(dut.requests.ready & ~asked):
            m.d.sync += [asked.eq(1), ask.eq(dut.requests.p)]
        seen, scores = Signal(bits), Signal(data.ArrayLayout(params.score_bits, params.capacity + width))
        with m.If(dut.elements.valid & dut.elements.ready):
            m.d.sync += seen.eq(seen + width)
            for place in range(width):
                m.d.sync += scores[seen + place].eq(dut.elements.p[place])
        there = [Mux(place < ask.size, 1, 0) for place in range(params.capacity)]
        threshold, needless = dut.thresholds.p, Signal()
        above: Any = sum(there[place] & (scores[place] > threshold.score) for place in range(params.capacity))
        equal: Any = sum(there[place] & (scores[place] == threshold.score) for place in range(params.capacity))
        m.d.comb += needless.eq((ask.k == 0) | (ask.k >= ask.size))
        finished = Signal()
        stays(m, "thresholds", dut.thresholds, Assert)
        with m.If(dut.thresholds.valid):
            m.d.sync += finished.eq(dut.thresholds.ready)
            m.d.comb += [Assert(~finished, "one threshold a list"), Assert(threshold.size == ask.size)]
            with m.If(needless):
                m.d.comb += Assert(
                    Mux(ask.k == 0, threshold.ties == 0, (threshold.score == 0) & (threshold.ties >= ask.size))
                )
            with m.Else():
                m.d.comb += [
                    Assert(seen >= ask.size, "not before the list is there"),
                    Assert((threshold.ties > 0) & (threshold.ties <= equal), "ties"),
                    Assert(above + threshold.ties == ask.k, "exactly k"),
                ]
        longest = params.capacity // params.lanes + PASS_OVERHEAD
        ends_within(m, asked, finished, dut.thresholds.ready, params.capacity + params.capacity * longest)
