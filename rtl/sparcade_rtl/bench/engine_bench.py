"""The cocotb test: two drivers, a monitor, and the comparison. Runs inside the simulator, see `runner`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from sparcade.topk import TopKParams, select
from sparcade.topk.cycles import engine_cycles
from sparcade.topk.lists import describe
from sparcade_rtl.bench.coverage import cover
from sparcade_rtl.bench.lists import Ints, draw_lists, load_lists
from sparcade_rtl.bench.setting import Outcome, Setting
from sparcade_rtl.layouts import element, request, row


class Stream:
    """The signals of a stream, and what happened on it."""

    def __init__(self, dut: Any, name: str) -> None:
        self.payload, self.valid, self.ready = (
            getattr(dut, f"{name}__{part}") for part in ("payload", "valid", "ready")
        )
        self.offers: list[bool] = []  # per cycle: valid of a driver, ready of a monitor
        self.moves: list[int] = []  # cycles with both


async def drive(clock: Any, stream: Stream, words: list[int], stalled: Callable[[], bool], size: int) -> None:
    """Offer the words in order; once offered, a word stays."""
    rng = random.Random(size)
    for word in words:
        while stalled():
            stream.valid.value = 0
            stream.payload.value = rng.getrandbits(size)  # means nothing while not valid
            stream.offers.append(False)
            await RisingEdge(clock)
        stream.valid.value, stream.payload.value = 1, word
        while True:
            stream.offers.append(True)
            await ReadOnly()
            moves = bool(stream.ready.value)
            if moves:
                stream.moves.append(len(stream.offers) - 1)
            await RisingEdge(clock)
            if moves:
                break
    stream.valid.value = 0


async def watch(clock: Any, stream: Stream, lists: int, last: int, stalled: Callable[[], bool]) -> list[int]:
    """Take words until the last bit of `lists` of them was set."""
    words: list[int] = []
    while lists:
        ready = not stalled()
        stream.ready.value = ready
        stream.offers.append(ready)
        await ReadOnly()
        if ready and stream.valid.value:
            words.append(stream.payload.value.to_unsigned())
            stream.moves.append(len(stream.offers) - 1)
            lists -= words[-1] >> last & 1
        await RisingEdge(clock)
    return words


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def selections_and_cycles_equal_the_model(dut: Any) -> None:
    setting = Setting.from_text(os.environ["SPARCADE_SETTING"])
    params = setting.params
    lists = load_lists(Path(setting.file)) if setting.file else draw_lists(params, setting.lists, setting.seed)
    rng = random.Random(setting.seed)
    Clock(dut.clk, 1, unit="ns").start()
    requests, elements, out = (Stream(dut, name) for name in ("requests", "elements", "o"))
    requests.valid.value = elements.valid.value = out.ready.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)

    def stalls(chance: float) -> Callable[[], bool]:
        mine = random.Random(rng.getrandbits(32))
        return lambda: mine.random() < chance

    ask = request(params)
    asks = [len(scores) << ask["size"].offset | k << ask["k"].offset for scores, k in lists]
    beats = [word for scores, _ in lists for word in pack_beats(params, scores)]
    cocotb.start_soon(drive(dut.clk, requests, asks, stalls(setting.input_stalls), ask.size))
    beat_bits = element(params).size * params.input_width
    cocotb.start_soon(drive(dut.clk, elements, beats, stalls(setting.input_stalls), beat_bits))
    last = row(element(params), params.input_width)["last"].offset
    words = await watch(dut.clk, out, len(lists), last, stalls(setting.output_stalls))

    check_values(params, lists, words)
    offers = {
        name: np.array(stream.offers, np.bool_)
        for name, stream in (("requests", requests), ("elements", elements), ("ready", out))
    }
    described = describe(params, lists)
    trace = engine_cycles(params, described, **offers, occupancy=True)
    assert trace.requests.tolist() == requests.moves, "a request was taken in another cycle"
    assert trace.elements.tolist() == elements.moves, "elements were taken in another cycle"
    assert trace.outputs.tolist() == out.moves, "a result came in another cycle"
    if setting.outcome:
        ends = [at for at, word in zip(out.moves, words, strict=True) if word >> last & 1]
        Outcome(coverage=cover(params, described, trace, offers), ends=ends).save(Path(setting.outcome))
    dut._log.info(f"{len(lists)} selections in {len(out.offers)} cycles, values, order and cycles as the model")


def pack_beats(params: TopKParams, scores: Ints) -> list[int]:
    """The elements of a list as payloads; index = place in the list."""
    lane, beats = element(params), []
    for begin in range(0, len(scores), params.input_width):
        word = 0
        for place, score in enumerate(scores[begin : begin + params.input_width].tolist()):
            index = (begin + place) % (1 << params.index_bits)
            word |= (score << lane["score"].offset | index << lane["index"].offset) << (place * lane.size)
        beats.append(word)
    return beats


def check_values(params: TopKParams, lists: list[tuple[Ints, int]], words: list[int]) -> None:
    """Every list: its elements in their order, exactly as many as asked for."""
    lane = element(params)
    beat = row(lane, params.input_width)
    got: list[list[tuple[int, int]]] = [[]]
    for word in words:
        for place in range(_field(word, beat["count"])):
            one = word >> (place * lane.size)
            got[-1].append((_field(one, lane["index"]), _field(one, lane["score"])))
        if _field(word, beat["last"]):
            got.append([])
    for number, (scores, k) in enumerate(lists):
        want = [
            (index % (1 << params.index_bits), int(scores[index]))
            for index in select(scores, k, params.score_bits).kept
        ]
        assert got[number] == want, f"list {number}: size {len(scores)}, k {k}"


def _field(word: int, field: Any) -> int:
    """A field of a payload."""
    return word >> field.offset & ((1 << field.width) - 1)
