"""Fronts, best points and main effects against brute force, on random frames."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparcade.errors import ConfigError, SweepError
from sparcade.sweep import (
    best_points,
    factors,
    is_grid,
    load_sweep,
    main_effects,
    objectives_of,
    pareto_fronts,
    point_of,
    points_of,
    read_sweep,
    run_sweep,
    swings,
)
from sparcade.sweep.table import read_definition, unfinished
from sweep_support import POINTS, SWEEP, quick

AXES = {"topk.lanes": [1, 2, 4], "topk.engine": ["quick-select", "radix-select"]}
OBJECTIVES = {"cycles": "min", "output_cosine": "max"}


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table as `read_sweep` gives it, of a few columns."""
    names = ["key", "workload", "arch", "policy", *AXES, "status", "error", "cycles", "output_cosine"]
    table = pd.DataFrame([{"key": f"{index:064x}", "arch": "spatten", **row} for index, row in enumerate(rows)])
    table = table.reindex(columns=names)
    for name in ("key", "workload", "arch", "policy", "status", "error"):
        table[name] = table[name].astype("string")
    return table.astype({"cycles": "Int64", "output_cosine": "Float64"})


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "workload": st.sampled_from(["a", "b"]),
                    "policy": st.sampled_from(["spatten", "dense"]),
                    **{name: st.sampled_from(values) for name, values in AXES.items()},
                    "status": st.sampled_from(["done", "done", "done", "failed"]),
                    "cycles": st.integers(1, 9),
                    "output_cosine": st.one_of(st.none(), st.integers(0, 4).map(lambda value: value / 4)),
                }
            ),
            min_size=1,
            max_size=20,
        )
    )
    for row in rows:
        if row["status"] == "failed":
            row.update(cycles=None, output_cosine=None)
    return frame_of(rows)


def value(row: Any, name: str) -> float:
    return float("nan") if pd.isna(row[name]) else float(row[name])


def present(rows: list[dict[str, Any]]) -> list[str]:
    return [name for name in OBJECTIVES if any(not math.isnan(value(row, name)) for row in rows)]


def brute_front(rows: list[dict[str, Any]]) -> list[str]:
    names = present(rows)
    whole = [row for row in rows if names and not any(math.isnan(value(row, name)) for name in names)]
    sign = {"cycles": 1, "output_cosine": -1}

    def beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
        pairs = [(sign[name] * value(one, name), sign[name] * value(other, name)) for name in names]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return [row["key"] for row in whole if not any(beats(other, row) for other in whole)]


@settings(max_examples=50)
@given(frames())
def test_each_workload_has_the_front_of_brute_force(frame: pd.DataFrame) -> None:
    rows = frame.to_dict("records")
    expected = {key for workload in "ab" for key in brute_front([row for row in rows if row["workload"] == workload])}
    found = pareto_fronts(frame, OBJECTIVES)["key"].tolist()
    assert found == [key for key in frame["key"] if key in expected]


@settings(max_examples=50)
@given(frames())
def test_the_best_points(frame: pd.DataFrame) -> None:
    best = best_points(frame, OBJECTIVES)
    for workload in "ab":
        rows = [row for row in frame.to_dict("records") if row["workload"] == workload]
        found = {row["best"]: row for row in best.to_dict("records") if row["workload"] == workload}
        names = present(rows)
        front = [row for row in rows if row["key"] in brute_front(rows)]
        assert list(found) == [*names, *(["compromise"] if len(names) == 2 and front else [])]
        for name in names:
            values = [value(row, name) for row in rows if not math.isnan(value(row, name))]
            target = min(values) if OBJECTIVES[name] == "min" else max(values)
            assert value(found[name], name) == target
            assert found[name]["equals"] == values.count(target)
            if len(front) and not any(math.isnan(value(found[name], other)) for other in names):
                assert found[name]["key"] in [row["key"] for row in front]
        if "compromise" in found:
            lows = {name: min(value(row, name) for row in front) for name in names}
            highs = {name: max(value(row, name) for row in front) for name in names}
            distances = []
            for row in front:
                cycles = (value(row, "cycles") - lows["cycles"]) / ((highs["cycles"] - lows["cycles"]) or 1)
                cosine = (highs["output_cosine"] - value(row, "output_cosine")) / (
                    (highs["output_cosine"] - lows["output_cosine"]) or 1
                )
                distances.append(math.hypot(cycles, cosine))
            chosen = [row["key"] for row in front].index(found["compromise"]["key"])
            assert distances[chosen] == pytest.approx(min(distances))


def test_ties_go_to_the_other_objectives_then_to_the_order() -> None:
    cells = [(5, 0.5), (3, 0.2), (3, 0.9), (3, 0.9), (4, 1.0)]
    frame = frame_of(
        [{"workload": "a", "status": "done", "cycles": cycles, "output_cosine": cosine} for cycles, cosine in cells]
    )
    best = best_points(frame, OBJECTIVES).set_index("best")
    assert int(best.loc["cycles", "key"], 16) == 2
    assert best.loc["cycles", "equals"] == 3
    assert int(best.loc["output_cosine", "key"], 16) == 4
    assert best.loc["output_cosine", "equals"] == 1


def quantile(values: list[float], share: float) -> float:
    """Linear interpolation between order statistics."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = math.floor(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


@settings(max_examples=50)
@given(frames())
def test_main_effects_are_those_of_brute_force(frame: pd.DataFrame) -> None:
    effects = main_effects(frame, ["cycles", "output_cosine"])
    rows = [row for row in frame.to_dict("records") if row["status"] == "done"]
    expected = {}
    for metric, factor in itertools.product(("cycles", "output_cosine"), factors(frame)):
        for workload, level in itertools.product("ab", {row[factor] for row in rows}):
            values = [
                value(row, metric)
                for row in rows
                if row["workload"] == workload and row[factor] == level and not math.isnan(value(row, metric))
            ]
            if values:
                expected[metric, factor, workload, str(level)] = (
                    len(values),
                    statistics.fmean(values),
                    *(quantile(values, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
                )
    names = ["points", "mean", "min", "q25", "median", "q75", "max"]
    found = {
        (row["metric"], row["factor"], row["workload"], row["value"]): tuple(row[name] for name in names)
        for row in effects.to_dict("records")
    }
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        assert found[key] == pytest.approx(numbers, rel=1e-12)
    assert len(found) == len(effects)


def test_factors_are_what_varies_within_a_workload() -> None:
    rows = [
        {"workload": workload, "policy": policy, "topk.lanes": lanes, "status": "done", "cycles": 1}
        for workload, policy in (("a", "spatten"), ("b", "spatten-encoder"))
        for lanes in (1, 2)
    ]
    assert factors(frame_of(rows)) == ["workload", "topk.lanes"]
    assert factors(frame_of(rows[:2])) == ["topk.lanes"]


def grid() -> list[dict[str, Any]]:
    return [
        {
            "workload": "a",
            "status": "done",
            "cycles": 10 * lanes + len(engine),
            "topk.lanes": lanes,
            "topk.engine": engine,
        }
        for lanes, engine in itertools.product(*AXES.values())
    ]


def test_a_grid_and_its_swings() -> None:
    frame = frame_of(grid())
    assert is_grid(frame)
    found = swings(main_effects(frame, ["cycles"]))
    assert found["factor"].tolist() == ["topk.lanes", "topk.engine"]
    assert found["swing"][1] == 0  # both names have twelve letters
    means = [10 * lanes + 12 for lanes in (1, 2, 4)]
    assert found["swing"][0] == pytest.approx(30 / statistics.fmean(means))


@pytest.mark.parametrize("spoil", ["failed", "missing", "twice"])
def test_gaps_are_no_grid(spoil: str) -> None:
    rows = grid()
    if spoil == "failed":
        rows[1].update(status="failed", cycles=None)
    elif spoil == "missing":
        del rows[1]
    else:
        rows[1] = rows[0]
    assert not is_grid(frame_of(rows))


def test_a_long_axis_is_divided_into_intervals() -> None:
    rows = [{"workload": "a", "status": "done", "topk.lanes": lanes, "cycles": lanes} for lanes in range(81)]
    effects = main_effects(frame_of(rows), ["cycles"])
    assert effects["value"].tolist()[:2] == ["0 to 10", "10 to 20"]
    assert effects["at"].tolist() == [5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 75.0]
    assert effects["points"].tolist() == [10] * 7 + [11]
    assert effects["max"].tolist() == [9, 19, 29, 39, 49, 59, 69, 80]


def test_numbers_rise_and_fractions_are_numbers() -> None:
    rows = [{"workload": "a", "status": "done", "policy": "p", "cycles": 1}] * 3
    frame = frame_of(rows).assign(**{"topk.lanes": ["1/2", "0.25", "1"]})
    effects = main_effects(frame, ["cycles"])
    assert effects["value"].tolist() == ["0.25", "1/2", "1"]
    assert effects["at"].tolist() == [0.25, 0.5, 1.0]


def test_no_such_metric() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cycles'"):
        main_effects(frame_of(grid()), ["cycle"])


def test_the_result_of_a_sweep_gives_them(tmp_path: Any) -> None:
    result = run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick)
    assert result.best()["cycles"].tolist() == [result.frame["cycles"].min()]
    assert len(result.pareto()) == 1
    effects = result.effects()
    assert set(effects["factor"]) == {"topk.lanes", "clock_ghz", "k_phases"}
    for row in effects.to_dict("records"):
        same = result.frame[result.frame[row["factor"]] == row["at"]]["cycles"].to_numpy(float)
        assert row["points"] == len(same)
        assert row["mean"] == pytest.approx(np.mean(same))


def test_default_objectives_are_those_with_values() -> None:
    frame = frame_of(grid()).assign(energy_total_joules=1.0, bytes_moved=None)
    sweep = load_sweep({"workloads": "small"})
    assert objectives_of(sweep, frame) == {"cycles": "min", "energy_total_joules": "min"}
    stated = load_sweep({"workloads": "small", "objectives": {"energy_total_joules": "max", "cycles": "min"}})
    assert list(objectives_of(stated, frame).items()) == [("energy_total_joules", "max"), ("cycles", "min")]


MIXED: dict[str, Any] = {
    "workloads": ["minilm", "gpt2-tiny"],
    "arch": ["spatten", "spatten-eighth"],
    "policy": ["dense", "spatten"],
    "compare": "dense",
    "set": {"clock_ghz": 1.0},
    "constraints": ["topk.lanes > 1"],
    "axes": {
        "topk.lanes": [8, 1, 4],
        "policy.tokens.end": [1, 0.5, "1/3"],
        "policy.bits": [8, 12],
        "gqa_share": [True, False],
    },
}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_row_finds_its_point_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "csv":
        monkeypatch.setattr("sparcade.sweep.table.find_spec", lambda name: None)
    else:
        pytest.importorskip("pyarrow")
    result = run_sweep(MIXED, out=tmp_path, workers=1, measure=quick)
    assert result.table.suffix == f".{kind}"
    frame, sweep = read_sweep(tmp_path), read_definition(tmp_path)
    by_key = {point.key: point for point in points_of(load_sweep(MIXED))}
    assert len(frame) == len(by_key)
    for row in frame.iloc[::17].to_dict("records"):
        assert point_of(sweep, row).command == by_key[row["key"]].command


def test_a_sampled_row_finds_its_point_again(tmp_path: Any) -> None:
    sampled = SWEEP | {
        "axes": {
            "clock_ghz": [1.0, 0.5],
            "topk.lanes": {"linear": [1, 8]},
            "dram.ideal.energy_pj_per_bit": {"linear": [1, 2.5]},
        },
        "method": "latin-hypercube",
        "samples": 12,
        "seed": 1,
    }
    result = run_sweep(sampled, out=tmp_path, workers=1, measure=quick)
    by_key = {point.key: point for point in result.points}
    for row in read_sweep(tmp_path).to_dict("records"):
        assert point_of(read_definition(tmp_path), row).command == by_key[row["key"]].command


def test_a_row_whose_files_changed_is_refused(tmp_path: Any) -> None:
    frame = run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick).frame
    row = frame.iloc[0].to_dict() | {"key": "f" * 64}
    with pytest.raises(SweepError, match="another one now"):
        point_of(load_sweep(SWEEP), row)


def test_points_are_counted_without_resolving_them(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_sweep(SWEEP, out=tmp_path, workers=1, shard=(1, 2), measure=quick)
    with monkeypatch.context() as patch:
        patch.setattr("sparcade.sweep.table.points_in", None)
        assert unfinished(tmp_path) == (POINTS // 2, 0)
    (tmp_path / "points.json").unlink()
    assert unfinished(tmp_path) == (POINTS // 2, 0)


def test_the_folder_keeps_the_order_of_axes_and_objectives(tmp_path: Any) -> None:
    objectives = {"seconds": "min", "cycles": "min"}
    result = run_sweep(SWEEP | {"objectives": objectives}, out=tmp_path, workers=1, measure=quick)
    (tmp_path / "points.json").unlink()
    assert list(read_definition(tmp_path).objectives) == list(objectives)
    pd.testing.assert_frame_equal(read_sweep(tmp_path), result.frame)
