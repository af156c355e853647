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


def make_lists(
    params: TopKParams, sizes: Ints, keep: Ints, pass_sizes: Ints, offsets: Ints, kept: Ints, width: int
) -> Lists:
    """Lists with the passes of a quick-select; an engine of another kind makes its own of them.

    Parameters
    ----------
    kept : [beats of all lists] elements kept of each beat of `width` elements.
    """
    beats = kept.astype(np.uint8)
    beats[np.cumsum(-(-sizes // width))[sizes > 0] - 1] |= LAST
    if params.engine == "radix-select":
        passes = np.where((keep > 0) & (keep < sizes), params.digits, 0)
        pass_sizes, offsets = np.repeat(sizes, passes), np.concatenate([np.zeros(1, np.int64), np.cumsum(passes)])
    return Lists(sizes, keep, pass_sizes, offsets, beats)


def describe(params: TopKParams, lists: list[tuple[Ints, int]]) -> Lists:
    """Lists of (scores, k)."""
    passes, kept = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for scores, k in lists:
        selection = select(np.asarray(scores, np.int64), k, params.score_bits)
        passes.append(selection.passes[:, 0])
        beats = -(-len(scores) // params.input_width)
        kept.append(np.bincount(selection.kept // params.input_width, minlength=beats))
    return make_lists(
        params,
        np.array([len(scores) for scores, _ in lists], np.int64),
        np.array([k for _, k in lists], np.int64),
        np.concatenate(passes),
        np.cumsum([0, *(len(one) for one in passes[1:])]),
        np.concatenate(kept),
        params.input_width,
    )
