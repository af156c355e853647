"""What is drawn: nested ids with the newest token, values that a selection keeps, pass lists that lead to k."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import released_csv as csv
from sparcade.errors import ConfigError
from sparcade.workload import Workload, import_csv
from sparcade.workload.drawing import StepDraw, stream


def read(folder: Path, text: str, seed: int = 0) -> Workload:
    (folder / "w.csv").write_bytes(text.encode())
    return import_csv(folder / "w.csv", seed)


def leads_to(passes: list[tuple[int, int, int]], n: int, k: int) -> bool:
    """Whether a pass list is a quick-select of the k-th largest of n: each list is the right part of the one before."""
    size, target = n, k
    for index, (length, greater, equal) in enumerate(passes):
        if length != size or greater + equal > size:
            return False
        if greater < target <= greater + equal:
            return index == len(passes) - 1
        if greater >= target:
            size = greater
        else:
            size, target = size - greater - equal, target - greater - equal
    return False


@settings(max_examples=100)
@given(text=csv.files())
def test_ids_and_pass_lists(text: str, tmp_path: Path) -> None:
    workload = read(tmp_path, text, seed=3)
    rows, queries, passes = workload.rows, workload.queries, workload.passes.tolist()
    largest: dict[int, list[set[int]]] = {}
    for row, query in zip(rows, queries, strict=True):
        keys = workload.key_ids[row["key_start"] :][: row["keys"]].tolist()
        values = workload.value_ids[row["value_start"] :][: row["values"]].tolist()
        assert keys == sorted(set(keys))
        assert row["context"] - 1 in keys
        assert set(values) <= set(keys)
        largest.setdefault(int(row["step"]), []).append(set(keys))
        found = passes[query["pass_start"] :][: query["passes"]]
        assert leads_to(found, len(keys), len(values)) if len(values) < len(keys) else not found
        found = passes[row["token_pass_start"] :][: row["token_passes"]]
        assert leads_to(found, row["token_n"], row["token_k"]) if row["token_n"] else not found
    for sets in largest.values():
        ordered = sorted(sets, key=len)
        assert all(small <= large for small, large in pairwise(ordered))


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    text = csv.text(*csv.two_layers())
    first, same, other = (read(tmp_path, text, seed) for seed in (5, 5, 6))
    for workload, name in ((first, "a"), (same, "b")):
        workload.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert first.key_ids.tolist() != other.key_ids.tolist()
    assert first.passes.tolist() != other.passes.tolist()


def test_a_step_does_not_depend_on_the_steps_beside_it(tmp_path: Path) -> None:
    """A file of the last iteration alone draws the same ids and the same local selections for it."""
    rows = csv.two_layers()
    whole, part = read(tmp_path, csv.text(*rows)), read(tmp_path, csv.text(*rows[4:]))
    count = len(part.key_ids)
    assert whole.key_ids[-count:].tolist() == part.key_ids.tolist()
    assert whole.value_ids[-len(part.value_ids) :].tolist() == part.value_ids.tolist()
    assert whole.passes[-len(part.passes) :].tolist() == part.passes.tolist()


def test_ids_are_uniform() -> None:
    """Every older token is among the n as often as another: within five standard deviations over 4,000 steps."""
    steps, context, n = 4000, 20, 6
    counts = np.zeros(context, np.int64)
    for step in range(steps):
        counts[StepDraw(context, stream(0, step)).tokens(n)] += 1
    share = (n - 1) / (context - 1)
    assert counts[-1] == steps
    assert (abs(counts[:-1] - steps * share) < 5 * np.sqrt(steps * share * (1 - share))).all()


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        stream(seed, 1)
