"""Selections of a workload on one arch: passes, cycles, and the lists that local V's engine gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade.arch import Arch
from sparcade.topk.cycles import alone_cycles, interval_cycles
from sparcade.topk.lists import Lists, engine_passes, make_lists, offsets_of, segment_sums
from sparcade.topk.params import IMPORTANCE_BITS
from sparcade.topk.released import released_passes, released_search
from sparcade.workload import Workload

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selections:
    """One selection per row or query, which may have no pass."""

    passes: Ints  #: of the engine
    elements: Ints  #: list elements over its passes, and those it filters
    cycles: Ints  #: see `cascade_selections`, `local_selections`
    lists: Lists


def cascade_selections(workload: Workload, arch: Arch, kind: str, wide: dict[str, Ints]) -> Selections:
    """Token or head selection of each row. cycles: from its first beat in to its last row out, the engine being empty.

    The last row is taken to overflow (one cycle): whether it does depends on the places of the survivors.
    """
    params = replace(arch.topk, score_bits=IMPORTANCE_BITS)
    n, counts = wide[f"{kind}_n"], wide[f"{kind}_passes"]
    starts = wide[f"{kind}_pass_start"]
    if params.engine == "released-serial":
        sizes, offsets = released_passes(np.where(counts > 0, n, 0), wide[f"{kind}_k"])
        cycles = released_search(params, sizes, offsets) + -(-n // params.input_width)
    else:
        sizes, offsets = engine_passes(params, n, *_passes(workload, starts, counts))
        cycles = alone_cycles(params, np.maximum(n, 1), sizes, offsets) + 1
    return _selections(np.where(counts > 0, cycles, 0), n, sizes, offsets)


def local_selections(
    workload: Workload, arch: Arch, wide: dict[str, Ints], queries: dict[str, Ints], ranked: Bools, width: int
) -> Selections:
    """Local V selection of each query; `ranked` ones go through the engine, `width` elements a beat.

    cycles: with the released engine, from its start to its first probability; else the least from list to list.
    """
    params, visible, values = arch.topk, queries["visible"], queries["values"]
    if params.engine == "released-serial":
        listed = np.where(queries["passes"] > 0, workload.queries["visible"].astype(np.int64), 0)  # counts as they are
        sizes, offsets = released_passes(listed, workload.queries["values"].astype(np.int64))
        return _selections(released_search(params, sizes, offsets), visible, sizes, offsets)
    starts = workload.queries["pass_start"]
    sizes, offsets = engine_passes(params, visible, *_passes(workload, starts, queries["passes"]))
    kept = np.zeros(int((-(-visible // width))[ranked].sum()), np.uint8)
    known = (wide["queries"] == 1) & (arch.key_ids == "workload") & (arch.count_rounding == 1)
    owner = np.repeat(np.arange(len(known)), wide["queries"])
    ids, places = (workload.key_ids, workload.value_ids), (wide["key_start"], wide["value_start"], wide["values"])
    _keep(*ids, *places, owner, known, visible, values, ranked, width, kept)
    lists = make_lists(visible[ranked], values[ranked], *_only(ranked, sizes, offsets), kept, width)
    cycles = interval_cycles(replace(params, input_width=width), visible, sizes, offsets)
    return _selections(cycles, visible, sizes, offsets, lists)


def no_lists() -> Lists:
    """Lists of an engine that has none."""
    none = np.zeros(0, np.int64)
    return make_lists(none, none, none, np.zeros(1, np.int64), np.zeros(0, np.uint8), 1)


def _selections(cycles: Ints, n: Ints, sizes: Ints, offsets: Ints, lists: Lists | None = None) -> Selections:
    passes = np.diff(offsets)
    elements = (segment_sums(sizes, offsets) + n) * (passes > 0)
    return Selections(passes=passes, elements=elements, cycles=cycles, lists=lists or no_lists())


def _passes(workload: Workload, start: npt.NDArray[Any], count: Ints) -> tuple[Ints, Ints]:
    """Sizes of all passes of a list of selections, and their offsets."""
    offsets = offsets_of(count)
    index = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count) + np.repeat(start.astype(np.int64), count)
    return workload.passes["size"][index].astype(np.int64), offsets


def _only(chosen: Bools, sizes: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """The passes of the chosen selections."""
    count = np.diff(offsets)
    return sizes[np.repeat(chosen, count)], offsets_of(count[chosen])


@kernel
def _keep(
    key_ids: npt.NDArray[np.uint32], value_ids: npt.NDArray[np.uint32], key_start: Ints, value_start: Ints, union: Ints,
    owner: Ints, known: Bools, visible: Ints, values: Ints, ranked: Bools, width: int, kept: Bytes,
) -> None:  # fmt: skip
    """Elements kept of each beat: as the ids of a row with one query say, else spread evenly over the list."""
    beat = 0
    for query in range(len(owner)):
        if not ranked[query]:
            continue
        row, n, k = owner[query], visible[query], values[query]
        place, end = value_start[row], value_start[row] + union[row]
        for element in range(n):
            if known[row]:
                keeps = place < end and value_ids[place] == key_ids[key_start[row] + element]
                place += keeps
            else:
                keeps = (element + 1) * k // n > element * k // n
            kept[beat + element // width] += keeps
        beat += -(-n // width)
