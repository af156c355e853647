"""Batcher's odd-even merge sorter: the baseline that the top-k engine is compared with."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sparcade.topk import TopKParams
from sparcade_rtl.layouts import count_bits, element, engine_ports
from sparcade_rtl.merge_network import MergeExchange, MergeStages, entry, halves, row_bits, writes

#: What a bank does for its list.
TAKE, SORT, PUT = range(3)


class BatcherSorter(wiring.Component):
    """The min(k, size) largest elements of each list, in descending order of score, ties in order of arrival.

    A list lies in one of two banks of rows of 2 * `lanes` elements, and is sorted there: each stage reads its rows,
    compares `lanes` pairs a cycle and writes them back. Meanwhile the other bank puts out the list before and takes in
    the next.

    Ports
    -----
    requests : size (1 to capacity) and k of a list; taken ahead of its elements.
    elements : `input_width` a beat, the last of a list may be partial (what lies behind `size` is ignored).
    o : elements in full beats, the last partial, marked `last`; one empty beat if k = 0.

    Handshake: streams; `valid`, and `ready` of the inputs, depend on registers only.
    Cycles: `sparcade.topk.sorter` gives latency and interval.

    Source: Batcher (AFIPS 1968); the sorter that SpAtten (HPCA 2021) is compared with.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        super().__init__(engine_ports(params))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        width, size_bits = params.input_width, count_bits(params.capacity)
        banks = [_Bank(params) for _ in range(2)]
        m.submodules.bank_0, m.submodules.bank_1 = banks
        m.submodules.stages = stages = MergeStages(params)
        m.submodules.exchange = exchange = MergeExchange(params)
        phases = Signal(data.ArrayLayout(2, 2))
        sizes, counts = (Signal(data.ArrayLayout(size_bits, 2), name=name) for name in ("sizes", "counts"))
        # the bank whose turn it is
        taking = Signal()
        sorting = Signal()
        putting = Signal()

        # A list comes in.
        due = Signal(size_bits)
        beat = Signal(size_bits)
        taken = Signal()
        ending = Signal()
        m.d.comb += [
            self.requests.ready.eq((due == 0) & (phases[taking] == TAKE)),
            self.elements.ready.eq(due != 0),
            taken.eq(self.elements.valid & self.elements.ready),
            ending.eq(due <= width),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            size, k = self.requests.p.size, self.requests.p.k
            m.d.sync += [due.eq(size), beat.eq(0), sizes[taking].eq(size), counts[taking].eq(Mux(k < size, k, size))]
        with m.If(taken):
            m.d.sync += [due.eq(Mux(ending, 0, due - width)), beat.eq(beat + 1)]
            with m.If(ending):
                m.d.sync += [phases[taking].eq(SORT), taking.eq(~taking)]

        # It is sorted.
        m.d.comb += [
            stages.start.eq(phases[sorting] == SORT),
            stages.size.eq(sizes[sorting]),
            exchange.slot.eq(stages.slot),
            exchange.size.eq(sizes[sorting]),
            exchange.rows.eq(Mux(sorting, banks[1].rows, banks[0].rows)),
        ]
        with m.If(stages.done):
            m.d.sync += [phases[sorting].eq(PUT), sorting.eq(~sorting)]

        # It goes out. The bank is given back behind the last beat, as the next sort overwrites what is fetched.
        puts = Signal()
        left = Signal(size_bits)
        place = Signal(size_bits)
        fetches = Signal()
        moves = Signal()
        fetched = Signal()
        part = Signal(range(_parts(params)))
        count = Signal(count_bits(width))
        last = Signal()
        beats = Signal(data.ArrayLayout(data.ArrayLayout(entry(params), width), _parts(params)))
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready),
            fetches.eq(puts & (~fetched | moves)),
            beats.eq(Mux(putting, banks[1].rows, banks[0].rows)),
        ]
        with m.If(moves):
            m.d.sync += [self.o.valid.eq(fetched), fetched.eq(0)]
            with m.If(fetched):
                m.d.sync += [self.o.p.count.eq(count), self.o.p.last.eq(last)]
                for lane in range(width):
                    for field in ("score", "index"):
                        m.d.sync += self.o.p.lanes[lane][field].eq(beats[part][lane][field])
                with m.If(last):
                    m.d.sync += [phases[putting].eq(TAKE), putting.eq(~putting)]
        with m.If(fetches):
            m.d.sync += [
                fetched.eq(1),
                part.eq(place),
                count.eq(Mux(left <= width, left, width)),
                last.eq(left <= width),
                left.eq(left - width),
                place.eq(place + 1),
                puts.eq(left > width),
            ]
        with m.If((phases[putting] == PUT) & ~puts & ~fetched):
            m.d.sync += [puts.eq(1), left.eq(counts[putting]), place.eq(0)]

        for number, bank in enumerate(banks):
            m.d.comb += [
                bank.sorts.eq((phases[number] == SORT) & (sorting == number)),
                bank.reads.eq(exchange.reads),
                bank.writes.eq(exchange.writes),
                bank.take.eq(taken & (taking == number)),
                bank.beat.eq(beat),
                bank.elements.eq(self.elements.p),
                bank.fetch.eq(fetches & (putting == number)),
                bank.place.eq(place),
            ]
        return m


class _Bank(wiring.Component):
    """The rows of a list: a memory of lower and one of upper halves, each with a read and a write port.

    Ports
    -----
    sorts : it serves the sort: `reads` and `writes`; else it serves the streams.
    take, beat, elements : write a beat. fetch, place : read the row of a beat, if that is the first in it.
    rows : halves read in the cycle before; they stay until others are.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        bits = count_bits(params.capacity)
        super().__init__(
            {
                "sorts": In(1),
                "reads": In(data.ArrayLayout(row_bits(params), 2)),
                "writes": In(writes(params)),
                "take": In(1),
                "beat": In(bits),
                "elements": In(data.ArrayLayout(element(params), params.input_width)),
                "fetch": In(1),
                "place": In(bits),
                "rows": Out(halves(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        width, half = params.input_width, halves(params).elem_shape
        grain = min(width, params.lanes)  # elements written or not, together
        bits = _parts(params).bit_length() - 1
        entries = Signal(data.ArrayLayout(entry(params), width))
        for lane in range(width):
            m.d.comb += [entries[lane][field].eq(self.elements[lane][field]) for field in ("score", "index")]
        row = Signal(halves(params))
        enables = Signal(data.ArrayLayout(params.lanes // grain, 2))
        m.d.comb += row.eq(Cat(*[entries.as_value()] * _parts(params)))
        with m.If(self.take):
            m.d.comb += enables.as_value().eq(((1 << width // grain) - 1) << self.beat[:bits])
        for side in range(2):
            memory = Memory(shape=half, depth=1 << row_bits(params), init=[])
            m.submodules[("lower", "upper")[side]] = memory
            write, read = memory.write_port(granularity=grain), memory.read_port()
            m.d.comb += self.rows[side].eq(read.data)
            with m.If(self.sorts):
                m.d.comb += [
                    read.addr.eq(self.reads[side]),
                    write.addr.eq(self.writes[side].row),
                    write.data.eq(self.writes[side].lanes),
                    write.en.eq(self.writes[side].valid.replicate(len(write.en))),
                ]
            with m.Else():
                m.d.comb += [
                    read.addr.eq(self.place[bits:]),
                    read.en.eq(self.fetch & (self.place[:bits] == 0)),
                    write.addr.eq(self.beat[bits:]),
                    write.data.eq(row[side]),
                    write.en.eq(enables[side]),
                ]
        return m


def _parts(params: TopKParams) -> int:
    """Beats in a row."""
    return 2 * params.lanes // params.input_width
