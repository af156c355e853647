"""The control of `sparcade_rtl.TopKEngine`, register by register, without its data: one cycle per call.

What is kept of each beat is given (`Lists`). RTL and model must agree on the cycle of every beat (tests/rtl); the
accelerator runs the same kernel for local V. The rules are written out in docs/rtl.md, "One cycle".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sparcade._jit import kernel
from sparcade._records import Record, zeros
from sparcade.topk.lists import LAST, Lists
from sparcade.topk.params import ACTS, TopKParams

NOTHING = -1

_REGISTERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            # Input: requests taken, the one that waits, elements to come of the list that comes in and whether they
            # are stored, the list to be selected next
            "asked",
            "waits",
            "due",
            "stores",
            "following",
            # List buffer: beats taken, elements of the list that are in it, rows in use, elements in them that are not
            # read yet (in this pass), elements of the list that are
            "taken",
            "filled",
            "used",
            "unread",
            "read",
            # Selection: list, pass, scores of the pass not read, cycles since its last row was; and its outcome
            "chosen",
            "number",
            "left",
            "turn",
            "outcome",
            # Delay FIFO: beats in its memory, and in its output register; beats out of it
            "stored",
            "offered",
            "out",
            # Filter: elements to come of its list; beats in compare, rank, keep, and the zero eliminator's two stages
            "rest",
            "compared",
            "ranked",
            "picked",
            "counted",
            "moved",
            # Packer: elements held, an overflow to flush; output register
            "held",
            "flushing",
            "full",
            "count",
            "last",
            "done",  # lists that are out
        )
    ]
)


class EngineShape(NamedTuple):
    """What the control depends on."""

    lanes: int
    width: int  #: elements of a beat
    wide: int  #: elements of a row of the list buffer
    rows: int
    spare: int  #: rows kept free, as the last beat of a list may close two where one of lanes and width divides not
    fifo: int  #: beats of the delay FIFO
    overhead: int  #: cycles of a pass beyond its rows
    rereads: bool  #: every pass reads the whole list from the list buffer


def shape_of(params: TopKParams, width: int) -> EngineShape:
    """The engine of some params for beats of `width` elements."""
    wide = max(params.lanes, width)
    spare = int(wide % min(params.lanes, width) > 0)
    return EngineShape(
        lanes=params.lanes,
        width=width,
        wide=wide,
        rows=-(-params.capacity // wide) + spare,
        spare=spare,
        fifo=max(2, -(-params.capacity // width)),
        overhead=params.pass_overhead,
        rereads=params.engine == "radix-select",
    )


def empty_engine() -> Record:
    """Registers after a reset."""
    registers = zeros(1, _REGISTERS)[0]
    for name in ("waits", "following", "chosen", "outcome", "compared", "ranked", "picked", "counted", "moved"):
        registers[name] = NOTHING
    return registers


@kernel
def accepts(shape: EngineShape, e: Record) -> bool:
    """True when a beat that is offered in this cycle is taken."""
    return bool(e.due > 0 and (e.stores == 0 or e.used < shape.rows - shape.spare) and e.stored < shape.fifo - 1)


@kernel
def step(shape: EngineShape, lists: Lists, e: Record, asks: bool, offers: bool, takes: bool) -> None:
    """One cycle.

    asks, offers : a request, and a beat, is offered; takes: the consumer takes the row in the output register, if there
    is one (`full`, `count`, `last`, of the list `done`).
    """
    lanes, width, wide = shape.lanes, shape.width, shape.wide
    sizes, keep = lists.sizes, lists.keep
    # What moves in this cycle, from the registers
    free = e.full == 0 or takes
    packs = free and e.flushing == 0
    moves = e.moved == NOTHING or packs
    counts = e.counted == NOTHING or moves
    keeps = e.picked == NOTHING or counts
    ranks = e.ranked == NOTHING or keeps
    compares = e.compared == NOTHING or ranks
    reads_fifo = e.rest > 0 and compares
    fires = e.offered == 1 and reads_fifo
    closes_list = fires and e.rest <= width
    hands_over = e.rest == 0 or closes_list
    room = e.outcome == NOTHING or hands_over
    idle = e.left == 0 and e.turn == 0
    needless = e.following != NOTHING and not 0 < keep[e.following] < sizes[e.following]
    begins = idle and e.following != NOTHING and (not needless or room)
    taken = offers and accepts(shape, e)
    ending = e.due <= width
    starts = e.waits != NOTHING and (e.due == 0 or (taken and ending)) and (e.following == NOTHING or begins)
    buffered = e.number == 0 or shape.rereads
    reads = e.left > 0 and e.turn == 0 and (not buffered or e.unread >= min(lanes, e.left))
    # Packer and output
    if e.full == 1 and takes:
        e.done += e.last
    if free:
        e.full = 0
        if e.flushing == 1:
            e.full = 1
            e.count = e.held
            e.last = 1
            e.flushing = 0
            e.held = 0
        elif e.moved != NOTHING:
            final = lists.beats[e.moved] >= LAST
            total = e.held + (lists.beats[e.moved] & (LAST - 1))
            e.full = total >= width or final
            e.count = min(total, width)
            e.last = final and total <= width
            e.flushing = final and total > width
            e.held = 0 if e.last == 1 else total - width if total >= width else total
    # Filter
    if moves:
        e.moved = e.counted
    if counts:
        e.counted = e.picked
    if keeps:
        e.picked = e.ranked
    if ranks:
        e.ranked = e.compared
    if compares:
        e.compared = e.out if fires else NOTHING
    e.out += fires
    if fires:
        e.rest = 0 if closes_list else e.rest - width
    if e.outcome != NOTHING and hands_over:
        e.rest = sizes[e.outcome]
        e.outcome = NOTHING
    # Delay FIFO
    fetches = e.stored > 0 and (e.offered == 0 or reads_fifo)
    e.offered = fetches or (e.offered == 1 and not reads_fifo)
    e.stored += taken - fetches
    # Selection
    frees = 0
    if reads:
        over = e.left <= lanes
        if buffered:
            again = shape.rereads and e.number + 1 < lists.offsets[e.chosen + 1] - lists.offsets[e.chosen]
            read = e.read + min(lanes, e.left)
            if not again:
                frees = (-(-read // wide) if over else read // wide) - e.read // wide
            e.unread -= read - e.read
            e.read = 0 if over else read
            if over and again:
                e.unread += read
        e.left = 0 if over else e.left - lanes
        e.turn = over
    elif e.turn == ACTS:
        if e.number + 1 < lists.offsets[e.chosen + 1] - lists.offsets[e.chosen]:
            e.number += 1
            e.turn += 1
        elif room:
            e.outcome = e.chosen
            e.turn = 0
    elif e.turn > 0:
        e.turn += 1
    if e.turn > shape.overhead:
        e.left = lists.pass_sizes[lists.offsets[e.chosen] + e.number]
        e.turn = 0
    if begins:
        if needless:
            e.outcome = e.following
        else:
            e.chosen = e.following
            e.number = 0
            e.left = sizes[e.following]
        e.following = NOTHING
    # Input
    if taken:
        if e.stores == 1:
            filled = e.filled + min(width, e.due)
            closed = e.filled // wide
            closes = (-(-filled // wide) if ending else filled // wide) - closed
            e.used += closes
            e.unread += (filled if ending else (closed + closes) * wide) - closed * wide
            e.filled = 0 if ending else filled
        e.taken += 1
        e.due = 0 if ending else e.due - width
    e.used -= frees
    if starts:
        e.following = e.waits
        e.due = sizes[e.waits]
        e.stores = 0 < keep[e.waits] < sizes[e.waits]
        e.waits = NOTHING
    elif e.waits == NOTHING and asks and e.asked < sizes.shape[0]:
        e.waits = e.asked
        e.asked += 1
