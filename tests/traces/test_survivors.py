"""The committed lists of surviving tokens are what the command writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparcade.bundled import bundled_names
from sparcade.cli import main

PUBLISHED = Path(__file__).parent.parent.parent / "reports" / "published"


@pytest.mark.parametrize("name", bundled_names())
def test_published_survivors(name: str, tmp_path: Path) -> None:
    assert main(["trace", "survivors", name, "--out", str(tmp_path / "list.txt")]) == 0
    written = (tmp_path / "list.txt").read_text(encoding="utf-8")
    assert written == (PUBLISHED / f"survivors-{name}.txt").read_text(encoding="utf-8"), "make survivors"
