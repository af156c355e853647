"""A sweep's definition: axes, sampling, points and their keys; one clear error with its line for a bad file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sparcade
from sparcade.errors import ConfigError
from sparcade.sweep import load_sweep, points_of
from sparcade.sweep.axes import axis

GOOD = """\
# A comment.
workloads = ["small"]
constraints = [
    "topk.lanes >= dram.channels",
    "dram.channels > 0",
]

[axes]
dram.channels = [2, 4]
topk.lanes = {log2 = [1, 8]}

[metrics]
edp = "energy_total_joules * seconds"

[objectives]
edp = "min"
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Any]:
    def load(text: str) -> Any:
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return points_of(load_sweep(path))

    return load


def test_a_grid_in_order(load: Callable[[str], Any]) -> None:
    points = load(GOOD)
    assert [(point.values["dram.channels"], point.values["topk.lanes"]) for point in points] == [
        (2, 2),
        (2, 4),
        (2, 8),
        (4, 4),
        (4, 8),
    ]
    loaded = sparcade.load_arch("spatten", ["dram.channels=2", "topk.lanes=2"])
    assert points[0].arch == dataclasses.replace(loaded, name="spatten")
    assert points[0].command == "sparcade run small --arch spatten --set 'dram.channels=2' --set 'topk.lanes=2'"


def test_the_table_in_python_is_the_file(load: Callable[[str], Any]) -> None:
    tables = {
        "workloads": "small",
        "constraints": ["topk.lanes >= dram.channels"],
        "axes": {"dram.channels": (2, 4), "topk": {"lanes": {"log2": [1, 8]}}},
    }
    assert [point.key for point in points_of(load_sweep(tables))] == [point.key for point in load(GOOD)]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ([1, 2.5, "off", True], (1, 2.5, "off", True)),
        ({"log2": [1, 32]}, (1, 2, 4, 8, 16, 32)),
        ({"log2": [3, 13]}, (3, 6, 12)),
        ({"log2": [0.25, 1]}, (0.25, 0.5, 1.0)),
        ({"linear": [2, 5]}, (2, 3, 4, 5)),
        ({"linear": [0, 1.0], "steps": 5}, (0.0, 0.25, 0.5, 0.75, 1.0)),
        ({"linear": [0.1, 0.3], "steps": 3}, (0.1, 0.2, 0.3)),
        ({"linear": [64, 256], "steps": 4}, (64, 128, 192, 256)),
    ],
)
def test_axes(given: Any, values: tuple[Any, ...]) -> None:
    found = axis("x", given).values
    assert found == values
    assert [type(a) for a in found] == [type(b) for b in values] or given == {"log2": [0.25, 1]}


SAMPLED = """\
workloads = "small"
method = "{method}"
samples = 16
seed = 7

[axes]
clock_ghz = {{linear = [0.5, 2.0]}}
dram.channels = [2, 4, 8, 16]
"""


def test_a_latin_hypercube_meets_every_stratum(load: Callable[[str], Any]) -> None:
    points = load(SAMPLED.format(method="latin-hypercube"))
    clocks = sorted(point.values["clock_ghz"] for point in points)
    assert [int((clock - 0.5) / 1.5 * 16) for clock in clocks] == list(range(16))
    channels = [point.values["dram.channels"] for point in points]
    assert {value: channels.count(value) for value in channels} == dict.fromkeys((2, 4, 8, 16), 4)


@pytest.mark.parametrize("method", ["random", "latin-hypercube"])
def test_a_seed_gives_the_same_points_and_an_axis_leaves_the_others_alone(
    load: Callable[[str], Any], method: str
) -> None:
    text = SAMPLED.format(method=method)
    first, again, more = load(text), load(text), load(text + "topk.lanes = [1, 2]\n")
    assert [point.key for point in first] == [point.key for point in again]
    assert [point.values["clock_ghz"] for point in first] == [point.values["clock_ghz"] for point in more]
    assert [point.key for point in first] != [point.key for point in load(text.replace("seed = 7", "seed = 8"))]


def test_a_key_is_the_content_of_what_was_resolved(load: Callable[[str], Any]) -> None:
    keys = {}
    for name, axes in {
        "plain": "",
        "default": "dram.channels = [16]",
        "other": "dram.channels = [8]",
        "nested": "dram = {channels = [8]}",
    }.items():
        (point,) = load(f'workloads = "small"\n[axes]\n{axes}\n')
        keys[name] = point.key
    assert keys["plain"] == keys["default"] != keys["other"] == keys["nested"]


def test_policies_and_traces(load: Callable[[str], Any]) -> None:
    text = 'workloads = ["minilm", "stories260k"]\npolicy = ["dense", "spatten"]\n[axes]\npolicy.bits = [8, 12]\n'
    points = load(text)
    assert len({point.key for point in points}) == len({point.replay.key for point in points}) == 8
    assert {point.values["policy"] for point in load('workloads = ["minilm", "stories260k"]')} == {
        "spatten-encoder",
        "spatten",
    }


def test_axes_of_another_kind_of_policy(load: Callable[[str], Any]) -> None:
    points = load('workloads = "stories260k"\npolicy = "streaming-llm"\n[axes]\npolicy.window = [60, 124]\n')
    assert [point.replay.settings for point in points] == [("window=60",), ("window=124",)]
    assert len({point.key for point in points}) == 2
    text = 'workloads = "stories260k"\npolicy = ["h2o", "streaming-llm"]\n[axes]\npolicy.bits = [8, 12]\n'
    assert len({point.replay.key for point in load(text)}) == 4
    wrong = {
        "streaming-llm": ("policy.widow = [60]", "did you mean 'policy.window'?"),
        "h2o": ("policy.window = [60]", "policy.window"),
        "spatten": ("policy.window = [60]", "tokens"),
        "h20": ("policy.heavy = [0.1]", "did you mean 'h2o'?"),
    }
    for name, (field, words) in wrong.items():
        with pytest.raises(ConfigError) as caught:
            load(f'workloads = "stories260k"\npolicy = "{name}"\n[axes]\n{field}\n')
        assert words in str(caught.value)
        assert "sweep.toml" in str(caught.value)


BAD = {
    "unknown key": ("[axes]", "[axis]", 8, "did you mean 'axes'?"),
    "unknown field": ("dram.channels = [2", "dram.chanels = [2", 9, "did you mean 'dram.channels'?"),
    "unknown policy field": ("topk.lanes = {", "policy.tokens.edn = {", 10, "did you mean 'policy.tokens.end'?"),
    "empty axis": ("[2, 4]", "[]", 9, "the axis is empty"),
    "one value": ("[2, 4]", "2", 9, "neither a list nor a range"),
    "twice the same": ("[2, 4]", "[2, 2]", 9, "stands twice"),
    "not numeric": ("[1, 8]", '["one", 8]', 10, "not numeric"),
    "not numeric: true": ("[1, 8]", "[true, 8]", 10, "not numeric"),
    "not numeric: nan": ("[1, 8]", "[1.0, nan]", 10, "not numeric"),
    "backwards": ("[1, 8]", "[8, 1]", 10, "backwards"),
    "from zero": ("[1, 8]", "[0, 8]", 10, "above 0"),
    "three ends": ("[1, 8]", "[1, 8, 9]", 10, "no pair"),
    "unknown range": ("log2", "log10", 10, "lanes' has no parts"),
    "interval in a grid": ("{log2 = [1, 8]}", "{linear = [1, 8.5]}", 10, "a grid needs the steps"),
    "value of another type": ("[2, 4]", '["two", 4]', 9, "wrong type"),
    "impossible value": ("[2, 4]", "[2, 6]", 9, "power of two"),
    "constraint removes all": ("topk.lanes >= dram.channels", "topk.lanes > 99", 4, "removes every point"),
    "constraints remove all": ("dram.channels > 0", "dram.channels > topk.lanes", 3, "together remove every point"),
    "constraint of unknown axis": ("dram.channels > 0", "dram.channel > 0", 5, "did you mean 'dram.channels'?"),
    "constraint without value": ("dram.channels > 0", "1 / (dram.channels - 2) > 0", 5, "division by zero"),
    "code": ("dram.channels > 0", "open(0)", 5, "not allowed"),
    "metric of unknown metric": ("* seconds", "* second", 13, "did you mean 'seconds'?"),
    "metric that is one": ('edp = "e', 'cycles = "e', 13, "no name of its own"),
    "objective": ('edp = "min"', 'edb = "min"', 16, "did you mean 'edp'?"),
    "direction": ('edp = "min"', 'edp = "less"', 16, "'min' or 'max'"),
    "no workload": ('workloads = ["small"]', "workloads = []", 2, "not empty"),
    "policy on a workload": ("[axes]", "[axes]\npolicy.bits = [8]", None, "already holds its policy"),
    "method": ("# A comment.", 'method = "grit"', 1, "did you mean 'grid'?"),
    "no seed": ("# A comment.", 'method = "random"', 1, "needs 'samples'"),
    "samples of a grid": ("# A comment.", "samples = 5", 1, "a grid has no 'samples'"),
    "not TOML": ("[axes]", "[axes", 8, "not TOML"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(load: Callable[[str], Any], name: str) -> None:
    old, new, line, words = BAD[name]
    assert GOOD.count(old) == 1 or old in ("[axes]", "topk.lanes = {")
    with pytest.raises(ConfigError) as caught:
        load(GOOD.replace(old, new))
    text = str(caught.value)
    assert words in text, text
    assert "sweep.toml" in text
    assert line is None or f"line {line}" in text, text


def test_nothing_named_of_a_workload_that_is_not_there() -> None:
    with pytest.raises(sparcade.errors.SparcadeError, match="no trace or workload 'gpt2-tinny'"):
        points_of(load_sweep({"workloads": "gpt2-tinny"}))
