"""The sorter's stages sort, and its closed forms count them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sparcade.topk import TopKParams
from sparcade.topk.sorter import alone_cycles, sort_cycles, sorter_stages, stage_pairs, two_lists_cycles


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_the_stages_sort_all_lists_of_zeros_and_ones(size: int) -> None:
    """So they sort every list (0-1 principle)."""
    lists = np.array(list(itertools.product([0, 1], repeat=size)))
    for p, k in sorter_stages(size):
        lower = stage_pairs(size, p, k)
        low, high = lists[:, lower], lists[:, lower + k]
        lists[:, lower], lists[:, lower + k] = np.maximum(low, high), np.minimum(low, high)
    assert (np.diff(lists) <= 0).all()


@pytest.mark.parametrize(("size", "stages", "exchanges"), [(16, 10, 63), (1024, 55, 24_063)])
def test_stages_and_exchanges_are_batchers(size: int, stages: int, exchanges: int) -> None:
    each = [len(stage_pairs(size, p, k)) for p, k in sorter_stages(size)]
    assert (len(each), sum(each)) == (stages, exchanges)


def test_cycles_of_a_worked_example() -> None:
    """8 elements in rows of 2, stages (1, 1) (2, 2) (2, 1) (4, 4) (4, 2) (4, 1).

    4 rows each, 2 in (4, 2); all are written before (4, 4), before (4, 2) as its rows are 4 elements apart, and at the
    end.
    """
    params = TopKParams(lanes=1, input_width=2, capacity=32)
    sort = 6 + 6 + (4 + 5) + (4 + 5) + 6 + (4 + 5)
    assert int(sort_cycles(params, 8)) == sort
    assert [int(cycle) for cycle in alone_cycles(params, 7, 5)] == [sort + 6, sort + 6 + 2]
    assert int(two_lists_cycles(params, 8, 8)) == 2 * (sort + 2)


def test_cycles_of_arrays_are_those_of_their_elements() -> None:
    params = TopKParams(lanes=16, capacity=1024)
    n = np.arange(1, 1025)
    k = n[::-1] - 1
    for form in (alone_cycles, two_lists_cycles):
        whole = np.array(form(params, n, k))
        assert (whole[..., 299] == np.array(form(params, 300, 724))).all()
    assert (np.diff(sort_cycles(params, n)) >= 0).all()
