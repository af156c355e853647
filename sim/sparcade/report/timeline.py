"""The timeline of a run for ui.perfetto.dev: Chrome trace-event JSON in which 1 cycle is 1 ns.

Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU ("Trace Event Format"). Its
times are microseconds: three decimals of them are a cycle.
"""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade._files import new_file
from sparcade.accelerator.events import LEVELS, MODULES, SPANS, EventLog
from sparcade.errors import ConfigError
from sparcade.version import MODEL_VERSION, PACKAGE_VERSION

SUFFIX = ".json.gz"
#: Most slices in a file, and most samples of counters: the page holds some hundred megabytes of JSON.
MOST_SLICES = 500_000
MOST_SAMPLES = 200_000
_PLACE = ["sequence", "step", "layer", "head", "query"]
_SLICE = ["process", "track", "name", "category", "begin", "cycles", "args"]
_MODULES, _REQUESTS, _QUERIES, _COUNTERS = 1, 2, 3, 4
_PROCESSES = {
    _MODULES: "modules",
    _REQUESTS: "requests to the DRAM, first address to last vector",
    _QUERIES: "queries, accepted to retired",
    _COUNTERS: "levels",
}
_TRACKS = {name: place + 1 for place, name in enumerate(MODULES)}
_FETCHES = ("fetch Q", "fetch K", "fetch K LSB", "fetch V")
#: Tracks of a process for things that overlap: each takes the lowest that is free. This many per kind of request.
_LANES = 1000


class Window(NamedTuple):
    """Cycles begin ... end - 1."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Events of a window of a run, and what was left out of it."""

    log: EventLog
    window: Window  #: what the file shows
    asked: Window
    left_out: int  #: slices that overlap the window that was asked for, and not the one that is shown
    slices: pd.DataFrame  #: process, track, name, category, begin, cycles, args

    @property
    def notes(self) -> list[str]:
        """What a reader must know."""
        if self.left_out == 0:
            return []
        return [
            f"cycles {self.window.begin:,} to {self.window.end:,} of {self.asked.begin:,} to {self.asked.end:,}: "
            f"{self.left_out:,} slices beyond {MOST_SLICES:,} are left out; choose others with --timeline-window"
        ]

    def events(self) -> Iterator[dict[str, Any]]:
        """The events in the words of the format."""
        yield from _names(self.slices)
        columns = (self.slices[name].tolist() for name in _SLICE)
        for process, track, name, category, begin, cycles, args in zip(*columns, strict=True):
            yield {
                "ph": "X",
                "pid": process,
                "tid": track,
                "ts": begin / 1000,
                "dur": cycles / 1000,
                "name": name,
                "cat": category,
                "args": args,
            }
        yield from _flows(self.log, self.window)
        yield from _counters(self.log, self.window)

    def save(self, path: Path) -> Path:
        """Write `path` (NAME.json.gz); equal runs give equal bytes."""
        run = self.log.run
        about = {
            "time": "1 cycle = 1 ns",
            "clock_ghz": run.arch.clock_ghz,
            "workload": run.workload.shape.name,
            "policy": run.workload.shape.policy,
            "arch": run.arch.name,
            "cycles": run.cycles,
            "window": list(self.window),
            "left_out": "; ".join(self.notes) or "nothing",
            "package_version": PACKAGE_VERSION,
            "model_version": MODEL_VERSION,
        }
        with new_file(path) as fresh, fresh.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
            stream.write(b'{"traceEvents":[\n')
            for number, event in enumerate(self.events()):
                stream.write(((",\n" if number else "") + json.dumps(event, separators=(",", ":"))).encode())
            # Behind the events: in front of them, readers have taken the unit for that of the times.
            tail = json.dumps({"displayTimeUnit": "ns", "otherData": about})
            stream.write(f"\n],{tail[1:]}\n".encode())
        return path


def check_path(path: Path) -> None:
    """Raise a `ConfigError` if a timeline can not have this name."""
    if not path.name.endswith(SUFFIX):
        raise ConfigError(
            "a timeline is a compressed JSON file",
            where=f"--timeline {path}",
            expected=f"a file name ending in {SUFFIX}",
            got=repr(path.name),
            remedy=f"--timeline timeline{SUFFIX}",
        )


def parse_window(text: str) -> Window | dict[str, int]:
    """FROM:TO in cycles, or a choice of queries: step=1,layer=2.

    Raises
    ------
    ConfigError
        When it is neither, or holds no cycle.
    """
    try:
        if "=" not in text:
            begin, end = (int(part) for part in text.split(":"))
            if 0 <= begin < end:
                return Window(begin, end)
        else:
            pairs = [part.split("=") for part in text.split(",")]
            chosen = {name.strip(): int(value) for name, value in pairs}
            if len(chosen) == len(pairs) and chosen.keys() <= set(_PLACE):
                return chosen
    except ValueError:
        pass
    raise ConfigError(
        "a window of the timeline that holds no cycle",
        where=f"--timeline-window {text}",
        expected=f"FROM:TO in cycles with 0 <= FROM < TO, or NAME=NUMBER,... with names out of {', '.join(_PLACE)}",
        got=repr(text),
        remedy="--timeline-window 0:5000, or --timeline-window step=1,layer=2",
    )


def timeline(log: EventLog, window: Window | dict[str, int] | None = None, *, most: int = MOST_SLICES) -> Timeline:
    """The timeline of a run, or of a window: everything that overlaps it, uncut.

    Parameters
    ----------
    window : cycles, or the queries from whose acceptance to whose retirement it reaches; None for the whole run.
    most : more slices than this shorten the window at its end.
    """
    asked = _window(log, window)
    slices = pd.concat([_modules(log), _requests(log), _queries(log)], ignore_index=True)
    slices = slices.sort_values(["begin", "process", "track"], kind="stable", ignore_index=True)
    inside = slices[(slices["begin"] < asked.end) & (slices["begin"] + slices["cycles"] > asked.begin)]
    end, shown = asked.end, inside
    if len(inside) > most:
        end = max(int(inside["begin"].iloc[most]), asked.begin + 1)
        shown = inside[inside["begin"] < end]
    return Timeline(
        log=log,
        window=Window(asked.begin, end),
        asked=asked,
        left_out=len(inside) - len(shown),
        slices=_with_args(log, shown),
    )


def _window(log: EventLog, window: Window | dict[str, int] | None) -> Window:
    if window is None:
        return Window(0, log.run.cycles)
    if isinstance(window, Window):
        if window.begin < log.run.cycles:
            return Window(window.begin, min(window.end, log.run.cycles))
        where, remedy = f"{window.begin}:{window.end}", f"FROM below {log.run.cycles}"
        got = f"a window from cycle {window.begin} on"
    else:
        mine = log.events
        for name, value in window.items():
            mine = mine[mine[name] == value]
        if len(mine):
            return Window(int(mine["begin"].min()), int(mine["end"].max()) + 1)
        where = ",".join(f"{name}={value}" for name, value in window.items())
        got, remedy = "none", "another choice: `sparcade run` lists layers, --events all queries"
    raise ConfigError(
        "the window of the timeline is outside the run",
        where=f"--timeline-window {where}",
        expected=f"cycles or queries of a run of {log.run.cycles} cycles",
        got=got,
        remedy=remedy,
    )


def _modules(log: EventLog) -> pd.DataFrame:
    """A track per module."""
    slices = log.slices
    table = slices[[*_PLACE, "begin", "cycles"]].copy()
    table["process"], table["track"] = _MODULES, slices["module"].map(_TRACKS).astype(int)
    table["category"] = np.where(slices["state"] == "busy", "busy", "stall")
    table["state"], table["part"] = slices["state"].astype(str), slices["part"].astype(str)
    return table


def _requests(log: EventLog) -> pd.DataFrame:
    """Tracks for each kind of request, as many as are under way at once."""
    tables = []
    for kind, module in enumerate(_FETCHES):
        table = _spans(log.events[log.events["module"] == module])
        table["process"], table["category"], table["part"] = _REQUESTS, "request", module.removeprefix("fetch ")
        table["track"] = _lanes(table) + 1 + kind * _LANES
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _queries(log: EventLog) -> pd.DataFrame:
    """Tracks for the queries, as many as are in the pipeline at once."""
    accepted, retired = (log.events[log.events["module"] == name] for name in ("issue", "output"))
    table = accepted.merge(retired[[*_PLACE, "end"]], on=_PLACE, suffixes=("_issue", ""), validate="one_to_one")
    table = _spans(table.sort_values(["begin", *_PLACE], kind="stable"))
    table["process"], table["category"], table["part"] = _QUERIES, "query", ""
    table["track"] = _lanes(table) + 1
    return table


def _spans(events: pd.DataFrame) -> pd.DataFrame:
    """Spans of the event log, whose ends are included, as slices."""
    table = events[[*_PLACE, "begin"]].assign(cycles=events["end"] - events["begin"] + 1, state="busy")
    return table.reset_index(drop=True)


def _lanes(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """For each span, in order of their begins, the lowest lane that is free."""
    ending: list[tuple[int, int]] = []
    free: list[int] = []
    lanes = []
    for begin, cycles in zip(table["begin"].tolist(), table["cycles"].tolist(), strict=True):
        while ending and ending[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(ending)[1])
        lane = heapq.heappop(free) if free else len(ending)
        heapq.heappush(ending, (begin + cycles, lane))
        lanes.append(lane)
    return np.array(lanes, np.int64)


def _with_args(log: EventLog, table: pd.DataFrame) -> pd.DataFrame:
    """Name and arguments of each slice."""
    shown = table["process"] == _QUERIES
    mine = log.events.merge(table.loc[shown, _PLACE], on=_PLACE)
    times: dict[tuple[int, ...], dict[str, list[int]]] = {}
    for module, *place, begin, end in mine[["module", *_PLACE, "begin", "end"]].itertuples(index=False):
        times.setdefault(tuple(place), {})[str(module)] = [int(begin), int(end)]
    names, args = [], []
    columns = [table[name].tolist() for name in ("process", "state", "part", *_PLACE)]
    for process, state, part, *place in zip(*columns, strict=True):
        sequence, step, layer, head, query = place
        where = f"S{step} L{layer} H{head} Q{query}"
        if sequence:
            where = f"sequence {sequence} {where}"
        what: dict[str, Any] = dict(zip(_PLACE, place, strict=True))
        if part:
            what["part"] = part
        if state != "busy":
            what["cause"] = state
        if process == _QUERIES:
            spans = times.get(tuple(place), {})
            what |= {f"{name} [cycles]": spans[name] for name, *_ in SPANS if name in spans}
        names.append(f"stall: {state}" if state != "busy" else f"{part} {where}".strip())
        args.append(what)
    return table.assign(name=names, args=pd.Series(args, table.index, dtype=object))[_SLICE]


def _names(slices: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Names and order of processes and tracks."""
    tracks = {(_MODULES, number): name for name, number in _TRACKS.items()}
    used = slices.loc[slices["process"] != _MODULES, ["process", "track"]].drop_duplicates()
    for process, track in sorted(used.itertuples(index=False, name=None)):
        kind, lane = divmod(int(track) - 1, _LANES)
        name = _FETCHES[kind] if process == _REQUESTS else "query"
        tracks[int(process), int(track)] = name if lane == 0 else f"{name} ({lane + 1})"
    for pid, name in _PROCESSES.items():
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name}}
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_sort_index", "args": {"sort_index": pid}}
    for (pid, tid), name in tracks.items():
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}


def _flows(log: EventLog, window: Window) -> Iterator[dict[str, Any]]:
    """From fetch to use: K and V over realignment to the arrays, a row decided flat over its LSBs to its second pass.

    Each end is the first slice of that module for that query; flows with an end outside the window are left out.
    """
    busy = log.slices[log.slices["state"] == "busy"]
    first = busy.drop_duplicates(["module", "part", *_PLACE])
    overlap = (first["begin"] < window.end) & (first["begin"] + first["cycles"] > window.begin)
    first = first[overlap].assign(track=first["module"].map(_TRACKS).astype(int))
    chains = {
        "K": (("fetch", "K"), ("realign", "K"), ("qk", "")),
        "V": (("fetch", "V"), ("realign", "V"), ("pv", "")),
        "K LSB": (("fetch", "K LSB"), ("realign", "K LSB"), ("qk", "recomputed")),
        "refetch": (("decision", ""), ("qk", "recomputed")),
    }
    number = 0
    for name, places in chains.items():
        ends = [
            first[(first["module"] == module) & (first["part"] == part)].set_index(_PLACE)[["track", "begin"]]
            for module, part in places
        ]
        joined = pd.concat(ends, axis=1, join="inner", keys=range(len(ends)))
        for row in joined.itertuples(index=False, name=None):
            number += 1
            for place in range(len(ends)):
                phase = "s" if place == 0 else "f" if place + 1 == len(ends) else "t"
                track, begin = row[2 * place : 2 * place + 2]
                event = {"ph": phase, "pid": _MODULES, "tid": int(track), "ts": begin / 1000, "id": number}
                yield event | {"name": name, "cat": "flow"} | ({"bp": "e"} if phase == "f" else {})


def _counters(log: EventLog, window: Window) -> Iterator[dict[str, Any]]:
    """Queue levels where they change, bandwidth between two samples, and the keys of the row last accepted."""
    levels = log.levels
    before = levels["cycle"].shift(fill_value=0)
    inside = (before < window.end) & (levels["cycle"] > window.begin)
    series = {f"{name} [{unit}]": levels[name] for name, unit in LEVELS.items() if name not in ("reads", "outputs")}
    thin = -(-int(inside.sum()) * (len(series) + 2) // MOST_SAMPLES)
    if thin > 1:
        levels = levels.iloc[thin - 1 :: thin]
        before = levels["cycle"].shift(fill_value=0)
        inside = (before < window.end) & (levels["cycle"] > window.begin)
        series = {name: column.loc[levels.index] for name, column in series.items()}
    for name, column in series.items():
        yield from _counter(name, levels["cycle"][inside], column[inside])
    for name, bandwidth in _bandwidth(log, levels).items():
        yield from _counter(name, before[inside], bandwidth[inside])
    rows = log.run.workload.rows
    keys = pd.DataFrame({name: rows[name].astype(np.int64) for name in (*_PLACE[:-1], "keys")})
    issued = log.events[(log.events["module"] == "issue") & (log.events["query"] == 0)]
    live = issued.merge(keys, on=_PLACE[:-1])
    live = live[(live["begin"] < window.end) & (live["end"] >= window.begin)].iloc[:MOST_SAMPLES]
    yield from _counter("live tokens [keys of the row last accepted]", live["begin"], live["keys"])


def _bandwidth(log: EventLog, levels: pd.DataFrame) -> dict[str, Any]:
    """GB/s between samples: words that came back, outputs given to the fetcher."""
    run = log.run
    cycles = levels["cycle"] - levels["cycle"].shift(fill_value=0)
    size = run.arch.dram.transaction_bytes
    total = run.total()
    an_output = size * total["tx_out"] / max(1, int(levels["outputs"].iloc[-1]))
    steps = {name: levels[name] - levels[name].shift(fill_value=0) for name in ("reads", "outputs")}
    scale = run.arch.clock_ghz / cycles
    return {
        "DRAM reads [GB/s]": (steps["reads"] * size * scale).round(6),
        "DRAM writes [GB/s]": (steps["outputs"] * an_output * scale).round(6),
    }


def _counter(name: str, cycles: Any, values: Any) -> Iterator[dict[str, Any]]:
    """A counter where it changes."""
    last = None
    for cycle, value in zip(cycles.tolist(), values.tolist(), strict=True):
        if value != last:
            yield {"ph": "C", "pid": _COUNTERS, "tid": 0, "ts": cycle / 1000, "name": name, "args": {"value": value}}
        last = value
