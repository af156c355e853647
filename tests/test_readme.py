"""The README shows what its commands print."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

from sparcade.cli import main

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- summary:begin -->\n```\n)(.*?)(```\n<!-- summary:end -->)", re.DOTALL)


def summary(folder: Path) -> str:
    """What `sparcade run gpt2-tiny --compare dense` prints, without the file names."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["run", "gpt2-tiny", "--compare", "dense", "--out", str(folder)]) == 0
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join(line for line in lines if not line.startswith("  /")) + "\n"


def test_the_summary_in_the_readme_is_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    block = BLOCK.search(README.read_text(encoding="utf-8"))
    assert block is not None
    assert block[2] == summary(tmp_path / "out"), "python tests/test_readme.py rewrites the block"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "90"
    with tempfile.TemporaryDirectory() as scratch:
        fresh = summary(Path(scratch) / "out")
    README.write_text(
        BLOCK.sub(lambda block: block[1] + fresh + block[3], README.read_text(encoding="utf-8")), encoding="utf-8"
    )
    sys.stdout.write(fresh)
