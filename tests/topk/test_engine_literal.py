"""The engine's cycles equal the plain-Python model written from docs/rtl.md, transfer by transfer."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from oracles import engine_literal
from oracles.engine_literal import Candidates, Engine
from sparcade.topk import TopKParams
from sparcade.topk.cycles import alone_cycles, engine_cycles, interval_cycles
from sparcade.topk.lists import LAST, Lists, describe
from sparcade_rtl.bench.lists import draw_lists

PATIENCE = 5000  # cycles without a transfer that count as a deadlock
WIDTHS = [1, 2, 4, 8, 16, 32, 64, 3, 5, 6, 12]


def draw_params(rng: random.Random) -> TopKParams:
    lanes, width = rng.choice(WIDTHS), rng.choice(WIDTHS)
    longest = rng.choice([1, 2, 3, 5, 8]) * max(lanes, width)
    return TopKParams(
        engine=rng.choice(["quick-select", "radix-select"]),
        lanes=lanes,
        input_width=width,
        capacity=rng.choice([longest, rng.randint(1, longest)]),
        score_bits=rng.randint(1, 16),
        radix_bits=rng.randint(1, 6),
    )


def literal(params: TopKParams) -> Engine:
    return Engine(params.lanes, params.input_width, params.capacity, params.engine == "radix-select")


def candidates(lists: Lists) -> list[Candidates]:
    found, beats = [], (lists.beats & ~np.uint8(LAST)).tolist()
    ends = np.flatnonzero(lists.beats & LAST) + 1
    for i, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        passes = lists.pass_sizes[lists.offsets[i] : lists.offsets[i + 1]].tolist()
        found.append(Candidates(int(lists.sizes[i]), int(lists.keep[i]), passes, beats[begin:end]))
    return found


def run(
    engine: Engine, lists: list[Candidates], requests: list[bool], elements: list[bool], ready: list[bool]
) -> tuple[list[int], list[int], list[tuple[int, int, bool]]]:
    """Cycles of the requests and the beats taken, and (cycle, elements, last) of the rows out."""
    asked, taken, out = list[int](), list[int](), list[tuple[int, int, bool]]()
    beats, t, moved, ended = sum(len(one.kept) for one in lists), 0, 0, 0
    while ended < len(lists):
        offers, gives, takes = (t >= len(each) or each[t] for each in (requests, elements, ready))
        request = lists[len(asked)] if offers and len(asked) < len(lists) else None
        gives &= len(taken) < beats
        before = len(asked) + len(taken) + len(out)
        if request is not None and engine.takes_request:
            asked.append(t)
        if gives and engine.takes_beat:
            taken.append(t)
        if engine.output is not None and takes:
            out.append((t, engine.output.elements, engine.output.last))
            ended += engine.output.last
        engine.step(request, gives, takes)
        if before < len(asked) + len(taken) + len(out):
            moved = t
        assert t - moved < PATIENCE, "deadlock"
        t += 1
    return asked, taken, out


@pytest.mark.parametrize("seed", range(300))
def test_engine_cycles_equal_the_literal_engine(seed: int) -> None:
    rng = random.Random(seed)
    params = draw_params(rng)
    drawn = draw_lists(params, rng.randint(1, 9), seed)
    chances = [rng.choice([0.1, 0.5, 0.95]) for _ in range(3)]
    if rng.random() < 0.4:  # many short lists, of which several are in the engine: thresholds wait for the filter
        drawn = draw_lists(replace(params, capacity=rng.choice([4, 9, 4 * params.input_width])), 25, seed)
        params = replace(params, capacity=max(params.capacity, 12 * params.input_width))
        chances = [0, rng.choice([0, 0.1]), rng.choice([0.5, 0.95, 0.98])]
    lists = describe(params, drawn)
    stalls = [[rng.random() >= chance for _ in range(rng.choice([0, 100, 3000, 3000]))] for chance in chances]
    asked, taken, out = run(literal(params), candidates(lists), *stalls)
    requests, elements, ready = (np.array(each, np.bool_) for each in stalls)
    trace = engine_cycles(params, lists, requests=requests, elements=elements, ready=ready)
    assert trace.requests.tolist() == asked
    assert trace.elements.tolist() == taken
    assert list(zip(trace.outputs.tolist(), trace.counts.tolist(), trace.last.tolist(), strict=True)) == out


@pytest.mark.parametrize("seed", range(60))
def test_closed_forms_are_those_of_the_literal_engine(seed: int) -> None:
    """A list alone, from its first beat to its last row; and lists back to back, short against the capacity."""
    rng = random.Random(seed)
    params = draw_params(rng)
    scores, k = draw_lists(params, 1, seed)[0]
    roomy = replace(params, capacity=1 << 14)  # a delay FIFO of two beats does not take one a cycle
    lists = describe(params, [(scores, k)])
    shape = params.lanes, params.input_width, params.engine == "radix-select"
    size, passes = len(scores), lists.pass_sizes.tolist()
    arguments = lists.sizes, lists.pass_sizes, lists.offsets
    _, taken, out = run(literal(roomy), candidates(lists), [], [], [])
    want = engine_literal.alone(*shape, size, passes)
    assert alone_cycles(params, *arguments).tolist() == [want]
    kept, width = candidates(lists)[0].kept, params.input_width
    overflows = sum(kept[:-1]) % width + kept[-1] > width
    assert out[-1][0] - taken[0] + 1 == want + overflows

    want = engine_literal.interval(*shape, size, passes)
    assert interval_cycles(params, *arguments).tolist() == [want]
    many = [Candidates(size, k, passes, kept) for _ in range(9)]
    _, _, out = run(literal(roomy), many, [], [], [])
    ends = [t for t, _, last in out if last][4:]
    steady = [b - a for a, b in itertools.pairwise(ends)]
    # A request is taken every other cycle; a last row that overflows takes a turn of the packer.
    assert set(steady) == {max(want, 2, len(kept) + overflows)}
