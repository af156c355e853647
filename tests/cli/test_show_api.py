"""`sparcade run --show-api`: the printed script, executed, writes the bytes that the command writes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from sparcade.cli import main, run
from sparcade.cli.show_api import REFLECTED


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder holds a trace, its workload, and an arch."""
    monkeypatch.chdir(place)
    (place / "mine.toml").write_text('source = "what if"\nmultipliers = 128\n')
    return place


@pytest.mark.parametrize(
    "options",
    [
        "trace",
        "trace --set topk.lanes=4 --set dram.kind=ideal --set policy.tokens.end=1/2 --set policy.local_v=off",
        "trace --arch mine.toml --policy dense --compare spatten --events log.csv.gz",
        "work.npz --arch spatten-eighth",
    ],
)
def test_the_script_does_what_the_command_does(here: Path, capsys: Any, options: str) -> None:
    arguments = ["run", *options.split(), "--out", "out"]
    assert main([*arguments, "--show-api"]) == 0
    script = capsys.readouterr().out
    assert not (here / "out").exists()
    assert main(arguments) == 0
    written = {path.name: path.read_bytes() for path in [*(here / "out").iterdir(), *here.glob("log*.csv.gz")]}
    for path in [*(here / "out").iterdir(), *here.glob("log*.csv.gz")]:
        path.unlink()
    capsys.readouterr()
    exec(compile(script, "script", "exec"), {"__name__": "__main__"})
    again = {path.name: path.read_bytes() for path in [*(here / "out").iterdir(), *here.glob("log*.csv.gz")]}
    assert again == written
    assert "result.json" in again
    assert ("log.csv.gz" in again) == ("--events" in options)
    cycles = capsys.readouterr().out
    assert f'"cycles": {cycles.split()[0].replace(",", "")},' in again["result.json"].decode()


def test_the_default_folder_is_that_of_the_command(here: Path, capsys: Any) -> None:
    assert main(["run", "trace", "--show-api"]) == 0
    script = capsys.readouterr().out
    assert main(["run", "trace"]) == 0
    (folder,) = (here / "reports").iterdir()
    assert f"Path('reports/{folder.name}')" in script


def test_a_script_is_refused_as_the_run_is(here: Path, capsys: Any) -> None:
    assert main(["run", "work.npz", "--policy", "dense", "--show-api"]) == 2
    assert capsys.readouterr().out == ""


def test_every_option_is_reflected() -> None:
    """A new option of `run` that changes what it does must show in the script."""
    parser = argparse.ArgumentParser()
    run.add_parser(parser.add_subparsers())
    options = vars(parser.parse_args(["run", "x"])).keys() - {"function", "show_api"}
    assert options == REFLECTED
