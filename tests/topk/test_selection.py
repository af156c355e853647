"""Top-k against a stable sort, its pass list, and the closed forms of the engines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparcade.topk import TopKParams, most_passes, select
from sparcade.topk.cycles import alone_cycles, interval_cycles
from sparcade.topk.lists import engine_passes
from sparcade.topk.released import released_passes, released_search

few_values = st.lists(st.integers(0, 3), min_size=1, max_size=60)
any_values = st.lists(st.integers(0, 4095), min_size=1, max_size=60)


@given(few_values | any_values, st.integers(0, 70))
def test_selection_is_the_stable_top_k_in_order(scores: list[int], k: int) -> None:
    array = np.array(scores)
    kept = select(array, k, 12).kept
    want = np.sort(np.argsort(-array, kind="stable")[:k])
    assert kept.tolist() == want.tolist()


@given(few_values | any_values, st.integers(1, 70))
def test_pass_lists_add_up_and_are_bounded(scores: list[int], k: int) -> None:
    passes = select(np.array(scores), k, 12).passes
    if k >= len(scores):
        assert len(passes) == 0
        return
    assert len(passes) <= most_passes(len(scores), 12)
    assert passes[0, 0] == len(scores)
    for (size, greater, equal), (following, _, _) in itertools.pairwise(passes):
        assert following in (greater, size - greater - equal)
    size, greater, equal = passes[-1]
    assert greater + equal <= size


def test_the_worked_example_of_figure_9() -> None:
    """[.6 .1 .5 1.2 .6], k = 3: threshold .6, both equals kept."""
    result = select(np.array([6, 1, 5, 12, 6]), 3, 4)
    assert result.kept.tolist() == [0, 3, 4]
    assert result.passes.tolist() == [[5, 1, 2]]


@pytest.mark.parametrize("order", [1, -1])
def test_sorted_lists_do_not_take_quadratic_time(order: int) -> None:
    passes = select(np.arange(4096)[::order], 1, 12).passes
    assert passes[:, 0].sum() < 5 * 4096


def test_released_latency() -> None:
    sizes, offsets = np.array([100, 40]), np.array([0, 2, 2])
    assert released_search(TopKParams(engine="released-serial"), sizes, offsets).tolist() == [7 + 3 + 3 + 3, 0]


@pytest.mark.parametrize(("n", "k", "cycles"), [(1024, 512, 258), (1024, 307, 248), (921, 184, 212), (102, 20, 45)])
def test_the_released_search_has_the_mean_of_its_closed_form(n: int, k: int, cycles: int) -> None:
    """Passes: H(k) + H(n - k + 1) - 1, here k from 0. Cycles: a Monte Carlo run of the release's latency model."""
    many = 4000
    sizes, offsets = released_passes(np.full(many, n), np.full(many, k))
    harmonic = np.cumsum(1 / np.arange(1, n + 2))
    assert len(sizes) / many == pytest.approx(harmonic[k] + harmonic[n - k - 1] - 1, rel=0.02)
    found = released_search(TopKParams(engine="released-serial"), sizes, offsets)
    assert found.mean() == pytest.approx(cycles, rel=0.02)
    assert (sizes[offsets[:-1]] == n).all()


def test_the_released_search_of_a_kept_list_has_no_pass() -> None:
    sizes, offsets = released_passes(np.array([0, 5, 7]), np.array([3, 5, 2]))
    assert offsets.tolist()[:3] == [0, 0, 0]
    assert sizes[0] == 7


def test_radix_select_reads_the_whole_list_once_a_digit() -> None:
    params = TopKParams(engine="radix-select", score_bits=12, radix_bits=5)
    sizes, offsets = engine_passes(params, np.array([100, 50]), np.array([100, 40]), np.array([0, 2, 2]))
    assert sizes.tolist() == [100, 100, 100] and offsets.tolist() == [0, 3, 3]


def test_closed_forms() -> None:
    """100 candidates, passes of 100 and 40, 16 lanes: 7 + 3 rows, 5 cycles behind each; 13 beats of 8."""
    sizes, passes, offsets = np.array([100]), np.array([100, 40]), np.array([0, 2])
    assert interval_cycles(TopKParams(), sizes, passes, offsets).tolist() == [7 + 5 + 3 + 5]
    assert interval_cycles(TopKParams(input_width=1), sizes, passes, offsets).tolist() == [100]
    last_read = 13  # of the first pass: a cycle behind the last of 13 beats, the first being cycle 0
    assert alone_cycles(TopKParams(), sizes, passes, offsets).tolist() == [last_read + 5 + 3 + 5 + 13 + 6 + 1]
