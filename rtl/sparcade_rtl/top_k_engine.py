"""The top-k engine: selection and filter side by side; one list is selected while the one before is filtered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered

from sparcade.topk import TopKParams
from sparcade_rtl.layouts import beats_of, element, engine_ports
from sparcade_rtl.quick_select import QuickSelect
from sparcade_rtl.radix_select import RadixSelect
from sparcade_rtl.top_k_filter import TopKFilter

#: The ways to select, by the engine's name.
SELECTIONS: dict[str, Callable[[TopKParams], Any]] = {"quick-select": QuickSelect, "radix-select": RadixSelect}


class TopKEngine(wiring.Component):
    """The min(k, size) largest elements of each list, in their order, ties to the lowest index.

    Ports
    -----
    requests : size (1 to capacity) and k of a list; taken ahead of its elements.
    elements : `input_width` a beat, the last of a list may be partial (what lies behind `size` is ignored).
    o : kept elements in full beats, the last partial, marked `last`; one empty beat if k = 0.

    Handshake: streams; `ready` may be combinational in `ready` and `valid`, `valid` depends on registers only.
    Cycles: `sparcade.topk.cycles.engine_cycles` gives those of every beat; the closed form is in docs/rtl.md.

    Source: SpAtten (HPCA 2021) section IV-B, Fig. 9.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        super().__init__(engine_ports(params))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self.params
        lane, width = data.ArrayLayout(element(params), params.input_width), params.input_width
        m.submodules.select = select = SELECTIONS[params.engine](params)
        m.submodules.filter = kept = TopKFilter(params)
        m.submodules.delay = delay = SyncFIFOBuffered(width=lane.size, depth=beats_of(params.capacity, width))
        wiring.connect(m, wiring.flipped(self.requests), select.requests)
        wiring.connect(m, select.thresholds, kept.thresholds)
        wiring.connect(m, kept.o, wiring.flipped(self.o))
        m.d.comb += [
            self.elements.ready.eq(select.elements.ready & delay.w_rdy),
            select.elements.valid.eq(self.elements.valid & delay.w_rdy),
            select.elements.p.as_value().eq(Cat(*(self.elements.p[place].score for place in range(width)))),
            delay.w_en.eq(self.elements.valid & select.elements.ready),
            delay.w_data.eq(self.elements.p),
            kept.elements.valid.eq(delay.r_rdy),
            kept.elements.p.as_value().eq(delay.r_data),
            delay.r_en.eq(kept.elements.ready),
        ]
        return m
