"""What the fuzz tests damage, and limits that make absurd inputs fail fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from damage import little_memory, save_original


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder trace and its workload file."""
    return save_original(tmp_path_factory.mktemp("original"), prompt_tokens=6, decode_steps=2)


@pytest.fixture(scope="module", autouse=True)
def without_pictures_or_much_memory() -> Iterator[None]:
    """Pictures take a second each and are tested elsewhere; an absurd allocation fails at once."""
    with little_memory(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparcade.report.run_report.run_page", lambda *arguments: "<html>")
        yield
