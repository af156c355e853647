"""A small trace to damage, and the check that a command refuses it cleanly."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from damage import Refused, contents, little_memory, save_original
from sparcade.cli import main


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder trace and its workload file."""
    return save_original(tmp_path_factory.mktemp("original"), prompt_tokens=10, decode_steps=3)


@pytest.fixture
def place(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "place"))


@pytest.fixture
def refused(place: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command and hold that it is refused, with these words, leaving every file as it was."""

    def check(arguments: list[str], *words: str) -> str:
        before = contents(place)
        assert main(arguments) == 2
        printed, error = capsys.readouterr()
        assert printed == ""
        labels = [line.split(":")[0].strip() for line in error.splitlines()]
        assert labels == ["error", "where", "expected", "got", "remedy", "see"], error
        assert all(line.partition(":")[2].strip() for line in error.splitlines()), error
        assert [word for word in words if word not in error] == [], error
        assert contents(place) == before
        return error

    return check


@pytest.fixture(name="little_memory")
def _little_memory() -> Iterator[None]:
    with little_memory():
        yield
