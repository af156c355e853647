"""`sparcade report` on a sweep: files, page, command, errors."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from report_pages import Reader, check_page
from sparcade.cli import main
from sparcade.errors import WorkloadError
from sparcade.report.html import html_page, html_table, shown
from sparcade.report.sweep_folder import write_sweep_report
from sparcade.report.sweep_report import SweepReport, read_report
from sparcade.sweep import Point, load_sweep, run_sweep
from sweep_support import POINTS, SWEEP, quick

FILES = ["best.csv", "effects.csv", "effects.png", "pareto.csv", "pareto.png", "report.html"]


def metrics(folder: Path, point: Point) -> dict[str, Any]:
    """Metrics of several objectives that contradict each other; every point of one kind fails."""
    lanes, phases = point.values["topk.lanes"], point.values["k_phases"]
    if phases == 10:
        raise WorkloadError("too <b>long</b>", where="here & there", expected="short", got="long", remedy="cut")
    return quick(folder, point) | {
        "cycles": 10_000 // lanes + phases,
        "energy_total_joules": 1e-6 * (lanes + phases),
        "bytes_moved": 1 << phases,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep with failed points and the default objectives."""
    run_sweep(
        {name: value for name, value in SWEEP.items() if name != "objectives"},
        out=tmp_path / "mine",
        workers=1,
        measure=metrics,
    )
    return tmp_path / "mine"


def test_the_report_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"sweep mine: {POINTS - 12} of {POINTS} points done, 12 failed" in printed
    assert "topk.lanes=8 clock_ghz=0.5 k_phases=1" in printed
    assert f"the whole report: {folder / 'report' / 'report.html'}" in printed
    assert sorted(path.name for path in (folder / "report").iterdir()) == FILES
    reader = check_page((folder / "report" / "report.html").read_text(encoding="utf-8"))
    assert reader.tags.count("svg") == 2
    for text in (
        f"{POINTS - 12} of {POINTS} points done, 12 failed.",
        "too <b>long</b> where: here & there",
        "sparcade report mine",
        "sparcade run small --arch spatten --set 'topk.lanes=8' --set 'clock_ghz=0.5' --set 'k_phases=1'",
        "They stand for accuracy; they are not accuracy.",
        "are a full grid",
    ):
        assert " ".join(text.split()) in " ".join(reader.text.split()), text
    best = list(csv.DictReader(io.StringIO((folder / "report" / "best.csv").read_text(encoding="utf-8"))))
    assert [row["best"] for row in best] == ["cycles", "energy_total_joules", "bytes_moved", "compromise"]
    assert best[0]["cycles"] == str(10_000 // 8 + 1)
    assert best[0]["equals"] == "3"
    front = pd.read_csv(folder / "report" / "pareto.csv")
    assert set(front["k_phases"]) == {1}
    assert len(front) == 12


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_equal_bytes_every_time_and_anywhere(folder: Path, tmp_path: Path) -> None:
    assert main(["report", str(folder)]) == 0
    first = files(folder / "report")
    assert main(["report", str(folder)]) == 0  # in place of the old one
    assert files(folder / "report") == first
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "mine")
    assert main(["report", str(moved), "--out", str(tmp_path / "other")]) == 0
    assert files(tmp_path / "other") == first
    assert run_sweep(SWEEP, out=moved, workers=1, measure=metrics).computed == 0  # the sweep goes on beside it


def test_one_format(folder: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["report", str(folder), "--out", str(tmp_path / "whole")]) == 0
    capsysbinary.readouterr()
    assert main(["report", str(folder), "--format", "html", "--out", str(tmp_path / "a.html")]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "whole" / "report.html").read_bytes()
    assert main(["report", str(folder), "--format", "png", "--out", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "whole" / "pareto.png").read_bytes()
    assert capsysbinary.readouterr().out == b""
    assert main(["report", str(folder), "--format", "csv"]) == 0
    table = pd.read_csv(io.BytesIO(capsysbinary.readouterr().out))
    assert len(table) == POINTS
    assert table["status"].value_counts().to_dict() == {"done": POINTS - 12, "failed": 12}
    assert not (folder / "report").exists()


def test_an_unfinished_sweep_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_sweep(SWEEP, out=tmp_path, workers=1, shard=(1, 4), measure=quick)
    (tmp_path / "points.json").unlink()  # as after a kill
    assert main(["report", str(tmp_path)]) == 0
    assert f"{POINTS // 4} of {POINTS} points done, {3 * POINTS // 4} missing" in capsys.readouterr().out
    assert "computes only what is missing" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def fails(folder: Path, point: Point) -> dict[str, Any]:
    raise WorkloadError("no", where="here", expected="yes", got="no", remedy="none")


def test_all_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_sweep(SWEEP, out=tmp_path, workers=1, measure=fails)
    assert main(["report", str(tmp_path)]) == 0
    assert f"0 of {POINTS} points done, {POINTS} failed" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "best.csv",
        "effects.csv",
        "pareto.csv",
        "report.html",
    ]
    assert "WorkloadError: no" in check_page((tmp_path / "report" / "report.html").read_text(encoding="utf-8")).text
    assert main(["report", str(tmp_path), "--format", "png", "--out", str(tmp_path / "a.png")]) == 2
    assert "no picture" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_one_point(tmp_path: Path) -> None:
    run_sweep({"workloads": "small"}, out=tmp_path / "one", workers=1, measure=quick)
    assert main(["report", str(tmp_path / "one")]) == 0
    assert "effects.png" not in files(tmp_path / "one" / "report")
    check_page((tmp_path / "one" / "report" / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", ["nothing", "empty", "run", "file", "unfinished", "foreign", "damaged"])
def test_errors(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "place"
    arguments = ["report", str(place)]
    if case == "run":
        place.mkdir()
        (place / "result.json").write_text("{}")
        words = "this is no result of a run"
    elif case == "file":
        place.write_text("x")
        words = "nothing to report"
    elif case == "nothing":
        words = "no such path"
    elif case == "empty":
        place.mkdir()
        words = "a folder without any of them"
    elif case == "damaged":
        place.mkdir()
        (place / "sweep.json").write_text("{")
        words = "this is no sweep"
    else:
        run_sweep(SWEEP, out=place, workers=1, measure=quick)
        if case == "unfinished":
            (next((place / "shards").iterdir())).unlink()
            words = "no point of the sweep is finished"
        else:
            (place / "report").mkdir()
            (place / "report" / "mine.txt").touch()
            words = "'mine.txt' in it"
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (place / "report" / "report.html").exists()


def test_a_workload_that_is_elsewhere_leaves_the_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sparcade

    monkeypatch.chdir(tmp_path)
    sparcade.synthesize(tmp_path / "trace", seed=1, layers=1, heads=1, kv_heads=1, prompt_tokens=4, decode_steps=1)
    run_sweep(SWEEP | {"workloads": "trace"}, out=tmp_path / "mine", workers=1, measure=quick)
    (tmp_path / "trace").rename(tmp_path / "moved")
    report = read_report(tmp_path / "mine")
    assert report.best["command"].tolist()[0].startswith("# there is no trace or workload 'trace'")
    assert report.missing == 0


HOSTILE = "<script>alert(1)</script>\"'&{$x$}\u202e"


def large(points: int, workloads: int) -> SweepReport:
    """A report on many random points with hostile names."""
    axes = ["dram.channels", "topk.lanes", "k_phases", "pv_latency", "qk_latency", "multipliers"]
    names = [f"{HOSTILE}{index}" for index in range(workloads)]
    sweep = load_sweep({"workloads": names, "axes": {axis: {"linear": [1, 40]} for axis in axes}})
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "key": [f"{index:064x}" for index in range(points)],
            "workload": random.choice(names, points),
            "arch": HOSTILE,
            "policy": random.choice([HOSTILE, "dense"], points),
            **{axis: random.integers(1, 41, points) for axis in axes},
            "status": np.where(np.arange(points) % 10 == 0, "failed", "done"),
            "error": np.where(np.arange(points) % 10 == 0, HOSTILE * 40, None),
        }
    )
    for name in sweep.columns:
        values = pd.Series(random.lognormal(8, 2, points)).astype("Float64")
        frame[name] = values.where(frame["status"] == "done")
    import sparcade.report.sweep_report as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read_definition", lambda folder: sweep)
        patch.setattr(module, "read_sweep", lambda folder: frame)
        patch.setattr(module, "unfinished", lambda folder: (0, 0))
        report = read_report(Path(HOSTILE.replace("/", "")))
    return dataclasses.replace(report, best=report.best.assign(command=f"sparcade run '{HOSTILE}'"))


def test_five_thousand_points_with_hostile_names(tmp_path: Path) -> None:
    report = large(5_000, 3)
    write_sweep_report(report, tmp_path / "out")
    assert sorted(files(tmp_path / "out")) == FILES
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    reader = check_page(page)
    assert "<script>alert" not in page
    assert HOSTILE in reader.text
    assert "The first 500 of 5,000 rows; the rest: points.parquet" in reader.text
    assert "by cycles" in reader.text


def test_a_table_is_escaped_cut_and_typed() -> None:
    frame = pd.DataFrame({"<a>": ["<b>", "&"] * 300, "n": range(600), "x": [1.23456789, float("nan")] * 300})
    table = html_table(frame, rest="<rest>", titles={"n": "n [J]"})
    reader = Reader(html_page("<title>", table))
    assert "<title>" in reader.text
    assert "n [J]" in reader.text
    assert "The first 500 of 600 rows; the rest: <rest>." in reader.text
    assert "<td>&lt;b&gt;</td><td class=n>498</td><td class=n>1.23457</td>" in table
    assert table.count("<tr>") == 501


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (0.25, "0.25"), (True, "True"), (None, ""), (pd.NA, ""), (float("nan"), ""), ("a", "a")],
)
def test_values_as_text(value: Any, text: str) -> None:
    assert shown(value) == text
