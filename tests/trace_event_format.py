"""A validator of Chrome trace-event JSON, written from the format's text: what a viewer needs to open a file."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

#: Keys that an event of each phase must have, beside `ph`, `pid` and `name`.
_KEYS = {
    "X": {"tid", "ts", "dur", "cat"},
    "M": {"args"},
    "C": {"ts", "args"},
    "s": {"tid", "ts", "id", "cat"},
    "t": {"tid", "ts", "id", "cat"},
    "f": {"tid", "ts", "id", "cat"},
}
_METADATA = {
    "process_name": "name",
    "thread_name": "name",
    "process_sort_index": "sort_index",
    "thread_sort_index": "sort_index",
}
Event = dict[str, Any]
Track = tuple[int, int]


def read(path: Path) -> dict[str, Any]:
    """The document of a compressed file; NaN and infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    document: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()), parse_constant=refuse)
    return document


def cycle(microseconds: float) -> int:
    """A time in cycles of 1 ns, which it must be to the last digit."""
    nearest = round(microseconds * 1000)
    assert nearest / 1000 == microseconds, microseconds
    return nearest


def validate(document: dict[str, Any]) -> None:
    """Raise an `AssertionError` at the first thing that the format forbids."""
    assert document["displayTimeUnit"] in ("ns", "ms")
    events = document["traceEvents"]
    assert isinstance(events, list)
    for event in events:
        _check_keys(event)
    named: dict[str, set[Any]] = defaultdict(set)
    for event in events:
        if event["ph"] == "M":
            named[event["name"]].add(event["pid"] if event["name"].startswith("process") else track_of(event))
    tracks: dict[Track, list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        assert event["pid"] in named["process_name"], event
        if event["ph"] == "X":
            assert track_of(event) in named["thread_name"], event
            tracks[track_of(event)].append((cycle(event["ts"]), cycle(event["ts"]) + cycle(event["dur"])))
    for slices in tracks.values():
        _check_nesting(slices)
    _check_flows(events, {track: {begin for begin, _ in slices} for track, slices in tracks.items()})
    _check_counters(events)


def track_of(event: Event) -> Track:
    return event["pid"], event["tid"]


def _check_keys(event: Event) -> None:
    assert event["ph"] in _KEYS, event
    assert _KEYS[event["ph"]] | {"name", "pid"} <= event.keys(), event
    assert isinstance(event["name"], str), event
    assert event["name"], event
    assert all(isinstance(event[key], int) for key in ("pid", "tid") if key in event), event
    for key in ("ts", "dur"):
        assert math.isfinite(event.get(key, 0)), event
        assert event.get(key, 0) >= 0, event
    if event["ph"] == "X":
        assert event["dur"] > 0, event
    if event["ph"] == "M":
        assert _METADATA[event["name"]] in event["args"], event


def _check_nesting(slices: list[tuple[int, int]]) -> None:
    """Slices of a track lie one in the other or apart."""
    open_ends: list[int] = []
    for begin, end in sorted(slices, key=lambda one: (one[0], -one[1])):
        while open_ends and open_ends[-1] <= begin:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1], (begin, end, open_ends)
        open_ends.append(end)


def _check_flows(events: list[Event], begins: dict[Track, set[int]]) -> None:
    """One start, one end, times in order, and every end at the begin of a slice."""
    flows: dict[tuple[str, str, int], list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] in "stf":
            flows[event["cat"], event["name"], event["id"]].append(event)
            assert cycle(event["ts"]) in begins[track_of(event)], event
    for flow in flows.values():
        assert [event["ph"] for event in flow] == ["s", *["t"] * (len(flow) - 2), "f"], flow
        assert flow[-1]["bp"] == "e", flow
        times = [event["ts"] for event in flow]
        assert times == sorted(times), flow


def _check_counters(events: list[Event]) -> None:
    """Numbers, in order of time."""
    last: dict[tuple[int, str], float] = {}
    for event in events:
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values()), event
            key = event["pid"], event["name"]
            assert event["ts"] >= last.get(key, 0), event
            last[key] = event["ts"]
