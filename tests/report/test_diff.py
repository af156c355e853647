"""`sparcade diff`: a changed parameter is named with its effects first, and parts sum to the change exactly."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import sparcade
from sparcade._files import canonical_json
from sparcade.accelerator.counters import COUNTERS
from sparcade.accelerator.result import KINDS
from sparcade.arch import Arch
from sparcade.cli import main
from sparcade.energy import PARTS
from sparcade.report.diff import Diff, Move
from sparcade.report.diff_effects import ACTS_ON, acts_on
from sparcade.report.diff_text import as_json, as_markdown, as_text

Json = dict[str, Any]
#: A changed setting, and figures that it must name as its own.
CHANGES = {
    "topk.lanes=1": {"topk_busy"},
    "dram.channels=2": {"dram_activations", "qk_wait_k"},
    "clock_ghz=2.0": {"seconds"},
    "multipliers=64": {"qk_busy", "pv_busy"},
    "policy.local_v=off": {"bytes_v", "macs_pv", "topk_passes"},
    "policy.tokens=off": {"bytes_k_msb", "macs_qk"},
    "policy.progressive=off": {"bits_k_msb"},
    "policy.progressive.threshold=1": {"refetches", "bytes_k_lsb"},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """result.json of a run, and of one with each of `CHANGES`."""
    folder = tmp_path_factory.mktemp("diff") / "trace"
    shape = {"layers": 3, "heads": 8, "kv_heads": 4, "head_dim": 16}
    trace = sparcade.synthesize(folder, seed=5, kind="realistic", prompt_tokens=40, decode_steps=4, **shape)

    def result(change: str) -> Json:
        settings = [change] if change else []
        policy = [setting.removeprefix("policy.") for setting in settings if setting.startswith("policy.")]
        arch = sparcade.load_arch("spatten", [] if policy else settings)
        evaluation = sparcade.evaluate(trace, arch, policy=sparcade.load_policy("spatten", policy))
        return dict(json.loads(canonical_json(evaluation.to_dict())))

    return {change: result(change) for change in ("", *CHANGES)}


@pytest.fixture
def saved(results: dict[str, Json], tmp_path: Path) -> Callable[[str], str]:
    """Write a result as the folder of a run."""

    def save(change: str) -> str:
        folder = tmp_path / (change or "base")
        folder.mkdir(exist_ok=True)
        (folder / "result.json").write_text(canonical_json(results[change]))
        return str(folder)

    return save


def total(found: Diff, figure: str) -> Move | None:
    return next((move for move in found.headlines if move.figure == figure and move.phase is None), None)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_parameter_and_its_effects_come_first(results: dict[str, Json], change: str) -> None:
    found = sparcade.diff(results[""], results[change])
    name, _, value = change.partition("=")
    (setting,) = found.settings
    assert setting.name == name
    assert (value == "off") == (setting.b == "off")
    (effect,) = found.effects
    assert CHANGES[change] <= {move.figure for move in effect.moves}
    text = as_text(found)
    blocks = text.split("\n\n")
    assert blocks[1].startswith(f"This setting differs: {name} ")
    titles = [block.splitlines()[0] for block in blocks]
    first = next(index for index, title in enumerate(titles) if title.startswith(f"{name} ") and "acts on" in title)
    assert titles.index("what moved") == first - 1  # only the headlines stand before
    assert all("by " not in title for title in titles[1:first] if not title.endswith("."))


@pytest.mark.parametrize("change", CHANGES)
def test_parts_sum_to_the_change_and_the_change_is_that_of_the_results(results: dict[str, Json], change: str) -> None:
    a, b = results[""], results[change]
    found = sparcade.diff(a, b)
    for part in found.breakdowns:
        if part.whole is not None:
            assert sum(move.change for move in part.moves) == part.whole, part.name
        assert all(move.change for move in part.moves)
        sizes = [abs(move.change) for move in part.moves]
        assert sizes == sorted(sizes, reverse=True)
    for figure, read in {
        "cycles": lambda part: part["counters"]["cycles"],
        "bytes_moved": lambda part: part["bytes_moved"],
    }.items():
        move = total(found, figure)
        assert (move.change if move else 0) == read(b["total"]) - read(a["total"])
    energy = total(found, "energy_joules")
    assert energy is not None
    assert float(energy.a) == pytest.approx(a["total"]["energy_total_joules"], rel=1e-12)
    assert float(energy.b) == pytest.approx(b["total"]["energy_total_joules"], rel=1e-12)
    names = {part.name: part for part in found.breakdowns}
    kinds = {(move.figure, move.phase): move.change for move in getattr(names.get("DRAM bytes by kind"), "moves", ())}
    commands = {(move.figure, move.phase): move.change for move in names["DRAM commands and row hits"].moves}
    for phase in ("prefill", "decode"):
        before, after = a["phases"][phase], b["phases"][phase]
        for kind in KINDS:
            moved = after["bytes_by_kind"][kind] - before["bytes_by_kind"][kind]
            assert kinds.get((f"bytes_{kind}", phase), 0) == moved
        for counter in ("dram_activations", "dram_row_hits"):
            moved = after["counters"][counter] - before["counters"][counter]
            assert commands.get((counter, phase), 0) == moved


@pytest.mark.parametrize("change", CHANGES)
def test_a_swap_negates_everything(results: dict[str, Json], change: str) -> None:
    there, back = sparcade.diff(results[""], results[change]), sparcade.diff(results[change], results[""])

    def moves(found: Diff) -> list[tuple[str, list[Move]]]:
        parts = [(part.name, list(part.moves)) for part in found.breakdowns]
        return [
            ("headlines", list(found.headlines)),
            *parts,
            *((one.setting.name, list(one.moves)) for one in found.effects),
        ]

    for (name, ours), (other, theirs) in zip(moves(there), moves(back), strict=True):
        assert name == other
        assert [(move.figure, move.phase, move.layer, -move.change, move.share) for move in ours] == [
            (move.figure, move.phase, move.layer, move.change, move.share) for move in theirs
        ]
    assert [(one.name, one.a, one.b) for one in there.settings] == [(one.name, one.b, one.a) for one in back.settings]


def test_equal_runs_say_so(results: dict[str, Json], saved: Callable[[str], str], capsys: Any) -> None:
    assert sparcade.diff(results[""], copy.deepcopy(results[""])).equal
    assert main(["diff", saved(""), saved(""), "--fail-above", "0%"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "The runs are equal: no input and no figure differs."
    assert len(printed) == 3


def test_several_settings_are_all_named(results: dict[str, Json]) -> None:
    found = sparcade.diff(results["topk.lanes=1"], results["policy.tokens=off"])
    assert [one.name for one in found.settings] == ["policy.tokens", "topk.lanes"]
    assert [effect.setting.name for effect in found.effects] == ["policy.tokens", "topk.lanes"]
    assert "cannot be told" in as_text(found)


def test_a_device_is_one_setting_and_other_presets_are_named(results: dict[str, Json]) -> None:
    other = copy.deepcopy(results[""])
    other["arch"]["dram"]["device"] |= {"name": "ddr4-3200", "protocol": "DDR4"}
    other["arch"]["name"] = "mine"
    other["energy_profile"]["constants"]["energy.mac"]["value"] *= 2
    other["model_version"] += 1
    found = sparcade.diff(results[""], other)
    names = [one.name for one in found.settings]
    assert names == ["arch", "dram.device", "profile.energy.mac.value", "model_version"]
    assert not found.headlines
    assert "Cycles, DRAM bytes and energy are equal." in as_text(found)


def test_a_changed_model_without_a_changed_input(results: dict[str, Json]) -> None:
    """Two commits' results: only figures differ, in one layer."""
    other = copy.deepcopy(results[""])
    layer = next(layer for layer in other["layers"] if (layer["phase"], layer["layer"]) == ("decode", 1))
    for table in (layer, other["total"]["counters"], other["phases"]["decode"]["counters"]):
        table["cycles"] += 7
        table["topk_busy"] += 7
    found = sparcade.diff(results[""], other)
    assert found.settings == ()
    by_layer = next(part for part in found.breakdowns if part.name == "cycles by layer")
    assert [(move.phase, move.layer, move.change, move.share) for move in by_layer.moves] == [("decode", 1, 7, 1)]
    assert "100.0 % of it in decode; local V top-k engine occupied (+7 cycles)" in as_text(found)


def test_every_setting_of_an_arch_has_figures_that_exist() -> None:
    fields = [field.name for field in dataclasses.fields(Arch) if field.name not in ("name", "source")]
    assert [name for name in fields if not acts_on(name)] == []
    counters = {counter.name for counter in COUNTERS.values()}
    known = counters | {f"bytes_{kind}" for kind in KINDS} | {f"energy_{part}_joules" for part in PARTS} | {"seconds"}
    assert {figure for figures in ACTS_ON.values() for figure in figures} <= known
    assert {name.partition(".")[0] for name in ACTS_ON} <= {*fields, "workload", "policy", "energy", "profile"}


@pytest.mark.parametrize(
    ("limit", "code"), [("0%", 1), ("1%", 1), ("1.5 %", 1), ("900%", 0), ("1", 2), ("-1%", 2), ("nan%", 2), ("", 2)]
)
def test_the_limit_decides_the_exit_code(saved: Callable[[str], str], capsys: Any, limit: str, code: int) -> None:
    assert main(["diff", saved(""), saved("topk.lanes=1"), f"--fail-above={limit}"]) == code
    out, error = capsys.readouterr()
    assert (code == 2) == (out == "")
    if code == 1:
        assert error.startswith(f"moved by more than {limit}: ")
        assert "cycles" in error


def test_a_limit_is_compared_exactly(results: dict[str, Json]) -> None:
    found = sparcade.diff(results[""], results["topk.lanes=1"])
    move = total(found, "cycles")
    assert move is not None and move.relative is not None
    assert move in found.beyond(abs(move.relative) - Fraction(1, 10**30))
    assert move not in found.beyond(abs(move.relative))


def test_what_was_nothing_before_moved_beyond_any_limit(results: dict[str, Json]) -> None:
    without = copy.deepcopy(results[""])
    del without["phases"]["decode"]
    without["layers"] = [layer for layer in without["layers"] if layer["phase"] == "prefill"]
    without["total"] = without["phases"]["prefill"]
    beyond = sparcade.diff(without, results[""]).beyond(Fraction(10**6))
    assert {move.phase for move in beyond} == {"decode"}
    assert all(move.relative is None for move in beyond)


def test_formats_and_files(saved: Callable[[str], str], tmp_path: Path, capsys: Any) -> None:
    a, b = saved(""), saved("topk.lanes=1")
    assert main(["diff", a, f"{b}/result.json", "--format", "json", "--out", str(tmp_path / "new" / "d.json")]) == 0
    assert capsys.readouterr() == ("", "")
    table = json.loads((tmp_path / "new" / "d.json").read_text())
    assert table["settings"] == [{"name": "topk.lanes", "a": 16, "b": 1}]
    modules = [part for part in table["breakdowns"] if part["name"].startswith("cycles ")]
    assert len(modules) == 6
    for part in modules:
        assert sum(move["change"] for move in part["moves"]) == part["change"]
    assert main(["diff", a, b, "--format", "md"]) == 0
    page = capsys.readouterr().out
    assert "**what moved**\n\n| figure | phase | unit |" in page
    widths = {line.count("|") for line in page.split("**what moved**\n\n")[1].split("\n\n")[0].splitlines()}
    assert len(widths) == 1
    found = sparcade.diff(a, b)
    assert page == as_markdown(found)
    assert as_json(found) == as_json(sparcade.diff(a, b))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table.update(schema="sparcade.sweep"), "not the result of a run"),
        (lambda table: table.update(schema_version=99), "another schema version"),
        (lambda table: table.pop("layers"), "no 'layers'"),
        (lambda table: table["layers"][0].pop("qk_busy"), "damaged"),
        (lambda table: table["layers"][0].update(cycles="many"), "damaged"),
        (lambda table: table["layers"][0].update(cycles=1), "layers whose cycles sum to"),
        (lambda table: table["layers"].append(table["layers"][0]), "there twice"),
        (lambda table: table["layers"][0].update(phase="dream"), "unknown"),
        (lambda table: table.update(arch=3), "damaged"),
        (lambda table: table["total"].update(energy_joules=None), "damaged"),
        (lambda table: table.update(output_errors=[{}]), "no 'queries'"),
    ],
)
def test_a_bad_result_is_refused(
    results: dict[str, Json], saved: Callable[[str], str], capsys: Any, damage: Callable[[Json], Any], words: str
) -> None:
    good = saved("")
    bad = copy.deepcopy(results["topk.lanes=1"])
    damage(bad)
    path = Path(good).with_name("bad.json")
    path.write_text(json.dumps(bad))
    for pair in ((good, str(path)), (str(path), good)):
        assert main(["diff", *pair]) == 2
        printed, error = capsys.readouterr()
        assert printed == ""
        assert words in error
        assert error.splitlines()[-1].strip() == "see:      docs/diff.md (sparcade docs diff)"


def test_no_result_at_all(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "text").write_text("{")
    for path, words in (
        (tmp_path, "a folder without it"),
        (tmp_path / "no", "no such path"),
        (tmp_path / "text", "JSON"),
    ):
        assert main(["diff", str(path), str(path)]) == 2
        assert words in capsys.readouterr().err
