"""The README shows what its commands print: `python tests/test_readme.py` writes the blocks anew."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sparcade.cli import main

Maker = Callable[[Path], str]
README = Path(__file__).parent.parent / "README.md"
CHANGES = (
    "",
    "--set policy.tokens=off",
    "--set policy.progressive=off",
    "--set policy.local_v=off",
    "--set topk.lanes=64",
)


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


def summary(folder: Path) -> str:
    """What `sparcade run gpt2-tiny --compare dense` prints, without the file names."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["run", "gpt2-tiny", "--compare", "dense", "--out", str(folder)]) == 0
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "```\n" + "\n".join(line for line in lines if not line.startswith("  /")) + "\n```\n"


def ablation(folder: Path) -> str:
    """The speedups of the same command with one setting changed."""
    lines = ["| change | prefill | decode | total |", "|---|---|---|---|"]
    for change in CHANGES:
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["run", "gpt2-tiny", "--compare", "dense", *change.split(), "--out", str(folder)]) == 0
        comparison = json.loads((folder / "result.json").read_text())["comparison"]
        speedups = [f"{comparison[phase]['speedup']:.2f}" for phase in ("prefill", "decode", "total")]
        lines.append(f"| {f'`{change}`' if change else 'none'} | {' | '.join(speedups)} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("make", [summary, ablation])
def test_the_readme_shows_what_the_commands_print(
    make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(make)
    monkeypatch.setenv("COLUMNS", "90")
    shown = block(make.__name__).search(README.read_text(encoding="utf-8"))
    assert shown is not None
    assert shown[2] == make(tmp_path / "out"), "python tests/test_readme.py writes the blocks anew"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "90"
    page = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        for maker in (summary, ablation):
            fresh = maker(Path(scratch) / "out")
            page = block(maker.__name__).sub(lambda found, fresh=fresh: found[1] + fresh + found[3], page)
    README.write_text(page, encoding="utf-8")
