"""Every published number is classed once, classes mean what they say, bytes do not depend on the workers."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from sparcade.errors import ConfigError, InvariantError
from sparcade.paper.checks import fixed_checks
from sparcade.paper.comparison import Kind, Row, Table, calibrated, counts, geomean, mean, measured
from sparcade.paper.folder import write_folder
from sparcade.paper.page import Page, html, markdown
from sparcade.paper.published import Number, number, numbers
from sparcade.paper.runs import Runs, measure, measure_all, task_of
from sparcade.paper.tables import KEYS, all_tables, all_tasks

PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "paper"
#: Runs that take no time.
CHEAP = ("bert-base-cola", "bert-base-sst-2", "bert-large-qqp")


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    """The tables without any run."""
    return all_tables(Runs(()))


def test_every_number_is_classed_exactly_once(tables: list[Table]) -> None:
    classed = Counter((row.figure, row.name) for table in tables for row in table.rows if row.counted)
    names = Counter(
        (each.figure, each.name.removeprefix("implied/spatten_attention_latency/")) for each in numbers().values()
    )
    assert classed == names


def test_without_runs_nothing_is_reproduced_that_needs_one(tables: list[Table]) -> None:
    kinds = counts(row for table in tables for row in table.rows)
    assert sum(kinds.values()) == len(numbers())
    for table in tables:
        for row in table.rows:
            assert (row.kind is Kind.LEFT_OUT) <= (row.ours is None)
            if row.kind in (Kind.REPRODUCED, Kind.DIFFERS):
                assert row.tolerance is not None
                assert row.ours is not None


def test_the_folder_owns_the_files_of_every_table(tables: list[Table]) -> None:
    assert tuple(table.key for table in tables) == KEYS


def test_a_difference_needs_a_reason() -> None:
    one = Number(figure="text", name="n", value=2.0, unit="x", certainty="printed")
    assert measured(one, 2.1, tolerance=0.1).kind is Kind.REPRODUCED
    assert measured(one, 2.5, tolerance=0.1, reason="why").kind is Kind.DIFFERS
    assert measured(one, None, tolerance=0.1).kind is Kind.LEFT_OUT
    with pytest.raises(InvariantError):
        measured(one, 2.5, tolerance=0.1)


def test_calibrated_never_counts_as_reproduced() -> None:
    one = Number(figure="text", name="n", value=2.0, unit="x", certainty="printed")
    assert calibrated(one, 2.0, "fitted").kind is Kind.CALIBRATED


def test_means_of_missing_runs_are_missing() -> None:
    assert mean([1.0, None]) is None
    assert geomean([2.0, 8.0]) == pytest.approx(4.0)


def test_sets_with_the_same_work_share_a_run() -> None:
    assert task_of("gpt2-medium-ptb") == task_of("gpt2-medium-1bw") != task_of("gpt2-medium-wikitext2")
    names = {task.workload for task in all_tasks()}
    assert "gpt2-medium-full" in names
    assert len(set(all_tasks(quick=True))) < len(set(all_tasks()))


def test_equal_for_any_number_of_workers(tmp_path: Path) -> None:
    tasks = [task_of(name) for name in CHEAP]
    folders = []
    for workers in (1, 2):
        runs = measure_all(tasks, workers=workers)
        found = all_tables(runs)
        page = Page(tables=found, checks=fixed_checks(found), left_out="most")
        folders.append(tmp_path / str(workers))
        write_folder(folders[-1], page)
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert {"paper.md", "paper.html", "fig18.svg", "fig18.png", "fig14.csv"} <= set(one)
    write_folder(folders[0], page)  # replaces its own


def test_a_foreign_folder_is_refused(tmp_path: Path, tables: list[Table]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError):
        write_folder(tmp_path, Page(tables=tables, checks=fixed_checks(tables)))


def test_the_page_says_what_was_left_out(tables: list[Table]) -> None:
    page = Page(tables=tables, checks=fixed_checks(tables), left_out="everything")
    text = markdown(page)
    assert "Quick: everything were left out" in text
    assert "| calibrated |" in text
    assert html(page, {}).startswith("<!doctype html>")


def _published(key: str) -> dict[tuple[str, str], dict[str, str]]:
    with (PUBLISHED / f"{key}.csv").open(encoding="utf-8", newline="") as stream:
        return {(line["figure"], line["name"]): line for line in csv.DictReader(stream)}


def test_the_published_table_is_that_of_a_fresh_run() -> None:
    """The cheap benchmarks, to the last digit."""
    committed = _published("benchmarks")
    for name in CHEAP:
        run = measure(task_of(name))
        assert committed["runs", name]["ours"] == f"{run.cycles / 1e6:.6g}"
        assert f"{run.tflops:.3f} TFLOPS" in committed["runs", name]["comment"]


def test_what_needs_no_run_is_published_as_it_is(tables: list[Table]) -> None:
    for table in tables:
        committed = _published(table.key)
        lines = {(line["figure"], line["name"]): line for line in table.frame().to_dict("records")}
        for row in table.rows:
            if row.kind is Kind.LEFT_OUT:
                continue
            line, fresh = committed[row.figure, row.name], lines[row.figure, row.name]
            needs_a_run = {"ours", "ratio"} if row.ours is None else set()
            assert {key: line[key] for key in fresh.keys() - needs_a_run} == {
                key: fresh[key] for key in fresh.keys() - needs_a_run
            }


def _row(key: str, name: str) -> Row:
    lines = {each: line for (_, each), line in _published(key).items()}
    line = lines[name]
    return Row(
        figure=line["figure"],
        name=name,
        unit=line["unit"],
        kind=Kind(line["class"]),
        paper=float(line["paper"]),
        ours=float(line["ours"]),
    )


@pytest.mark.parametrize(
    ("key", "name", "tolerance"),
    [
        ("dram", "medium-wikitext2/kv_bytes", 0.001),
        ("dram", "medium-wikitext2/kv_reduction_vs_fp32", 0.001),
        ("engine", "medium-wikitext2/topk_released_serial", 0.03),
        ("table4", "SpAtten-e2e/FC_latency", 0.10),
        ("fig18", "SpAtten/GPT-2/operational_intensity", 0.15),
        *(("fig19", f"shape: gpt2-small-per8, {lanes} lanes", 0.10) for lanes in (1, 2, 4, 8, 16, 32)),
    ],
)
def test_a_fixed_check_holds_in_what_is_published(key: str, name: str, tolerance: float) -> None:
    row = _row(key, name)
    assert row.ratio == pytest.approx(1, abs=tolerance + 1e-6)
    assert row.kind in (Kind.REPRODUCED, Kind.CALIBRATED)  # the mapping of weights was chosen


def test_published_numbers_add_up_to_all() -> None:
    lines = [line for table in PUBLISHED.glob("*.csv") for line in _published(table.stem).values()]
    assert sum(line["counted"] == "yes" for line in lines) == len(numbers())
    assert not any(line["class"] == "left out" for line in lines)
    assert number("text", "power").value == 8.3
