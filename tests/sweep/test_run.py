"""Runs of a sweep: what a point measures, what is computed again, what the table holds."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sparcade
from sparcade.cli import main
from sparcade.errors import SweepError, WorkloadError
from sparcade.sweep import Point, Progress, progress_line, replays, run_sweep
from sparcade.sweep.metrics import METRICS
from sparcade.sweep.store import Claims, done_line
from sweep_support import POINTS, SWEEP, lines, quick

REAL: dict[str, Any] = {
    "workloads": "trace",
    "policy": ["spatten", "dense"],
    "compare": "dense",
    "axes": {"dram.channels": [4, 8], "policy.bits": [8, 12]},
    "metrics": {"edp": "energy_total_joules * seconds", "nothing": "edp / (decode_cycles - decode_cycles)"},
    "objectives": {"edp": "min", "output_cosine": "max"},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a small decoder trace."""
    monkeypatch.chdir(tmp_path)
    sparcade.synthesize(
        tmp_path / "trace", seed=1, prompt_tokens=12, decode_steps=3, layers=2, heads=2, kv_heads=1, head_dim=8
    )
    return tmp_path


def test_a_point_measures_what_a_run_reports(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[str] = []

    def counted(trace: Any, policy: Any) -> Any:
        applied.append(policy.config.name)
        return sparcade.apply(trace, policy)

    monkeypatch.setattr(replays, "apply", counted)
    result = sparcade.sweep(REAL, out=place / "out", workers=1)
    assert result.computed == len(result.frame) == 8
    assert len(applied) == 4 + 1  # two policies at two widths, one of them the compared one, and the float model
    row = result.frame[(result.frame["dram.channels"] == 8) & (result.frame["policy.bits"] == 12)].iloc[0]
    evaluation = sparcade.evaluate(
        sparcade.AttentionTrace.load("trace"),
        sparcade.load_arch("spatten", ["dram.channels=8"]),
        policy=sparcade.load_policy("spatten"),
        compare=sparcade.load_policy("dense"),
    )
    report = evaluation.to_dict()
    total, compared = report["total"], report["comparison"]["total"]
    expected = {
        "cycles": total["counters"]["cycles"],
        "prefill_cycles": report["phases"]["prefill"]["counters"]["cycles"],
        "decode_cycles": report["phases"]["decode"]["counters"]["cycles"],
        **{f"energy_{part}_joules": joules for part, joules in total["energy_joules"].items()},
        **{f"bytes_moved_{kind}": moved for kind, moved in total["bytes_by_kind"].items()},
        **{f"bound_{name}_cycles": cycles for name, cycles in report["bounds"]["cycles"].items()},
        "bound_share": report["bounds"]["share"],
        "output_cosine_min": min(error["cosine_min"] for error in report["output_errors"]),
        "output_max_abs_error": max(error["max_abs_error"] for error in report["output_errors"]),
        "edp": total["energy_total_joules"] * total["seconds"],
        **{name: compared[name] for name in ("speedup", "energy_reduction", "baseline_cycles")},
        **{name: total[name] for name in METRICS if name in total},
    }
    assert {name: row[name] for name in expected} == expected
    assert pd.isna(row["nothing"])
    queries = sum(error["queries"] for error in report["output_errors"])
    mean = sum(error["cosine_mean"] * error["queries"] for error in report["output_errors"]) / queries
    assert row["output_cosine"] == pytest.approx(mean)
    front = result.pareto()
    assert 1 <= len(front) < 8
    assert front["edp"].min() == result.frame["edp"].min()


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    half = SWEEP | {"constraints": ["k_phases <= 5"]}
    assert run_sweep(half, out=tmp_path, workers=1, measure=quick).computed == POINTS // 2
    assert run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick).computed == POINTS // 2
    again = run_sweep(half, out=tmp_path, workers=1, measure=quick)
    assert (again.computed, len(again.frame)) == (0, POINTS // 2)
    parts = [run_sweep(SWEEP, out=tmp_path / "s", shard=(i, 3), workers=1, measure=quick).computed for i in (1, 2, 3)]
    assert parts == [POINTS // 3] * 3


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".parquet", ".csv")}


def test_tables_are_equal_for_any_number_of_workers(place: Path) -> None:
    executors: dict[str, tuple[int, Executor | None]] = {"1": (1, None), "2": (2, None), "4": (4, None)}
    with ThreadPoolExecutor(3) as threads:
        executors["threads"] = (1, threads)
        for name, (workers, executor) in executors.items():
            sparcade.sweep(REAL, out=place / name, workers=workers, executor=executor, chunk=3)
    first, *others = (tables(place / name) for name in executors)
    assert first
    assert all(other == first for other in others)


def test_csv_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick)
    monkeypatch.setattr("sparcade.sweep.table.find_spec", lambda name: None)
    after = run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick)
    assert list(tables(tmp_path)) == ["points.csv"]
    pd.testing.assert_frame_equal(before.frame, after.frame, check_dtype=False)
    assert after.frame["seconds"].tolist() == before.frame["seconds"].tolist()


def fails_at_first(folder: Path, point: Point) -> dict[str, Any]:
    if point.values["k_phases"] == 3 and not (folder / "mended").exists():
        raise WorkloadError("too long", where="here", expected="short", got="long", remedy="cut")
    return quick(folder, point)


def test_failed_points_are_kept_and_computed_again_on_demand(tmp_path: Path) -> None:
    failed = POINTS // 10
    first = run_sweep(SWEEP, out=tmp_path, workers=1, measure=fails_at_first)
    assert len(first.failed) == failed
    assert first.failed["error"].str.startswith("WorkloadError: too long").all()
    assert run_sweep(SWEEP, out=tmp_path, workers=1, measure=fails_at_first).computed == 0
    again = run_sweep(SWEEP, out=tmp_path, workers=1, retry=True, measure=fails_at_first)
    assert (again.computed, len(again.failed)) == (failed, failed)
    (tmp_path / "mended").touch()
    last = run_sweep(SWEEP, out=tmp_path, workers=1, retry=True, measure=fails_at_first)
    assert (last.computed, len(last.failed), len(last.frame)) == (failed, 0, POINTS)
    attempts = sorted(line["attempt"] for line in lines(tmp_path) if line["status"] == "failed")
    assert attempts == [1] * failed + [2] * failed


@pytest.mark.parametrize("tail", ['{"key":"', '{"key":"00","status":"done"}\n', "\0\0\0\n", '{"key"}\n'])
def test_a_torn_line_is_dropped_and_its_point_computed_again(tmp_path: Path, tail: str) -> None:
    whole = run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick)
    (shard,) = (tmp_path / "shards").iterdir()
    text = shard.read_bytes().splitlines(keepends=True)
    shard.write_bytes(b"".join(text[:-1]) + tail.encode())
    assert len(sparcade.read_sweep(tmp_path)) == POINTS - 1
    again = run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick)
    assert again.computed == 1
    pd.testing.assert_frame_equal(again.frame, whole.frame)


def test_equal_keys_that_differ_stop_the_sweep(tmp_path: Path) -> None:
    result = run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick)
    (tmp_path / "shards" / "other.jsonl").write_bytes(done_line(result.points[5].key, {"cycles": 1}))
    with pytest.raises(SweepError, match="two results of one point differ") as caught:
        run_sweep(SWEEP, out=tmp_path, workers=1, measure=quick)
    assert "other.jsonl and " in caught.value.where or " and other.jsonl" in caught.value.where
    assert result.points[5].key in caught.value.got


def test_claims_hold_between_threads(tmp_path: Path) -> None:
    claims, seen = Claims(tmp_path), []

    def other(key: str) -> None:
        with claims.claim(key) as mine:
            seen.append(mine)

    with claims.claim("a" * 64) as mine:
        assert mine
        for key in ("a" * 64, "b" * 64):
            thread = threading.Thread(target=other, args=[key])
            thread.start()
            thread.join()
    other("a" * 64)
    assert seen == [False, True, True]


def test_errors_keep_their_parts_between_processes() -> None:
    import pickle

    error = WorkloadError("what", where="w", expected="e", got="g", remedy="r")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.remedy) == (WorkloadError, str(error), "r")


def test_progress_is_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    show = progress_line(sys.stderr)
    show(Progress(total=100, done=10, failed=2, skipped=0, fresh=10, seconds=2.0, best="cycles 5"))
    show(Progress(total=100, done=11, failed=2, skipped=0, fresh=11, seconds=2.0, best="cycles 5"))
    show(Progress(total=100, done=98, failed=2, skipped=0, fresh=98, seconds=20.0, best=""))
    assert capsys.readouterr().err.splitlines() == [
        "10 of 100 done, 2 failed, 5.0/s, 18 s left, best cycles 5",
        "98 of 100 done, 2 failed, 4.9/s",
    ]


def test_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine.toml").write_text(
        'workloads = "trace"\n[axes]\ntopk.capacity = [4, 1024]\ntopk.lanes = [1, 4]\n[objectives]\ncycles = "min"\n'
    )
    assert main(["sweep", "mine.toml", "--workers", "1", "--shard", "1/2"]) == 1
    assert "2 of 4 points" in capsys.readouterr().out.replace("1 of 4", "2 of 4")
    assert main(["sweep", "mine.toml", "--workers", "1"]) == 1
    shown = capsys.readouterr().out
    assert "failed: workload=trace arch=spatten policy=spatten topk.capacity=4 topk.lanes=1" in shown
    assert "2 points failed; --retry" in shown
    assert "--set 'topk.capacity=1024' --set 'topk.lanes=4'" in shown
    assert main(["sweep", "mine.toml", "--shard", "3/2"]) == 2
    assert main(["sweep", "none.toml"]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_points_of_equal_content_are_computed_once_and_all_in_the_table(tmp_path: Path) -> None:
    preset = Path(sparcade.arch.__file__).parent / "presets" / "spatten.toml"
    (tmp_path / "same.toml").write_text(preset.read_text())
    tables = {"workloads": "small", "arch": ["spatten", str(tmp_path / "same.toml")], "axes": {"k_phases": [1, 2]}}
    result = run_sweep(tables, out=tmp_path / "out", workers=1, measure=quick)
    assert (result.computed, len(result.frame), len(result.points)) == (2, 4, 4)
    assert result.frame["cycles"].tolist()[:2] == result.frame["cycles"].tolist()[2:]


def test_a_folder_is_read_from_anywhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = Path(sparcade.arch.__file__).parent / "presets" / "spatten.toml"
    (place / "mine.toml").write_text(preset.read_text())
    tables = {"workloads": "trace", "arch": "mine.toml", "axes": {"k_phases": [2, 1], "dram.channels": [4, 8]}}
    before = run_sweep(tables, out="out", workers=1, measure=quick).frame
    (place / "out" / "points.json").unlink()
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    pd.testing.assert_frame_equal(sparcade.read_sweep("../out"), before)
