"""The blocks against a few lines of Python each, in Amaranth's simulator."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.sim import Simulator

from pysim import Row, run_rows
from sparcade.topk import TopKParams
from sparcade_rtl.bench.lists import draw_lists
from sparcade_rtl.compare import compare
from sparcade_rtl.list_buffer import ListBuffer
from sparcade_rtl.packer import Packer
from sparcade_rtl.prefix_sum import PrefixSum
from sparcade_rtl.quick_select import QuickSelect
from sparcade_rtl.radix_select import RadixSelect
from sparcade_rtl.top_k_filter import TopKFilter
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


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 12, 33])
def test_compare(bits: int) -> None:
    m, rng = Module(), random.Random(bits)
    a, b, out = Signal(bits), Signal(bits), Signal(2)
    m.d.comb += out.eq(Cat(*compare(a, b)))

    async def bench(ctx: Any) -> None:
        for _ in range(100):
            one = rng.getrandbits(bits)
            other = rng.choice([one, one ^ 1, rng.getrandbits(bits)])
            ctx.set(a, one)
            ctx.set(b, other)
            assert ctx.get(out) == (one > other) + 2 * (one == other)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("select", [QuickSelect, RadixSelect])
def test_selection_finds_the_threshold(select: Any) -> None:
    """The k-th largest score, and how many equal to it are kept; all or nothing without a pass."""
    params = TopKParams(lanes=4, input_width=2, score_bits=6, radix_bits=4, capacity=32)
    dut, lists = select(params), draw_lists(params, 40, seed=5)
    beats = [scores[at : at + 2].tolist() for scores, _ in lists for at in range(0, len(scores), 2)]
    found: list[tuple[int, int, int]] = []

    async def bench(ctx: Any) -> None:
        asked = sent = 0
        ctx.set(dut.thresholds.ready, 1)
        while len(found) < len(lists):
            if asked < len(lists):
                ctx.set(dut.requests.p.size, len(lists[asked][0]))
                ctx.set(dut.requests.p.k, lists[asked][1])
            for place, score in enumerate(beats[sent] if sent < len(beats) else []):
                ctx.set(dut.elements.p[place], score)
            ctx.set(dut.requests.valid, asked < len(lists))
            ctx.set(dut.elements.valid, sent < len(beats))
            ports = (dut.requests.ready, dut.elements.ready, dut.thresholds.valid, dut.thresholds.p)
            _, _, asks, sends, valid, threshold = await ctx.tick().sample(*ports)
            asked, sent = asked + bool(asks), sent + bool(sends)
            if valid:
                found.append((threshold.score, threshold.ties, threshold.size))

    simulate(dut, bench)
    for (scores, k), (score, ties, size) in zip(lists, found, strict=True):
        assert size == len(scores)
        if k == 0:
            assert ties == 0 and score == 63
        elif k >= len(scores):
            assert score == 0 and ties >= len(scores)
        else:
            assert score == sorted(scores.tolist(), reverse=True)[k - 1]
            assert ties == k - int((scores > score).sum())


def test_filter_keeps_what_the_threshold_says() -> None:
    params = TopKParams(input_width=4, score_bits=3, index_bits=5, capacity=32)
    dut, rng = TopKFilter(params), random.Random(4)
    lists = [([rng.getrandbits(3) for _ in range(rng.randint(1, 20))], rng.getrandbits(3)) for _ in range(30)]
    ties = [rng.randint(0, scores.count(score)) for scores, score in lists]
    kept: list[list[int]] = [[]]

    async def thresholds(ctx: Any) -> None:
        for (scores, score), count in zip(lists, ties, strict=True):
            ctx.set(dut.thresholds.p.score, score)
            ctx.set(dut.thresholds.p.ties, count)
            ctx.set(dut.thresholds.p.size, len(scores))
            ctx.set(dut.thresholds.valid, 1)
            await ctx.tick().until(dut.thresholds.ready)
        ctx.set(dut.thresholds.valid, 0)

    async def elements(ctx: Any) -> None:
        for scores, _ in lists:
            for at in range(0, len(scores), 4):
                for place, score in enumerate(scores[at : at + 4]):
                    ctx.set(dut.elements.p[place].score, score)
                    ctx.set(dut.elements.p[place].index, at + place)
                ctx.set(dut.elements.valid, 1)
                await ctx.tick().until(dut.elements.ready)
        ctx.set(dut.elements.valid, 0)

    async def monitor(ctx: Any) -> None:
        while len(kept) <= len(lists):
            ready = rng.getrandbits(1)
            ctx.set(dut.o.ready, ready)
            _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.p)
            if valid and ready:
                kept[-1] += [word.lanes[place].index for place in range(word.count)]
                if word.last:
                    kept.append([])

    simulate(dut, monitor, thresholds, elements)
    for (scores, score), count, got in zip(lists, ties, kept, strict=False):
        equal = [place for place, each in enumerate(scores) if each == score][:count]
        assert got == sorted([place for place, each in enumerate(scores) if each > score] + equal)


@pytest.mark.parametrize("readings", [1, 3])
@pytest.mark.parametrize(("lanes", "width"), [(4, 1), (4, 4), (2, 8)])
def test_list_buffer_gives_the_rows_back(lanes: int, width: int, readings: int) -> None:
    params = TopKParams(lanes=lanes, input_width=width, score_bits=8, capacity=32)
    dut, rng = ListBuffer(params, readings > 1), random.Random(width)
    lists = [[rng.getrandbits(8) for _ in range(rng.randint(2, 32))] for _ in range(12)]
    beats = [scores[at : at + width] for scores in lists for at in range(0, len(scores), width)]

    async def requests(ctx: Any) -> None:
        for scores in lists:
            ctx.set(dut.requests.p.size, len(scores))
            ctx.set(dut.requests.p.k, 1)
            ctx.set(dut.requests.valid, 1)
            await ctx.tick().until(dut.requests.ready)
        ctx.set(dut.requests.valid, 0)

    async def elements(ctx: Any) -> None:
        for beat in beats:
            for place, score in enumerate(beat):
                ctx.set(dut.elements.p[place], score)
            ctx.set(dut.elements.valid, 1)
            await ctx.tick().until(dut.elements.ready)
        ctx.set(dut.elements.valid, 0)

    async def reader(ctx: Any) -> None:
        for scores in lists:
            ctx.set(dut.next.ready, 1)
            await ctx.tick().until(dut.next.valid)
            ctx.set(dut.next.ready, 0)
            for reading in range(readings):
                ctx.set(dut.release, reading == readings - 1)
                for at in range(0, len(scores), lanes):
                    while not (ctx.get(dut.there) and rng.random() < 0.7):
                        await ctx.tick()
                    ctx.set(dut.pop, 1)
                    await ctx.tick()
                    ctx.set(dut.pop, 0)
                    row = [ctx.get(dut.row[lane]) for lane in range(lanes)]
                    assert row[: len(scores) - at] == scores[at : at + lanes]
                await ctx.tick()

    simulate(dut, reader, requests, elements)


def simulate(dut: Any, bench: Any, *others: Any) -> None:
    """Run the bench to its end, the others beside it."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    for other in others:
        simulator.add_testbench(other, background=True)
    simulator.run()
