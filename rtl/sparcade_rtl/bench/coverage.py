"""Functional coverage of a run of the engine: which situations occurred, and which never did.

It is read off the model's occupancy and transfers, which are those of the RTL in every cycle (the bench compares them).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparcade.topk import ACTS, TopKParams
from sparcade.topk.cycles import EngineTrace
from sparcade.topk.engine import shape_of
from sparcade.topk.lists import LAST, Lists

Bools = npt.NDArray[np.bool_]


def cover(params: TopKParams, lists: Lists, trace: EngineTrace, offers: dict[str, Bools]) -> dict[str, int]:
    """How often each situation occurred: cycles, or lists. Every situation has an entry; 0 is a hole.

    trace : with its occupancy.
    offers : per cycle, `requests` and `elements` offered, `ready`: the consumer takes. Ends of each may be cut.
    """
    now, shape = trace.occupancy, shape_of(params, params.input_width)
    cycles = len(now)
    asks, sends, ready = (_cut(offers[name], cycles) for name in ("requests", "elements", "ready"))
    asked, sent, out = (_at(at, cycles) for at in (trace.requests, trace.elements, trace.outputs))
    selecting, filtering = now.number > 0, (now.rest > 0) | (now.filter_beats > 0)
    reads = (now.left > 0) & (now.turn == 0)
    starved = reads & (now.unread < np.minimum(now.left, params.lanes)) & (shape.rereads | (now.number == 1))
    situations = {
        "request: taken": asked,
        "request: refused": asks & ~asked,
        "elements: taken": sent,
        "elements: refused": sends & ~sent,
        "output: taken": out,
        "output: stalled": (now.output == 1) & ~ready,
        "output: empty": now.output == 0,
        "list buffer: empty": now.list_rows == 0,
        "list buffer: partly filled": (now.list_rows > 0) & (now.list_rows < shape.rows),
        "list buffer: full": now.list_rows == shape.rows,
        "delay FIFO: empty": now.fifo_beats == 0,
        "delay FIFO: partly filled": (now.fifo_beats > 0) & (now.fifo_beats < shape.fifo),
        "delay FIFO: full": now.fifo_beats == shape.fifo,
        "selection: idle": ~selecting,
        "selection: reads": reads & ~starved,
        "selection: waits for elements": starved,
        "selection: between rows and counts": (now.turn > 0) & (now.turn < ACTS),
        "selection: acts": now.turn == ACTS,
        "selection: threshold waits for the filter": _repeats(now.turn == ACTS),
        "packer: empty": now.held == 0,
        "packer: holds": now.held > 0,
        "overlap: selects one list, filters another": selecting & filtering,
        "overlap: selects one list, takes in another": selecting & (now.due > 0) & (now.number > 1),
        "overlap: all three": selecting & filtering & (now.due > 0) & (now.number > 1),
    }
    situations |= {f"filter: {beats} beats in its stages": now.filter_beats == beats for beats in range(6)}
    situations |= _of_lists(params, lists, trace)
    return {name: int(np.count_nonzero(where)) for name, where in situations.items()}


def merged(coverages: list[dict[str, int]]) -> dict[str, int]:
    """Coverage of several runs together."""
    names = dict.fromkeys(name for coverage in coverages for name in coverage)
    return {name: sum(coverage.get(name, 0) for coverage in coverages) for name in names}


def _of_lists(params: TopKParams, lists: Lists, trace: EngineTrace) -> dict[str, Bools]:
    n, k = lists.sizes, lists.keep
    passes = np.diff(lists.offsets)
    ends = np.flatnonzero(lists.beats >= LAST)
    kept_last = lists.beats[ends] & (LAST - 1)
    situations = {
        "list: one element": n == 1,
        "list: as long as the capacity": n == params.capacity,
        "list: last beat partial": n % params.input_width != 0,
        "list: nothing kept of the last beat": (kept_last == 0) & (k > 0),
        "k = 0": k == 0,
        "0 < k < size": (k > 0) & (k < n),
        "k = size": k == n,
        "k > size": k > n,
        "result: last row full": trace.counts[trace.last] == params.input_width,
        "result: last row partial": (trace.counts[trace.last] > 0) & (trace.counts[trace.last] < params.input_width),
        "result: last row empty behind full ones": (trace.counts[trace.last] == 0) & (k > 0),
        "passes: none": passes == 0,
    }
    if params.engine == "quick-select":
        situations |= {f"passes: {number}": passes == number for number in range(1, 9)}
        situations |= {"passes: more": passes > 8, "pivot: by the bits": _by_bits(lists)}
    else:
        situations |= {"passes: one a digit": passes == params.digits}
    return situations


def _by_bits(lists: Lists) -> Bools:
    """Passes whose pivot is not the head of the list: the one before kept more than 7/8."""
    before, size = lists.pass_sizes[:-1], lists.pass_sizes[1:]
    owner = np.repeat(np.arange(len(lists.sizes)), np.diff(lists.offsets))
    return (owner[1:] == owner[:-1]) & (size > before - before // 8)


def _cut(offers: Bools, cycles: int) -> Bools:
    """Offers of the cycles of the run; behind the end there are none."""
    return np.append(offers[:cycles], np.zeros(max(0, cycles - len(offers)), np.bool_))


def _at(moves: npt.NDArray[np.int64], cycles: int) -> Bools:
    where = np.zeros(cycles, np.bool_)
    where[moves] = True
    return where


def _repeats(where: Bools) -> Bools:
    """True behind a cycle in which it was, too."""
    return where & np.append(False, where[:-1])
