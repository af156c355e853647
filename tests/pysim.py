"""Amaranth's own simulator: rows through a block, lists through an engine, with stalls on every stream."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from sparcade.topk import TopKParams
from sparcade.topk.cycles import EngineTrace, engine_cycles
from sparcade.topk.lists import describe

Ints = npt.NDArray[np.int64]
Row = tuple[list[int], int, bool]  # lanes; flags, or count; last


def run_rows(dut: Any, rows: list[Row], second: str, rng: random.Random, stalls: float, most: int = 2000) -> list[Row]:
    """Put rows (lanes, `second`, last) through a block; what comes out until as many lists have ended."""
    out: list[Row] = []

    async def bench(ctx: Any) -> None:
        index, offered, lists = 0, False, sum(last for _, _, last in rows)
        for _ in range(most):
            if not offered and index < len(rows) and rng.random() >= stalls:
                offered = True
                lanes, what, last = rows[index]
                for place, word in enumerate(lanes):
                    ctx.set(dut.i.p.lanes[place], word)
                ctx.set(getattr(dut.i.p, second), what)
                ctx.set(dut.i.p.last, last)
            ready = rng.random() >= stalls
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.o.ready, ready)
            _, _, taken, valid, word = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.p)
            if offered and taken:
                index, offered = index + 1, False
            if valid and ready:
                out.append(([int(lane) for lane in word.lanes][: word.count], int(word.count), bool(word.last)))
                lists -= bool(word.last)
                if not lists:
                    return

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return out


@dataclass(kw_only=True)
class EngineRun:
    """What happened: kept indices and scores of each list; offers per cycle and cycles of transfers of each stream."""

    kept: list[list[int]] = field(default_factory=list)
    scores: list[list[int]] = field(default_factory=list)
    offers: dict[str, list[bool]] = field(default_factory=lambda: {"requests": [], "elements": [], "ready": []})
    requests: list[int] = field(default_factory=list)
    elements: list[int] = field(default_factory=list)
    outputs: list[tuple[int, int, bool]] = field(default_factory=list)

    def equals(self, trace: EngineTrace) -> bool:
        """Every transfer was in the cycle of the model."""
        outputs = list(zip(trace.outputs.tolist(), trace.counts.tolist(), trace.last.tolist(), strict=True))
        mine = (self.requests, self.elements, self.outputs)
        return mine == (trace.requests.tolist(), trace.elements.tolist(), outputs)

    def model(self, params: TopKParams, lists: list[tuple[Ints, int]]) -> EngineTrace:
        """The model with the recorded offers."""
        offers = {name: np.array(each, np.bool_) for name, each in self.offers.items()}
        return engine_cycles(params, describe(params, lists), **offers, occupancy=True)


def run_engine(
    build: Callable[[TopKParams], Any],
    params: TopKParams,
    lists: list[tuple[Ints, int]],
    seed: int,
    stalls: tuple[float, float] = (0.0, 0.0),
    most: int = 20_000,
    reset_after: int = 0,
    dump: Path | None = None,
) -> EngineRun:
    """Lists of (scores, k) through an engine; ends early after `most` cycles.

    reset_after : first feed it for so many cycles, then reset it and begin anew; dump : VCD to write.
    """
    dut, rng, run, reset = build(params), random.Random(seed), EngineRun(), Signal()
    beats = [(scores, at) for scores, _ in lists for at in range(0, len(scores), params.input_width)]

    async def bench(ctx: Any) -> None:
        if reset_after:
            await feed(ctx, EngineRun(), reset_after)
            for signal, value in ((dut.requests.valid, 0), (dut.elements.valid, 0), (reset, 1)):
                ctx.set(signal, value)
            await ctx.tick()
            ctx.set(reset, 0)
        await feed(ctx, run, most)

    async def feed(ctx: Any, run: EngineRun, most: int) -> None:
        asked = sent = 0
        asks = sends = False
        current: list[tuple[int, int]] = []
        for cycle in range(most):
            if not asks and asked < len(lists) and rng.random() >= stalls[0]:
                asks = True
                ctx.set(dut.requests.p.size, len(lists[asked][0]))
                ctx.set(dut.requests.p.k, lists[asked][1])
            if not sends and sent < len(beats) and rng.random() >= stalls[0]:
                sends = True
                scores, at = beats[sent]
                for place in range(params.input_width):
                    there = at + place < len(scores)  # the rest of a beat means nothing
                    score = int(scores[at + place]) if there else rng.getrandbits(params.score_bits)
                    ctx.set(dut.elements.p[place].score, score)
                    ctx.set(dut.elements.p[place].index, at + place)
            ready = rng.random() >= stalls[1]
            ctx.set(dut.requests.valid, asks)
            ctx.set(dut.elements.valid, sends)
            ctx.set(dut.o.ready, ready)
            for name, offer in (("requests", asks), ("elements", sends), ("ready", ready)):
                run.offers[name].append(offer)
            ports = (dut.requests.ready, dut.elements.ready, dut.o.valid, dut.o.p)
            _, _, ask_ready, send_ready, valid, word = await ctx.tick().sample(*ports)
            if asks and ask_ready:
                run.requests.append(cycle)
                asked, asks = asked + 1, False
            if sends and send_ready:
                run.elements.append(cycle)
                sent, sends = sent + 1, False
            if valid and ready:
                run.outputs.append((cycle, int(word.count), bool(word.last)))
                lanes = [word.lanes[place] for place in range(min(word.count, params.input_width))]
                current += [(int(lane.index), int(lane.score)) for lane in lanes]
                if word.last:
                    run.kept.append([index for index, _ in current])
                    run.scores.append([score for _, score in current])
                    current = []
                    if len(run.kept) == len(lists):
                        return

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    with simulator.write_vcd(str(dump)) if dump else nullcontext():
        simulator.run()
    return run
