"""Batcher's odd-even merge network, a stage at a time: which rows a stage reads, and what it does to them."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparcade.topk import TopKParams
from sparcade.topk.sorter import WRITTEN
from sparcade_rtl.compare import compare
from sparcade_rtl.layouts import count_bits
from sparcade_rtl.one_of import one_of


def entry(params: TopKParams) -> data.StructLayout:
    """An element in memory. What lies above the index is its key: no two are equal, and padding loses."""
    return data.StructLayout(
        {
            "index": params.index_bits,
            "precedence": (params.capacity - 1).bit_length(),
            "score": params.score_bits,
            "there": 1,
        }
    )


def halves(params: TopKParams) -> data.ArrayLayout:
    """A row of 2 * lanes elements: its lower and its upper half."""
    return data.ArrayLayout(data.ArrayLayout(entry(params), params.lanes), 2)


def row_bits(params: TopKParams) -> int:
    """Bits of the number of a row."""
    return (params.capacity // (2 * params.lanes) - 1).bit_length()


def slot(params: TopKParams) -> data.StructLayout:
    """A row on its way through a stage (p, k), and what it is compared with; the rows of the stages are slots in time.

    first : the stage is the first of its list.
    flat, shifted : k, as one bit, if less than a row: pairs begin at lane 0 (k = p), or at lane k (k < p) and the last
        of them end in the next row.
    paired : k is one row or more: a row is followed by its partner, which is `upper`.
    span : bits k to p; a pair whose lower place has them all set would end in another block.
    """
    wide = params.lanes.bit_length()
    return data.StructLayout(
        {
            "valid": 1,
            "row": row_bits(params),
            "first": 1,
            "flat": wide,
            "shifted": wide,
            "paired": 1,
            "upper": 1,
            "span": (params.capacity - 1).bit_length(),
        }
    )


def writes(params: TopKParams) -> data.ArrayLayout:
    """The halves of rows to be written."""
    half = data.ArrayLayout(entry(params), params.lanes)
    return data.ArrayLayout(data.StructLayout({"valid": 1, "row": row_bits(params), "lanes": half}), 2)


class MergeStages(wiring.Component):
    """The rows that the stages of a sort read.

    Ports
    -----
    start, size : sort a list of so many elements; looked at while none is sorted.
    slot : the row to be read.
    done : all rows are written.

    Cycles: the first row is read in the cycle behind `start`. A stage reads a row a cycle; the next one begins when
    all rows are written, or, if both take them in ascending order, after one cycle and when the first row is.
    `sparcade.topk.sorter.sort_cycles` counts from the first row to `done`.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        super().__init__(
            {"start": In(1), "size": In(count_bits(params.capacity)), "slot": Out(slot(params)), "done": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        levels, wide, rows = (params.capacity - 1).bit_length(), params.lanes.bit_length(), row_bits(params)
        # Powers of two: size of the padded list; p and k of the stage. `between` has bits k to p / 2.
        padded, p, k, between = (Signal(levels + 1, name=name) for name in ("padded", "p", "k", "between"))
        busy = Signal()
        step = Signal(rows + 1)
        settle = Signal(range(WRITTEN))
        turned = Signal()

        # The steps of a stage: a row each. The last pairs of a block are left out if k < p.
        apart = Signal(rows + 1)
        inner = Signal()
        after = Signal(rows + 1)
        following = Signal(rows + 1)
        left_out = Cat(Const(0, 1), between[wide:])
        reads = Signal()
        ends = Signal()
        overlaps = Signal()
        m.d.comb += [
            apart.eq(k[wide:]),
            inner.eq(between != 0),
            after.eq(step + 1),
            following.eq(Mux(apart.any() & inner & (after & left_out == left_out), after + (apart << 1), after)),
            ends.eq(following == padded[wide:]),
            overlaps.eq(Mux(k[0], ~p[wide:].any() & (p != padded[1:]), ~k[wide + 1 :].any())),
            reads.eq(busy & (p != padded) & ((step != 0) | ((settle == 0) & ~turned))),
            self.done.eq(busy & (p == padded) & (settle == 0)),
        ]
        m.d.sync += turned.eq(reads & ends)
        with m.If(reads & ((step == 0) | ~overlaps)):
            m.d.sync += settle.eq(WRITTEN - 1)
        with m.Elif(settle != 0):
            m.d.sync += settle.eq(settle - 1)
        with m.If(reads):
            m.d.sync += step.eq(following)
            with m.If(ends):
                m.d.sync += step.eq(0)
                with m.If(k[0]):
                    m.d.sync += [p.eq(p << 1), k.eq(p << 1), between.eq(0)]
                with m.Else():
                    m.d.sync += [k.eq(k >> 1), between.eq(between | k >> 1)]
        with m.If(~busy):
            fits = Cat(self.size <= 1 << level for level in range(wide, levels + 1))
            m.d.sync += [
                busy.eq(self.start),
                padded[wide:].eq(fits & ~(fits << 1)),
                p.eq(1),
                k.eq(1),
                between.eq(0),
            ]
        with m.Elif(self.done):
            m.d.sync += busy.eq(0)

        # Steps 2i and 2i + 1 of rows that are paired 2^e apart: the lowest bit becomes bit e.
        order = [(~apart[1:].any(), step[:rows])]
        for e in range(1, rows):
            order.append((apart[e], Cat(step[1 : e + 1], step[0], step[e + 1 : rows])))
        m.d.comb += [
            self.slot.valid.eq(reads),
            self.slot.row.eq(one_of(order) + Mux(inner, apart, 0)),
            self.slot.first.eq(p[0]),
            self.slot.flat.eq(Mux(inner, 0, k)),
            self.slot.shifted.eq(Mux(inner, k, 0)),
            self.slot.paired.eq(apart.any()),
            self.slot.upper.eq(step[0]),
            self.slot.span.eq(p | between),
        ]
        return m


class MergeExchange(wiring.Component):
    """Compares and exchanges: `lanes` pairs a cycle, the greater element to the lower place.

    The upper half of a row is read and written one cycle behind its lower half. So both halves of two paired rows, and
    the end of a row with the beginning of the next, are there when they are compared, with one row held.

    Ports
    -----
    slot, size : row to be read; size of its list.
    reads : numbers of the half rows to be read. rows : they, one cycle later.
    writes : half rows to be written.

    Latency: a row is written, and can be read again, WRITTEN cycles after it was read. Interval: 1.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        super().__init__(
            {
                "slot": In(slot(params)),
                "size": In(count_bits(params.capacity)),
                "reads": Out(data.ArrayLayout(row_bits(params), 2)),
                "rows": In(halves(params)),
                "writes": Out(writes(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, wide = self.params.lanes, self.params.lanes.bit_length()
        slots = [self.slot, *(Signal(slot(self.params), name=f"slot_{age}") for age in range(1, WRITTEN))]
        for age in range(1, WRITTEN):
            m.d.sync += slots[age].eq(slots[age - 1])
        m.d.comb += [self.reads[half].eq(slots[half].row) for half in range(2)]

        # Select the elements of each pair.
        held = Signal(halves(self.params))
        pairs = Signal(halves(self.params))
        stays = Signal(lanes)
        m.d.sync += held.eq(self.rows)
        at = slots[2]
        for unit in range(lanes):
            for side in range(2):
                element, place = pairs[side][unit], Cat(Const(2 * unit + side, wide), at.row)
                m.d.sync += element.eq(self._selected(at, held, unit, side))
                with m.If(at.first):
                    m.d.sync += [element.precedence.eq(~place), element.there.eq(place < self.size)]
            lower = one_of([(at.shifted[bit], Const(_lane(unit, bit, 1), wide)) for bit in range(wide)])
            leaves = at.shifted.any() & (Cat(lower, at.row) & at.span == at.span)
            m.d.sync += stays[unit].eq(~at.valid | leaves)

        # Compare their keys, by halves: what these mean together is soon told, in the next cycle.
        compared = Signal(halves(self.params))
        upper = Signal(lanes)
        equal = Signal(lanes)
        lower = Signal(lanes)
        m.d.sync += compared.eq(pairs)
        for unit in range(lanes):
            low, high = (pairs[side][unit].as_value()[self.params.index_bits :] for side in range(2))
            middle = len(low) // 2
            greater, same = compare(high[middle:], low[middle:])
            m.d.sync += [
                upper[unit].eq(greater & ~stays[unit]),
                equal[unit].eq(same & ~stays[unit]),
                lower[unit].eq(compare(high[:middle], low[:middle])[0]),
            ]

        # Exchange them, and put them into their places.
        now = Signal(halves(self.params))
        before = Signal(halves(self.params))
        swap = upper | (equal & lower)
        m.d.sync += before.eq(now)
        for unit in range(lanes):
            low, high = compared[0][unit], compared[1][unit]
            m.d.comb += [now[0][unit].eq(Mux(swap[unit], high, low)), now[1][unit].eq(Mux(swap[unit], low, high))]
        for half in range(2):
            at, write = slots[4 + half], self.writes[half]
            m.d.sync += [write.valid.eq(at.valid), write.row.eq(at.row)]
            for lane in range(lanes):
                m.d.sync += write.lanes[lane].eq(self._placed(at, now, before, half * lanes + lane))
        return m

    def _selected(self, at: Signal, held: Signal, unit: int, side: int) -> Value:
        """What is at one place of a pair: the lower half of the row is held, the upper half just read."""
        lanes, wide, rows = self.params.lanes, self.params.lanes.bit_length(), self.rows
        row = [half[lane] for half in (held[0], rows[1], rows[0]) for lane in range(lanes)]  # the next begins
        choices = [(at.flat[bit], row[_lane(unit, bit, 0) + (side << bit)]) for bit in range(wide)]
        choices += [(at.shifted[bit], row[_lane(unit, bit, 1) + (side << bit)]) for bit in range(wide)]
        paired = rows if side else held
        return one_of([*choices, (at.paired & ~at.upper, paired[0][unit]), (at.paired & at.upper, paired[1][unit])])

    def _placed(self, at: Signal, now: Signal, before: Signal, lane: int) -> Value:
        """What comes to a lane: of a lower half as the pairs of its slot leave, of an upper half a cycle behind."""
        lanes, wide = self.params.lanes, self.params.lanes.bit_length()
        half, unit = divmod(lane, lanes)
        own = before if half else now
        choices = [(at.paired & ~at.upper, now[0][unit]), (at.paired & at.upper, before[1][unit])]
        for bit in range(wide):
            k, side = 1 << bit, lane >> bit & 1
            choices.append((at.flat[bit], own[side][_unit(lane, bit)]))
            # The pairs of a shifted stage have their lower place where bit k is set, maybe in the row before.
            source = own if lane >= k else before
            choices.append((at.shifted[bit], source[1 - side][_unit((lane + (side - 1) * k) % (2 * lanes), bit)]))
        return one_of(choices)


def _lane(unit: int, bit: int, value: int) -> int:
    """The lane of a unit: `value` put in at `bit`."""
    return unit >> bit << (bit + 1) | value << bit | unit & ((1 << bit) - 1)


def _unit(lane: int, bit: int) -> int:
    """The unit of a lane: `bit` taken out."""
    return lane >> (bit + 1) << bit | lane & ((1 << bit) - 1)
