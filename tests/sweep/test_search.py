"""Rounds: Optuna's suggestions and the skip of dominated points; the same points whoever computes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparcade
from sparcade.energy import load_profile
from sparcade.errors import ConfigError
from sparcade.report.sweep_report import read_report
from sparcade.sweep import Point, load_sweep, points_of, run_sweep
from sparcade.sweep.metrics import BOUNDED, least, measure
from sparcade.sweep.scoring import beats, front_with
from sparcade.sweep.table import read_points, unfinished
from sweep_support import POINTS, SWEEP, forked_pool, lines, quick

SKIP: dict[str, Any] = {
    **SWEEP,
    "skip_dominated": True,
    "metrics": {"phases": "k_phases"},
    "objectives": {"cycles": "min", "phases": "max"},
}
SEARCH: dict[str, Any] = {**SWEEP, "method": "optuna", "samples": 40, "seed": 3, "round": 8}


def half(folder: Path, point: Point) -> dict[str, Any]:
    """A bound of `quick`."""
    return {"cycles": quick(folder, point)["cycles"] // 2}


def run(tables: dict[str, Any], out: Path, **options: Any) -> Any:
    return run_sweep(tables, out=out, **{"workers": 1, "measure": quick, "least": half} | options)


def test_the_front_is_that_of_the_whole_sweep(tmp_path: Path) -> None:
    whole = run(SKIP | {"skip_dominated": False}, tmp_path / "whole")
    part = run(SKIP, tmp_path / "part")
    assert (whole.computed, whole.skipped) == (POINTS, 0)
    assert part.computed + part.skipped == POINTS
    assert part.computed == len(part.frame) < POINTS * 3 // 4
    pd.testing.assert_frame_equal(part.pareto().reset_index(drop=True), whole.pareto().reset_index(drop=True))
    assert unfinished(tmp_path / "part") == (0, part.skipped)
    assert f"{part.skipped} skipped (dominated)" in read_report(tmp_path / "part").headline


def test_a_skipped_point_is_beaten_by_one_that_was_computed(tmp_path: Path) -> None:
    result = run(SKIP, tmp_path)
    scoring = load_sweep(SKIP).scoring
    done = [scoring.costs({"cycles": row["cycles"], "phases": row["k_phases"]}) for _, row in result.frame.iterrows()]
    skipped = [point for point in result.points if point.key not in set(result.frame["key"])]
    assert len(skipped) == result.skipped
    for point in skipped:
        bound = scoring.costs({**half(tmp_path, point), "phases": point.values["k_phases"]})
        assert bound is not None
        assert any(beats(costs, bound) for costs in done if costs is not None)


@pytest.mark.parametrize("tables", [SKIP, SEARCH, SEARCH | {"skip_dominated": True, "objectives": {"cycles": "min"}}])
def test_the_same_points_whoever_computes_them(tmp_path: Path, tables: dict[str, Any]) -> None:
    first = run(tables, tmp_path / "1")
    with forked_pool(3) as processes, ThreadPoolExecutor(4) as threads:
        others = [
            run(tables, tmp_path / "3", executor=processes),
            run(tables, tmp_path / "t", executor=threads, chunk=3),
        ]
    for other in others:
        pd.testing.assert_frame_equal(other.frame, first.frame)
    again = run(tables, tmp_path / "1")
    assert (again.computed, again.skipped) == (0, first.skipped)
    pd.testing.assert_frame_equal(again.frame, first.frame)
    shard = next((tmp_path / "1" / "shards").iterdir())
    shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[:7]))  # all but seven are lost
    pd.testing.assert_frame_equal(run(tables, tmp_path / "1").frame, first.frame)
    (tmp_path / "1" / "points.json").unlink()
    pd.testing.assert_frame_equal(sparcade.read_sweep(tmp_path / "1"), first.frame)
    finished = set(first.frame["key"])
    assert [point.key for point in read_points(tmp_path / "1") if point.key in finished] == list(first.frame["key"])


def slope(folder: Path, point: Point) -> dict[str, Any]:
    """Least at the far end of every axis."""
    return {"cycles": int(1000 / point.values["clock_ghz"]) + 10 * abs(point.values["k_phases"] - 700)}


def test_optuna_finds_what_random_sampling_does_not(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "workloads": "small",
        "axes": {"clock_ghz": {"linear": [0.5, 2.0]}, "k_phases": {"linear": [1, 4000]}},
        "objectives": {"cycles": "min"},
        "samples": 80,
        "seed": 1,
    }
    found = [
        run_sweep(tables | {"method": method}, out=tmp_path / method, workers=1, measure=slope).frame["cycles"].min()
        for method in ("optuna", "random")
    ]
    assert found[0] < found[1]
    assert len(lines(tmp_path / "optuna")) <= 80


def fails(folder: Path, point: Point) -> dict[str, Any]:
    if point.values["clock_ghz"] > 1:
        raise ValueError("too fast")
    return quick(folder, point)


def test_optuna_lives_with_constraints_and_failures(tmp_path: Path) -> None:
    result = run_sweep(SEARCH | {"constraints": ["topk.lanes > 1"]}, out=tmp_path, workers=1, measure=fails)
    assert 0 < len(result.failed) < len(result.frame) <= 40
    assert (result.frame["topk.lanes"] > 1).all()
    assert result.points == tuple(read_points(tmp_path))
    nothing = SEARCH | {"constraints": ["topk.lanes > 99"]}
    with pytest.raises(ConfigError, match="a constraint removes every point"):
        run_sweep(nothing, out=tmp_path / "none", workers=1, measure=quick)
    assert not (tmp_path / "none" / "shards").exists()


def test_optuna_takes_every_kind_of_axis(tmp_path: Path) -> None:
    axes = {"topk.engine": ["quick-select", "radix-select"], "layers_overlap": [True, False], "clock_ghz": [1.0]}
    tables = SEARCH | {"axes": axes, "arch": ["spatten", "spatten-eighth"]}
    tables["objectives"] = {"cycles": "min", "seconds": "max"}
    result = run_sweep(tables, out=tmp_path, workers=1, measure=quick)
    for name in ("arch", "topk.engine", "layers_overlap"):
        assert len(set(result.frame[name])) == 2


def test_bounds_of_real_points_hold(tmp_path: Path) -> None:
    sparcade.synthesize(
        tmp_path / "t", seed=1, prompt_tokens=12, decode_steps=3, layers=2, heads=2, kv_heads=1, head_dim=8
    )
    trace = sparcade.AttentionTrace.load(tmp_path / "t")
    workload = sparcade.apply(trace, sparcade.load_policy("spatten")).workload
    for settings in ([], ["dram.channels=2"], ["layout=packed"], ["multipliers=64"], ["dram.kind=ideal"]):
        arch = sparcade.load_arch("spatten", settings)
        profile = load_profile()
        bound, run = least(workload, {}, arch, profile), measure(workload, {}, arch, None, profile)
        assert {name for name in BOUNDED if bound[name] > run[name]} == set()
        assert bound["kv_bits_needed"] == run["kv_bits_needed"]
        assert bound["energy_total_joules"] > 0
        assert bound["cycles"] > 0


def test_real_points_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sparcade.synthesize("t", seed=1, prompt_tokens=96, decode_steps=1, layers=2, heads=2, kv_heads=1, head_dim=16)
    tables = {
        "workloads": "t",
        "axes": {"multipliers": {"log2": [16, 1024]}, "topk.lanes": {"log2": [1, 8]}},
        "objectives": {"cycles": "min"},
    }
    whole = run_sweep(tables, out="whole", workers=1)
    part = run_sweep(tables | {"skip_dominated": True, "round": 4}, out="part", workers=1)
    assert part.skipped > 0
    assert part.frame["cycles"].min() == whole.frame["cycles"].min()


COSTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=12)


@given(COSTS, COSTS)
def test_a_front_grows_to_the_front_of_all(first: list[Any], more: list[Any]) -> None:
    front = front_with(front_with((), first), more)
    every = {costs for costs in [*first, *more] if not any(beats(other, costs) for other in [*first, *more])}
    assert set(front) == every
    assert len(front) == len(every)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "objective without a bound": (SKIP | {"objectives": {"speedup": "max"}}, "has no bound before the run"),
    "a bound of the wrong side": (SKIP | {"objectives": {"cycles": "max"}}, "has no bound before the run"),
    "derived of a bound": (
        SKIP | {"metrics": {"phases": "cycles"}, "objectives": {"phases": "min"}}, "has no bound before the run",
    ),
    "no objective": ({**SKIP, "objectives": {}}, "objectives that say what is better"),
    "no objective for optuna": ({**SEARCH, "objectives": {}}, "objectives for optuna"),
    "not true": (SKIP | {"skip_dominated": "yes"}, "true or false"),
    "round": (SKIP | {"round": 0}, "an integer in 1..1,000,000"),
    "round of a grid": (SWEEP | {"round": 4}, "a round only where"),
    "no samples": ({key: value for key, value in SEARCH.items() if key != "samples"}, "needs 'samples'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_definition(name: str) -> None:
    tables, words = BAD[name]
    with pytest.raises(ConfigError) as caught:
        load_sweep(tables)
    assert words in str(caught.value)


@pytest.mark.parametrize("tables", [SKIP, SEARCH])
def test_no_part_of_a_sweep_that_looks_at_all(tmp_path: Path, tables: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="depends on all that was found"):
        run(tables, tmp_path, shard=(1, 2))


def test_optuna_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'sparcade\[sweep\]'"):
        run(SEARCH, tmp_path)


def test_keys_do_not_know_the_method() -> None:
    assert [point.key for point in points_of(load_sweep(SWEEP))] == [point.key for point in points_of(load_sweep(SKIP))]
