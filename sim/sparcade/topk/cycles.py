"""Cycles of the top-k engines: of any run of lists with any stalls, and as a closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade._records import Record, Table, zeros
from sparcade.errors import ConfigError
from sparcade.topk.engine import EngineShape, accepts, empty_engine, shape_of, step
from sparcade.topk.lists import Lists, segment_sums
from sparcade.topk.params import ACTS, TopKParams

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Cycles from a beat filtered to the row it fills.
FILTER_LATENCY = 6
#: What `EngineTrace.occupancy` counts, at the begin of a cycle.
OCCUPANCY = np.dtype(
    [
        (name, np.int64)
        for name in (
            "list_rows",  # in the list buffer
            "unread",  # elements in them, not read in this pass
            "fifo_beats",  # in the delay FIFO
            "due",  # elements to come of the list that comes in
            "number",  # of the pass under way, from 1; 0: none
            "left",  # scores of it not read
            "turn",  # cycles since its last row was read
            "rest",  # elements to come of the list in the filter
            "filter_beats",  # in the filter and its zero eliminator
            "held",  # elements in the packer
            "output",  # a row is offered
        )
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTrace:
    """Cycles in which each beat was taken, the first cycle after reset being 0, and what the engine held."""

    requests: Ints  #: [lists]
    elements: Ints  #: [beats of all lists]
    outputs: Ints  #: [output beats]
    counts: Ints  #: [output beats] elements in it
    last: Bools  #: [output beats] it closes a list
    occupancy: Table  #: [cycles] OCCUPANCY, if asked for


def engine_cycles(
    params: TopKParams,
    lists: Lists,
    *,
    requests: Bools | None = None,
    elements: Bools | None = None,
    ready: Bools | None = None,
    occupancy: bool = False,
) -> EngineTrace:
    """Run the lists through an empty engine.

    Parameters
    ----------
    requests, elements : [cycles] True where the producer offers (valid); None: always. Offers beyond the end: always.
    ready : [cycles] True where the consumer takes; likewise.
    occupancy : also record what the engine holds in each cycle, in a second run as long as the first.

    Raises
    ------
    ConfigError
        When a list is empty or longer than the capacity.
    """
    _check_lists(params, lists)
    always = np.zeros(0, np.bool_)
    asks, offers, takes = (always if each is None else each for each in (requests, elements, ready))
    most = int((np.minimum(lists.keep, lists.sizes) // params.input_width + 1).sum())
    request_at, element_at = np.zeros(len(lists.sizes), np.int64), np.zeros(len(lists.beats), np.int64)
    rows = np.zeros((most, 3), np.int64)
    shape = shape_of(params, params.input_width)
    cycles, written = run_engine(
        shape, lists, empty_engine(), asks, offers, takes, request_at, element_at, rows, zeros(0, OCCUPANCY)
    )
    held = zeros(cycles if occupancy else 0, OCCUPANCY)
    if occupancy:
        run_engine(shape, lists, empty_engine(), asks, offers, takes, request_at, element_at, rows, held)
    return EngineTrace(
        requests=request_at,
        elements=element_at,
        outputs=rows[:written, 0],
        counts=rows[:written, 1],
        last=rows[:written, 2].astype(np.bool_),
        occupancy=held,
    )


def alone_cycles(params: TopKParams, sizes: Ints, pass_sizes: Ints, offsets: Ints) -> Ints:
    """[lists] cycles of a list alone, its beats one a cycle: from the first taken to the last row out, both counted.

    One cycle more where the last row overflows (elements behind its beat's in the packer, by their places).

    Parameters
    ----------
    pass_sizes : [sum of passes] and offsets : [lists + 1], as in `Lists`.
    """
    width, lanes = params.input_width, params.lanes
    beats = -(-sizes // width)
    first_read = np.minimum(beats, max(1, lanes // width))
    end = np.maximum(first_read + -(-sizes // lanes) - 1, beats - 1 + -(-((sizes - 1) % width + 1) // lanes))
    rest = _pass_cycles(params, pass_sizes, offsets) - params.pass_overhead - -(-sizes // lanes)
    threshold = np.where(np.diff(offsets) > 0, end + ACTS + 1 + rest, 1)
    return threshold + beats + FILTER_LATENCY + 1


def interval_cycles(params: TopKParams, sizes: Ints, pass_sizes: Ints, offsets: Ints) -> Ints:
    """[lists] cycles from list to list when they come back to back and are short against the capacity: of its passes,
    or of its beats through the filter. Arguments as of `alone_cycles`.
    """
    beats = -(-sizes // params.input_width)
    passes = _pass_cycles(params, pass_sizes, offsets)
    return np.maximum(beats, np.where(np.diff(offsets) > 0, passes + ACTS + 1 - params.pass_overhead, 0))


def _pass_cycles(params: TopKParams, pass_sizes: Ints, offsets: Ints) -> Ints:
    """[lists] cycles of all passes of each."""
    return segment_sums(-(-pass_sizes // params.lanes) + params.pass_overhead, offsets)


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
def run_engine(
    shape: EngineShape, lists: Lists, e: Record, requests: Bools, elements: Bools, ready: Bools, request_at: Ints,
    element_at: Ints, rows: Ints, occupancy: Table,
) -> tuple[int, int]:  # fmt: skip
    """All lists through the engine; returns cycles and rows out. `rows` takes the cycle, elements and last of each."""
    t, written = 0, 0
    while e.done < lists.sizes.shape[0]:
        if t < occupancy.shape[0]:
            now = occupancy[t]
            now.list_rows = e.used
            now.unread = e.unread
            now.fifo_beats = e.stored + e.offered
            now.due = e.due
            now.number = e.number + 1 if e.left > 0 or e.turn > 0 else 0
            now.left = e.left
            now.turn = e.turn
            now.rest = e.rest
            now.filter_beats = (e.compared >= 0) + (e.ranked >= 0) + (e.picked >= 0) + (e.counted >= 0) + (e.moved >= 0)
            now.held = e.held
            now.output = e.full
        asks, takes = _on(requests, t), _on(ready, t)
        offers = e.taken < element_at.shape[0] and _on(elements, t)
        if offers and accepts(shape, e):
            element_at[e.taken] = t
        if e.full == 1 and takes:
            rows[written, 0] = t
            rows[written, 1] = e.count
            rows[written, 2] = e.last
            written += 1
        asked = e.asked
        step(shape, lists, e, asks, offers, takes)
        if e.asked > asked:
            request_at[asked] = t
        t += 1
    return t, written
