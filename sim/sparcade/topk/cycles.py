"""The overlapped top-k engine cycle by cycle: which beat moves when, with any stalls on its three streams.

The control of `sparcade_rtl.TopKEngine` without its data: what is kept of each beat is given (`select`). RTL and model
must agree on the cycle of every beat (tests/rtl).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade.errors import ConfigError
from sparcade.topk.engine import PASS_OVERHEAD, TopKParams
from sparcade.topk.selection import select

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Cycles from the last row of a pass read to the cycle that acts on its counts.
ACTS = PASS_OVERHEAD - 1
NOTHING = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """Lists for an engine, as its control sees them."""

    sizes: Ints  #: [lists] elements
    keep: Ints  #: [lists] k
    pass_sizes: Ints  #: [sum of passes] list length of each pass
    offsets: Ints  #: [lists + 1] where each list's passes begin
    kept: Ints  #: [beats of all lists] elements kept of each beat


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTrace:
    """Cycles in which each beat was taken, the first cycle after reset being 0."""

    requests: Ints  #: [lists]
    elements: Ints  #: [beats of all lists]
    outputs: Ints  #: [output beats]
    counts: Ints  #: [output beats] elements in it
    last: Bools  #: [output beats] it closes a list


def describe(params: TopKParams, lists: list[tuple[Ints, int]]) -> Lists:
    """Lists of (scores, k) in the terms of `engine_cycles`."""
    passes, kept = [], []
    for scores, k in lists:
        selection = select(np.asarray(scores, np.int64), k, params.score_bits)
        passes.append(selection.passes[:, 0])
        beats = -(-len(scores) // params.input_width)
        kept.append(np.bincount(selection.kept // params.input_width, minlength=beats))
    return Lists(
        sizes=np.array([len(scores) for scores, _ in lists], np.int64),
        keep=np.array([k for _, k in lists], np.int64),
        pass_sizes=np.concatenate([np.zeros(0, np.int64), *passes]),
        offsets=np.cumsum([0, *(len(one) for one in passes)]),
        kept=np.concatenate([np.zeros(0, np.int64), *kept]),
    )


def engine_cycles(
    params: TopKParams,
    lists: Lists,
    *,
    requests: Bools | None = None,
    elements: Bools | None = None,
    ready: Bools | None = None,
) -> EngineTrace:
    """Run the lists through an empty engine.

    Parameters
    ----------
    requests, elements : [cycles] True where the producer offers (valid); None: always. Offers beyond the end: always.
    ready : [cycles] True where the consumer takes; likewise.

    Raises
    ------
    ConfigError
        When a list is empty or longer than the capacity.
    """
    _check_lists(params, lists)
    ends = np.cumsum(-(-lists.sizes // params.input_width)) - 1
    final = np.zeros(len(lists.kept), np.bool_)
    final[ends] = True
    wide = max(params.lanes, params.input_width)
    most = int((np.minimum(lists.keep, lists.sizes) // params.input_width + 1).sum())
    trace = EngineTrace(
        requests=np.zeros(len(lists.sizes), np.int64),
        elements=np.zeros(len(lists.kept), np.int64),
        outputs=np.zeros(most, np.int64),
        counts=np.zeros(most, np.int64),
        last=np.zeros(most, np.bool_),
    )
    always = np.zeros(0, np.bool_)
    written = engine_kernel(
        params.lanes,
        params.input_width,
        -(-params.capacity // wide),
        max(2, -(-params.capacity // params.input_width)),
        lists.sizes,
        lists.keep,
        lists.pass_sizes,
        lists.offsets,
        final,
        lists.kept,
        always if requests is None else requests,
        always if elements is None else elements,
        always if ready is None else ready,
        trace.requests,
        trace.elements,
        trace.outputs,
        trace.counts,
        trace.last,
    )
    return replace(trace, outputs=trace.outputs[:written], counts=trace.counts[:written], last=trace.last[:written])


def _check_lists(params: TopKParams, lists: Lists) -> None:
    """Raise a `ConfigError` for a list that the engine cannot hold."""
    for index, size in enumerate(lists.sizes.tolist()):
        if not 1 <= size <= params.capacity:
            raise ConfigError(
                "a list does not fit the top-k engine",
                where=f"list {index}",
                expected=f"1 to {params.capacity} elements (capacity)",
                got=str(size),
                remedy="raise the capacity of the engine",
            )


@kernel
def _on(offers: Bools, t: int) -> bool:
    return t >= offers.shape[0] or bool(offers[t])


@kernel
def engine_kernel(
    lanes: int, width: int, rows: int, fifo: int, sizes: Ints, keep: Ints, pass_sizes: Ints, offsets: Ints,
    final: Bools, kept: Ints, requests: Bools, elements: Bools, ready: Bools, request_at: Ints, element_at: Ints,
    output_at: Ints, output_count: Ints, output_last: Bools,
) -> int:  # fmt: skip
    """The cycle loop; returns the output beats. Names and order as in `sparcade_rtl`."""
    lists, parts, slices = sizes.shape[0], max(lanes, width) // width, max(lanes, width) // lanes
    # Input: requests taken, the one that waits, the one whose elements come, the next to be selected.
    asked, waits, due, stores, following = 0, NOTHING, 0, False, NOTHING
    beat, part, used, piece = 0, 0, 0, 0
    # Selection: list, pass, scores of the pass not read, cycles since its last row was; and its outcome.
    chosen, number, left, turn, outcome = NOTHING, 0, 0, 0, NOTHING
    # Delay FIFO: beats in its memory, and in its output register; the next beat out of it.
    stored, offered, out = 0, False, 0
    # Filter: elements to come of its list; beats in compare, rank, keep, and the two stages of the zero eliminator.
    rest = 0
    compared, ranked, picked, counted, moved = NOTHING, NOTHING, NOTHING, NOTHING, NOTHING
    # Packer: elements held; output register.
    held, flushing, full, count, last, done, written, t = 0, False, False, 0, False, 0, 0, 0
    while done < lists:
        free = not full or _on(ready, t)
        packs = free and not flushing
        moves = moved == NOTHING or packs
        counts = counted == NOTHING or moves
        keeps = picked == NOTHING or counts
        ranks = ranked == NOTHING or keeps
        compares = compared == NOTHING or ranks
        takes = rest > 0 and compares
        fires = offered and takes
        closes_list = fires and rest <= width
        hands_over = rest == 0 or closes_list
        room = outcome == NOTHING or hands_over
        idle = left == 0 and turn == 0
        needless = following != NOTHING and not 0 < keep[following] < sizes[following]
        begins = idle and following != NOTHING and (not needless or room)
        accepts = due > 0 and (not stores or used < rows) and stored < fifo - 1
        taken = accepts and beat < element_at.shape[0] and _on(elements, t)
        ending = due <= width
        starts = waits != NOTHING and (due == 0 or (taken and ending)) and (following == NOTHING or begins)
        reads = left > 0 and turn == 0 and (number > 0 or used > 0)
        # Output
        if full and _on(ready, t):
            output_at[written] = t
            output_count[written] = count
            output_last[written] = last
            written += 1
            done += last
        if free:
            full = False
            if flushing:
                full, count, last, flushing, held = True, held, True, False, 0
            elif moved != NOTHING:
                total = held + kept[moved]
                full = total >= width or final[moved]
                count = min(total, width)
                last = final[moved] and total <= width
                flushing = final[moved] and total > width
                held = 0 if last else total - width if total >= width else total
        if moves:
            moved = counted
        if counts:
            counted = picked
        if keeps:
            picked = ranked
        if ranks:
            ranked = compared
        if compares:
            compared = out if fires else NOTHING
        out += fires
        if fires:
            rest = 0 if closes_list else rest - width
        if outcome != NOTHING and hands_over:
            rest = sizes[outcome]
            outcome = NOTHING
        # Delay FIFO
        fetches = stored > 0 and (not offered or takes)
        offered = fetches or (offered and not takes)
        stored += taken - fetches
        # Selection
        frees = False
        if reads:
            over = left <= lanes
            if number == 0:
                frees = over or piece == slices - 1
                piece = 0 if frees else piece + 1
            left = 0 if over else left - lanes
            turn = 1 if over else 0
        elif turn == ACTS:
            if number + 1 < offsets[chosen + 1] - offsets[chosen]:
                number += 1
                turn += 1
            elif room:
                outcome = chosen
                turn = 0
        elif turn == PASS_OVERHEAD:
            left = pass_sizes[offsets[chosen] + number]
            turn = 0
        elif turn > 0:
            turn += 1
        if begins:
            if needless:
                outcome = following
            else:
                chosen, number, left = following, 0, sizes[following]
            following = NOTHING
        # Input
        fills = taken and stores and (ending or part == parts - 1)
        if taken:
            element_at[beat] = t
            beat += 1
            due = 0 if ending else due - width
            part = 0 if fills or not stores else part + 1
        used += fills - frees
        if starts:
            following = waits
            due = sizes[waits]
            stores = 0 < keep[waits] < sizes[waits]
            waits = NOTHING
        elif waits == NOTHING and asked < lists and _on(requests, t):
            request_at[asked] = t
            waits = asked
            asked += 1
        t += 1
    return written
