"""The timeline: valid trace events, exact sums, windows that are parts of the whole, a bounded size."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sparcade.accelerator.events import EventLog, record_events
from sparcade.arch import load_arch
from sparcade.errors import ConfigError
from sparcade.evaluation import default_policy
from sparcade.policy import apply, load_policy
from sparcade.report.timeline import Window, parse_window, timeline
from sparcade.sources import load_trace
from support import pruned_workload
from trace_event_format import cycle, read, track_of, validate

Events = list[dict[str, Any]]
#: Modules with a busy counter.
COUNTED = ("fetch", "qk", "softmax", "topk", "accumulator", "cascade", "pv")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    return record_events(pruned_workload(tmp_path_factory.mktemp("work")), load_arch("spatten"))


@pytest.fixture(scope="module")
def document(log: EventLog, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read(timeline(log).save(tmp_path_factory.mktemp("timeline") / "t.json.gz"))


def slices_of(events: Events, process: str) -> dict[str, Events]:
    """The slices of a process, by the name of their track."""
    names = {track_of(event): event["args"]["name"] for event in events if event["name"] == "thread_name"}
    (pid,) = (event["pid"] for event in events if event["name"] == "process_name" and process in event["args"]["name"])
    found: dict[str, Events] = {}
    for event in events:
        if event["ph"] == "X" and event["pid"] == pid:
            found.setdefault(names[track_of(event)], []).append(event)
    return found


def busy_cycles(slices: Events) -> int:
    return sum(cycle(event["dur"]) for event in slices if event["cat"] == "busy")


def frozen(events: Events) -> Counter[str]:
    return Counter(json.dumps(event, sort_keys=True) for event in events)


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["otherData"]["time"] == "1 cycle = 1 ns"
    assert document["displayTimeUnit"] == "ns"


def test_busy_slices_sum_to_the_counters(document: dict[str, Any], log: EventLog) -> None:
    tracks, total = slices_of(document["traceEvents"], "modules"), log.run.total()
    for module in COUNTED:
        assert busy_cycles(tracks.get(module, [])) == total[f"{module}_busy"], module
        stalled = Counter[str]()
        for event in tracks.get(module, []):
            if event["cat"] == "stall":
                stalled[event["args"]["cause"]] += cycle(event["dur"])
        assert all(total[f"{module}_{cause}"] == cycles for cause, cycles in stalled.items()), module


def test_every_query_has_its_slice_and_arguments(document: dict[str, Any], log: EventLog) -> None:
    found = [event for track in slices_of(document["traceEvents"], "queries").values() for event in track]
    places = {tuple(event["args"][name] for name in ("step", "layer", "head", "query")) for event in found}
    assert len(found) == len(places) == len(log.run.workload.queries)
    assert all("prob x V [cycles]" in event["args"] for event in found)


def test_flows_lead_from_fetch_to_use(document: dict[str, Any], log: EventLog) -> None:
    begun = Counter(event["name"] for event in document["traceEvents"] if event["ph"] == "s")
    counts = log.events["module"].value_counts()
    assert begun["K"] == counts["fetch K"]
    assert begun["V"] == counts["fetch V"]
    assert begun["K LSB"] == counts["fetch K LSB"]
    assert begun["refetch"] == int(log.run.workload.queries["refetch"].sum())


def test_bandwidth_adds_up_to_the_bytes(document: dict[str, Any], log: EventLog) -> None:
    """A counter holds until its next value: its integral is what was moved."""
    run, total = log.run, log.run.total()
    bytes_of = {"reads": ("q", "k_msb", "k_lsb", "v"), "writes": ("out",)}
    for name, kinds in bytes_of.items():
        steps = [
            (cycle(event["ts"]), event["args"]["value"])
            for event in document["traceEvents"]
            if event["ph"] == "C" and event["name"] == f"DRAM {name} [GB/s]"
        ]
        ends = [begin for begin, _ in steps[1:]] + [run.cycles]
        moved = sum(value * (end - begin) for (begin, value), end in zip(steps, ends, strict=True)) / run.arch.clock_ghz
        expected = sum(total[f"tx_{kind}"] for kind in kinds) * run.arch.dram.transaction_bytes
        assert moved == pytest.approx(expected, abs=1e-6 * run.cycles)


def test_a_window_is_a_part_of_the_whole(document: dict[str, Any], log: EventLog) -> None:
    begin, end = log.run.cycles // 3, log.run.cycles // 2
    part = list(timeline(log, Window(begin, end)).events())
    validate({"traceEvents": part, "displayTimeUnit": "ns"})
    whole = document["traceEvents"]
    inside = [
        event
        for event in whole
        if event["ph"] == "X" and cycle(event["ts"]) < end and cycle(event["ts"]) + cycle(event["dur"]) > begin
    ]
    assert frozen([event for event in part if event["ph"] == "X"]) == frozen(inside)
    flows = [{key: event[key] for key in event if key != "id"} for event in part if event["ph"] in "stf"]
    all_flows = [{key: event[key] for key in event if key != "id"} for event in whole if event["ph"] in "stf"]
    assert flows
    assert frozen(flows) <= frozen(all_flows)


def test_a_window_by_queries(log: EventLog) -> None:
    drawn = timeline(log, {"step": 2, "layer": 1})
    mine = log.events[(log.events["step"] == 2) & (log.events["layer"] == 1)]
    assert drawn.window == (mine["begin"].min(), mine["end"].max() + 1)


def test_long_runs_are_cut_and_it_is_said(log: EventLog, tmp_path: Path) -> None:
    whole, drawn = timeline(log), timeline(log, most=500)
    assert 0 < len(drawn.slices) <= 500
    assert drawn.left_out == len(whole.slices) - len(drawn.slices)
    assert drawn.window.end < whole.window.end
    (note,) = drawn.notes
    assert f"{drawn.left_out:,} slices" in note
    cut = read(drawn.save(tmp_path / "t.json.gz"))
    validate(cut)
    assert cut["otherData"]["left_out"] == note
    assert whole.notes == []


def test_equal_runs_give_equal_bytes(log: EventLog, tmp_path: Path) -> None:
    again = record_events(log.run.workload, log.run.arch)
    one, two = (timeline(each).save(tmp_path / name) for each, name in ((log, "a.json.gz"), (again, "b.json.gz")))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    "text",
    ["", "5", "5:5", "9:4", "-1:4", "a:b", "1:2:3", "step", "step=", "step=x", "row=1", "step=1,step=2", "1.5:9"],
)
def test_bad_windows(text: str) -> None:
    with pytest.raises(ConfigError, match="--timeline-window"):
        parse_window(text)


@pytest.mark.parametrize("window", [Window(10**9, 10**9 + 1), {"step": 99}, {"layer": 0, "head": 7}])
def test_windows_outside_the_run(log: EventLog, window: Window | dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="outside the run"):
        timeline(log, window)


@pytest.mark.parametrize(("name", "window"), [("gpt2-tiny", None), ("stories260k", {"step": 1})])
def test_the_generative_traces_open(name: str, window: dict[str, int] | None, tmp_path: Path) -> None:
    trace = load_trace(name)
    log = record_events(apply(trace, load_policy(default_policy(trace))).workload, load_arch("spatten"))
    path = timeline(log, window).save(tmp_path / "t.json.gz")
    document = read(path)
    validate(document)
    assert document["otherData"]["left_out"] == "nothing"
    assert path.stat().st_size < 5e6
    sums = log.slices[log.slices["state"] == "busy"].groupby("module", observed=True)["cycles"].sum()
    tracks = slices_of(document["traceEvents"], "modules")
    for module in COUNTED:
        assert sums.get(module, 0) == log.run.total()[f"{module}_busy"], module
        if window is None:
            assert busy_cycles(tracks.get(module, [])) == sums.get(module, 0), module
