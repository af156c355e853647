"""Quick-select: the k-th largest score of a list, in passes that partition it around a pivot."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sparcade.topk import HEAD_PASSES, PASS_OVERHEAD, TopKParams
from sparcade_rtl.layouts import beats_of, count_bits, flagged, request, threshold
from sparcade_rtl.packer import Packer
from sparcade_rtl.zero_eliminator import ZeroEliminator

#: Cycles from the last row of a pass read to its counts complete, and to the first row of the next pass.
COUNTED, TURN = 4, PASS_OVERHEAD


class QuickSelect(wiring.Component):
    """Finds the score above which all elements of a list belong to its k largest, and how many equal ones do.

    A pass reads `lanes` scores per cycle, writes the greater and the smaller ones, compacted, into two memories (a list
    that is read from one is overwritten behind the reading), and counts. The next pass takes the side that holds the
    k-th. Pivots: the head of the list for `HEAD_PASSES` passes, then the middle of the values still possible, so there
    are at most HEAD_PASSES + score_bits passes, whatever the input (`sparcade.topk.select` lists them).

    Handshake: `requests` are taken ahead of their `elements`, which come `input_width` a beat (the last may be partial)
    and are buffered; a request with k = 0 or k >= size costs no pass, and its elements are not stored.
    Cycles: the first pass reads each row when it is there; every pass costs ceil(size / lanes) + PASS_OVERHEAD, and the
    threshold is valid PASS_OVERHEAD - 1 cycles behind the last row read. The next list starts in the cycle after that.

    Source: SpAtten (HPCA 2021) Algorithm 3, with a 1-based rank; uarch.md 3.2.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        width = params.input_width
        super().__init__(
            {
                "requests": In(stream.Signature(request(params))),
                "elements": In(stream.Signature(data.ArrayLayout(params.score_bits, width))),
                "thresholds": Out(stream.Signature(threshold(params))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        lanes, score, size_bits = params.lanes, params.score_bits, count_bits(params.capacity)
        depth = beats_of(params.capacity, lanes)

        m.submodules.fill = fill = _Fill(params)
        wiring.connect(m, wiring.flipped(self.requests), fill.requests)
        wiring.connect(m, wiring.flipped(self.elements), fill.elements)

        # The list being read: 0 the buffered input, 1 the greater, 2 the smaller side of the pass before.
        source, size, target, row_index = Signal(2), Signal(size_bits), Signal(size_bits), Signal(range(depth + 1))
        left, passes = Signal(size_bits), Signal(range(HEAD_PASSES + score + 2))
        low, high, pivot = Signal(score), Signal(score), Signal(score)
        whole = Signal(size_bits)  # size of the request
        greater, at_least = Signal(size_bits), Signal(size_bits)  # of this pass: above the pivot; above or equal
        stop, upper = Signal(), Signal()
        turn = Signal(range(TURN + 1))
        read = Signal()

        m.submodules.greater_side = up = _Side(score, lanes, depth)
        m.submodules.smaller_side = down = _Side(score, lanes, depth)

        # Stage 0: read a row. Stage 1: compare it with the pivot, the row itself holding that of a first pass.
        valid, head_row, last = (Signal(name=f"read_{name}") for name in ("valid", "head", "last"))
        count = Signal(count_bits(lanes), name="read_count")
        m.d.sync += valid.eq(read)
        with m.If(read):
            m.d.sync += [
                head_row.eq((source == 0) & (row_index == 0)),
                last.eq(left <= lanes),
                count.eq(Mux(left <= lanes, left, lanes)),
            ]
        m.d.comb += fill.pop.eq(read & (source == 0))
        word, centre = Signal(data.ArrayLayout(score, lanes)), Signal(score)
        side = Signal(2)
        with m.If(read):
            m.d.sync += side.eq(source)
        with m.Switch(side):
            with m.Case(0):
                m.d.comb += word.eq(fill.row)
            with m.Case(1):
                m.d.comb += word.eq(up.row)
            with m.Default():
                m.d.comb += word.eq(down.row)
        m.d.comb += centre.eq(Mux(head_row, word[0], pivot))
        with m.If(valid & head_row):
            m.d.sync += pivot.eq(word[0])

        restart, there = Signal(), [lane < count for lane in range(lanes)]
        above_centre = [(word[lane] > centre) & there[lane] for lane in range(lanes)]
        below_centre = [(word[lane] < centre) & there[lane] for lane in range(lanes)]
        for part, flags in ((up, above_centre), (down, below_centre)):
            m.d.sync += [
                part.i.valid.eq(valid),
                part.i.p.lanes.eq(word),
                part.i.p.flags.eq(Cat(*flags)),
                part.i.p.last.eq(last),
            ]
            m.d.comb += [part.address.eq(row_index), part.restart.eq(restart)]

        # Counts: rows in the order of stage 3 (the eliminators' output register).
        counts, row_count = [Signal(count_bits(lanes), name=f"count_{stage}") for stage in range(3)], count
        for stage in range(3):
            m.d.sync += counts[stage].eq(counts[stage - 1] if stage else row_count)
        with m.If(up.counted):
            m.d.sync += [
                greater.eq(greater + up.count),
                at_least.eq(at_least + counts[2] - down.count),
            ]

        # The bounds of the values next possible, and their middle, for either side: every pass has the cycles for it.
        above, below = _sum(m, pivot, 1, "above"), _sum(m, pivot, (1 << score) - 1, "below")
        upper_middle = _sum(m, above[:score], high, "upper_middle")[1:]
        lower_middle = _sum(m, below[:score], low, "lower_middle")[1:]
        m.d.comb += [
            stop.eq((greater < target) & (target <= at_least)),
            upper.eq(greater >= target),
        ]
        free = Signal()
        m.d.comb += free.eq(~self.thresholds.valid | self.thresholds.ready)
        with m.If(self.thresholds.ready):
            m.d.sync += self.thresholds.valid.eq(0)

        m.d.comb += read.eq((left != 0) & (turn == 0) & ((source != 0) | fill.there))
        with m.If(read):
            m.d.sync += [row_index.eq(row_index + 1), left.eq(Mux(left <= lanes, 0, left - lanes))]
            with m.If(left <= lanes):
                m.d.sync += turn.eq(1)

        # Between passes: turn counts cycles from the last row read.
        with m.If((turn != 0) & (turn != COUNTED + 1)):
            m.d.sync += turn.eq(Mux(turn == TURN, 0, turn + 1))
        with m.If((turn == COUNTED + 1) & (~stop | free)):
            m.d.sync += [
                turn.eq(Mux(stop, 0, TURN)),
                greater.eq(0),
                at_least.eq(0),
                row_index.eq(0),
                passes.eq(passes + 1),
            ]
            with m.If(stop):
                m.d.sync += [
                    self.thresholds.valid.eq(1),
                    self.thresholds.p.score.eq(pivot),
                    self.thresholds.p.ties.eq(target - greater),
                    self.thresholds.p.size.eq(whole),
                ]
            with m.Elif(upper):
                m.d.sync += [low.eq(above), source.eq(1), size.eq(greater)]
            with m.Else():
                m.d.sync += [high.eq(below), source.eq(2), size.eq(size - at_least), target.eq(target - at_least)]
        with m.If(turn == TURN):
            m.d.comb += restart.eq(1)
            m.d.sync += [
                left.eq(size),
                pivot.eq(
                    Mux(
                        passes < HEAD_PASSES,
                        Mux(source == 1, up.head, down.head),
                        Mux(source == 1, upper_middle, lower_middle),
                    )
                ),
            ]

        # Between lists: the next request, or the outcome of one that needs no pass.
        idle = Signal()
        m.d.comb += idle.eq((left == 0) & (turn == 0))
        m.d.comb += fill.next.ready.eq(idle & (~fill.bypassed | free))
        with m.If(idle & fill.next.valid):
            with m.If(~fill.bypassed):
                m.d.comb += restart.eq(1)
                m.d.sync += [
                    size.eq(fill.next.p.size),
                    whole.eq(fill.next.p.size),
                    left.eq(fill.next.p.size),
                    target.eq(fill.next.p.k),
                    source.eq(0),
                    passes.eq(0),
                    low.eq(0),
                    high.eq(~0),
                ]
            with m.Elif(free):
                m.d.sync += [
                    self.thresholds.valid.eq(1),
                    self.thresholds.p.score.eq(Mux(fill.next.p.k == 0, ~0, 0)),
                    self.thresholds.p.ties.eq(Mux(fill.next.p.k == 0, 0, fill.next.p.size)),
                    self.thresholds.p.size.eq(fill.next.p.size),
                ]
        return m


def _sum(m: Module, a: Value, b: ValueLike, name: str) -> Signal:
    """The sum of two numbers of len(a) bits, a carry wider, two cycles later: half of the carry chain in each."""
    bits, b = len(a), Const(b, len(a)) if isinstance(b, int) else b
    half = bits // 2
    low, rest = Signal(half + 1, name=f"{name}_low"), [Signal(bits - half, name=f"{name}_{side}") for side in "ab"]
    total = Signal(bits + 1, name=name)
    m.d.sync += [
        low.eq(a[:half] + b[:half]),
        rest[0].eq(a[half:]),
        rest[1].eq(b[half:]),
        total.eq(Cat(low[:half], rest[0] + rest[1] + low[half])),
    ]
    return total


class _Side(wiring.Component):
    """The scores of a pass on one side of its pivot: compacted, and written into a memory from row 0 on.

    A row is counted (`counted`, `count`) 2 cycles behind its offer, and written 1 behind that; what overflows from a
    last row, 2. `head` is the first score since `restart`; `row` what was written at `address` in the cycle before.
    """

    def __init__(self, score: int, lanes: int, depth: int) -> None:
        self.score, self.lanes, self.depth = score, lanes, depth
        super().__init__(
            {
                "i": In(stream.Signature(flagged(score, lanes), always_ready=True)),
                "restart": In(1),
                "counted": Out(1),
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
        place, seen = Signal(range(self.depth + 1)), Signal()
        wiring.connect(m, eliminate.o, pack.i)
        m.d.comb += [
            eliminate.i.valid.eq(self.i.valid),
            eliminate.i.p.eq(self.i.p),
            pack.o.ready.eq(1),
            self.counted.eq(eliminate.o.valid),
            self.count.eq(eliminate.o.p.count),
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
        with m.Elif(self.counted & (self.count != 0) & ~seen):
            m.d.sync += [self.head.eq(eliminate.o.p.lanes[0]), seen.eq(1)]
        return m


class _Fill(wiring.Component):
    """Requests, and the scores of those that need passes, in the order they came.

    A beat goes into a memory of rows of max(lanes, input_width) scores; a list begins with a row of its own. A row can
    be read from the cycle behind the one in which its last beat was taken.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        super().__init__(
            {
                "requests": In(stream.Signature(request(params))),
                "elements": In(stream.Signature(data.ArrayLayout(params.score_bits, params.input_width))),
                "next": Out(stream.Signature(request(params))),
                "bypassed": Out(1),
                "there": Out(1),
                "pop": In(1),
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
        waiting, waits, needless = Signal(request(params)), Signal(), Signal()
        due, stores, ending, taken, starts = Signal(size_bits), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.requests.ready.eq(~waits),
            needless.eq((waiting.k == 0) | (waiting.k >= waiting.size)),
            starts.eq(waits & ((due == 0) | (taken & ending)) & (~self.next.valid | self.next.ready)),
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
        part, write_row, read_row = Signal(range(max(parts, 2))), Signal(range(depth)), Signal(range(depth))
        used, closes, frees = Signal(range(depth + 1)), Signal(), Signal()
        m.d.comb += [
            ending.eq(due <= width),
            self.elements.ready.eq((due != 0) & (~stores | (used != depth))),
            taken.eq(self.elements.valid & self.elements.ready),
            closes.eq(taken & stores & (ending | (part == parts - 1))),
            write.addr.eq(write_row),
            write.data.as_value().eq(Cat(*[self.elements.p.as_value()] * parts)),
            write.en.eq(Mux(taken & stores, 1 << part, 0)),
        ]
        with m.If(starts):
            m.d.sync += due.eq(waiting.size)
        with m.Elif(taken):
            m.d.sync += due.eq(Mux(ending, 0, due - width))
        with m.If(taken):
            m.d.sync += part.eq(Mux(closes | ~stores, 0, part + 1))
        with m.If(closes):
            m.d.sync += write_row.eq(Mux(write_row == depth - 1, 0, write_row + 1))

        # Rows of the memory hold one row of lanes, or several.
        slices = wide // lanes
        piece, chosen = Signal(range(max(slices, 2))), Signal(range(max(slices, 2)))
        list_left = Signal(size_bits)
        final = Signal()
        m.d.comb += [
            self.there.eq(used != 0),
            read.addr.eq(read_row),
            final.eq((list_left <= lanes) | (piece == slices - 1)),
            frees.eq(self.pop & final),
        ]
        with m.If(self.next.valid & self.next.ready):
            m.d.sync += list_left.eq(self.next.p.size)
        with m.If(self.pop):
            m.d.sync += [
                chosen.eq(piece),
                piece.eq(Mux(final, 0, piece + 1)),
                list_left.eq(Mux(list_left <= lanes, 0, list_left - lanes)),
            ]
        with m.If(frees):
            m.d.sync += read_row.eq(Mux(read_row == depth - 1, 0, read_row + 1))
        m.d.sync += used.eq(used + closes - frees)
        bits = lanes * score
        m.d.comb += self.row.as_value().eq(read.data.as_value().word_select(chosen, bits))
        return m
