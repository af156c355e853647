"""A timeline that can not be is refused before or after the run, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from damage import Refused, run_command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timeline", "t.json"], (".json.gz", "t.json")),
        (["--timeline-window", "0:5"], ("--timeline FILE.json.gz",)),
        (["--timeline", "t.json.gz", "--timeline-window", "5:5"], ("5:5", "FROM < TO")),
        (["--timeline", "t.json.gz", "--timeline-window", "row=5"], ("row=5", "layer")),
        (["--timeline", "t.json.gz", "--timeline-window", "90000000:90000001"], ("outside the run", "90000000")),
        (["--timeline", "t.json.gz", "--timeline-window", "step=77"], ("outside the run", "step=77")),
    ],
)
def test_refused(place: Path, refused: Refused, options: list[str], words: tuple[str, ...]) -> None:
    named = [str(place / option) if option.endswith((".json", ".gz")) else option for option in options]
    refused(run_command(place, *named), *words)
