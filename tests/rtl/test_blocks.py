"""Prefix sum, zero eliminator and packer against a line of Python each, in Amaranth's simulator."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from pysim import Row, run_rows
from sparcade_rtl.packer import Packer
from sparcade_rtl.prefix_sum import PrefixSum
from sparcade_rtl.zero_eliminator import ZeroEliminator


@pytest.mark.parametrize("lanes", [1, 2, 5, 16, 64])
def test_prefix_counts(lanes: int) -> None:
    dut, rng = PrefixSum(lanes), random.Random(lanes)

    async def bench(ctx: Any) -> None:
        for flags in [0, (1 << lanes) - 1, *(rng.getrandbits(lanes) for _ in range(50))]:
            ctx.set(dut.flags, flags)
            below = [(flags & ((1 << lane) - 1)).bit_count() for lane in range(lanes)]
            assert [ctx.get(dut.counts[lane]) for lane in range(lanes)] == below
            assert ctx.get(dut.total) == flags.bit_count()

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("stalls", [0.0, 0.4])
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_zero_eliminator_keeps_the_order(lanes: int, stalls: float) -> None:
    rng = random.Random(lanes)
    rows: list[Row] = [([rng.getrandbits(9) for _ in range(lanes)], rng.getrandbits(lanes), True) for _ in range(60)]
    out = run_rows(ZeroEliminator(9, lanes), rows, "flags", rng, stalls)
    want = [[word for lane, word in enumerate(words) if flags >> lane & 1] for words, flags, _ in rows]
    assert [row[0] for row in out] == want


@pytest.mark.parametrize("stalls", [0.0, 0.4])
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_packer_fills_rows(lanes: int, stalls: float) -> None:
    rng = random.Random(lanes)
    rows: list[Row] = []
    for _ in range(60):
        rows.append(([rng.getrandbits(9) for _ in range(lanes)], rng.randint(0, lanes), rng.random() < 0.3))
    rows[-1] = (*rows[-1][:2], True)
    out = run_rows(Packer(9, lanes), rows, "count", rng, stalls)
    want: list[Row] = []
    held: list[int] = []
    for words, count, last in rows:
        held += words[:count]
        if len(held) >= lanes:
            want.append((held[:lanes], lanes, last and len(held) == lanes))
            held = held[lanes:]
            if want[-1][2]:
                continue
        if last:
            want.append((held, len(held), True))
            held = []
    assert out == want
