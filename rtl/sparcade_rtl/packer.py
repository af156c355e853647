"""Packing of rows: partly filled rows in, full rows out."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparcade_rtl.layouts import count_bits, row


class Packer(wiring.Component):
    """Joins the rows of a list to full ones; only the last may be partial (empty for an empty list).

    Handshake: one output register, `ready` is combinational, `valid` never depends on it.
    Latency 1 cycle, initiation interval 1; a list whose last row overflows takes one cycle more, to flush.
    Occupancy counts after the row that leaves, so a full row never waits (the released hardware counts before).
    """

    def __init__(self, lane: ShapeLike, lanes: int) -> None:
        self.lane, self.lanes = lane, lanes
        super().__init__({"i": In(stream.Signature(row(lane, lanes))), "o": Out(stream.Signature(row(lane, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = count_bits(self.lanes)
        held = Signal(data.ArrayLayout(self.lane, self.lanes))
        count = Signal(bits)
        flushing = Signal()
        free = Signal()
        total = Signal(bits + 1)
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(free & ~flushing),
            total.eq(count + self.i.p.count),
        ]
        rotated = self._rotated(m, count)
        with m.If(free):
            m.d.sync += self.o.valid.eq(0)
            with m.If(flushing):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.p.lanes.eq(held),
                    self.o.p.count.eq(count),
                    self.o.p.last.eq(1),
                    flushing.eq(0),
                    count.eq(0),
                ]
            with m.Elif(self.i.valid):
                full = Signal()
                over = Signal()
                m.d.comb += [full.eq(total >= self.lanes), over.eq(total > self.lanes)]
                for lane in range(self.lanes):
                    m.d.sync += self.o.p.lanes[lane].eq(Mux(lane < count, held[lane], rotated[lane]))
                    with m.If(full | (lane >= count)):
                        m.d.sync += held[lane].eq(rotated[lane])
                m.d.sync += [
                    self.o.valid.eq(full | self.i.p.last),
                    self.o.p.count.eq(Mux(full, self.lanes, total)),
                    self.o.p.last.eq(self.i.p.last & ~over),
                    flushing.eq(self.i.p.last & over),
                    count.eq(Mux(full, total - self.lanes, total)),
                ]
                with m.If(self.i.p.last & ~over):
                    m.d.sync += count.eq(0)
        return m

    def _rotated(self, m: Module, count: Signal) -> list[Signal]:
        """The row moved up by the lanes held, around the end."""
        lanes = [self.i.p.lanes[lane] for lane in range(self.lanes)]
        for bit in range((self.lanes - 1).bit_length()):
            layer = []
            for lane in range(self.lanes):
                value = Signal(self.lane, name=f"turn_{bit}_{lane}")
                m.d.comb += value.eq(Mux(count[bit], lanes[(lane - (1 << bit)) % self.lanes], lanes[lane]))
                layer.append(value)
            lanes = layer
        return lanes
