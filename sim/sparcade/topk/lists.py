"""Lists to select from, as the control of an engine sees them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade.topk.params import TopKParams
from sparcade.topk.selection import select

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

#: Set in `Lists.beats` for the last beat of a list.
LAST = 0x80


class Lists(NamedTuple):
    """Lists for an engine, in order."""

    sizes: Ints  #: [lists] elements
    keep: Ints  #: [lists] k
    pass_sizes: Ints  #: [sum of passes] list length of each pass
    offsets: Ints  #: [lists + 1] where each list's passes begin
    beats: Bytes  #: [beats of all lists] elements kept of each beat, and LAST in the last of a list


def offsets_of(counts: Ints) -> Ints:
    """[n + 1] where each of n segments of those lengths begins, and the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def segment_sums(values: Ints, offsets: Ints) -> Ints:
    """[n] sum of the values of each segment."""
    total = offsets_of(values)
    sums: Ints = total[offsets[1:]] - total[offsets[:-1]]
    return sums


def make_lists(sizes: Ints, keep: Ints, pass_sizes: Ints, offsets: Ints, kept: Bytes, width: int) -> Lists:
    """Lists with the elements kept of each beat: [beats of all lists] of `width` elements."""
    beats = kept.copy()
    beats[np.cumsum(-(-sizes // width))[sizes > 0] - 1] |= LAST
    return Lists(sizes, keep, pass_sizes, offsets, beats)


def engine_passes(params: TopKParams, sizes: Ints, pass_sizes: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """The passes (sizes and offsets) that an engine needs where a quick-select needs those given.

    `radix-select` reads the whole list once per digit.
    """
    if params.engine != "radix-select":
        return pass_sizes, offsets
    passes = np.where(np.diff(offsets) > 0, params.digits, 0)
    return np.repeat(sizes, passes), offsets_of(passes)


def describe(params: TopKParams, lists: list[tuple[Ints, int]]) -> Lists:
    """Lists of (scores, k)."""
    passes, kept = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for scores, k in lists:
        selection = select(np.asarray(scores, np.int64), k, params.score_bits)
        passes.append(selection.passes[:, 0])
        beats = -(-len(scores) // params.input_width)
        kept.append(np.bincount(selection.kept // params.input_width, minlength=beats))
    sizes = np.array([len(scores) for scores, _ in lists], np.int64)
    offsets = offsets_of(np.array([len(one) for one in passes[1:]], np.int64))
    return make_lists(
        sizes,
        np.array([k for _, k in lists], np.int64),
        *engine_passes(params, sizes, np.concatenate(passes), offsets),
        np.concatenate(kept).astype(np.uint8),
        params.input_width,
    )
