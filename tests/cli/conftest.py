"""A small trace to damage, and the check that a command refuses it cleanly."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sparcade
from sparcade.cli import main

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder trace and its workload file."""
    folder = tmp_path_factory.mktemp("original")
    shape = {"layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8, "prompt_tokens": 10, "decode_steps": 3}
    trace = sparcade.synthesize(folder / "trace", seed=1, **shape)
    sparcade.apply(trace, sparcade.load_policy("spatten")).workload.save(folder / "work.npz")
    return folder


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
        assert labels == ["error", "where", "expected", "got", "remedy"], error
        assert all(line.partition(":")[2].strip() for line in error.splitlines()), error
        assert [word for word in words if word not in error] == [], error
        assert contents(place) == before
        return error

    return check


@pytest.fixture
def little_memory() -> Iterator[None]:
    """At most 4 GiB more than the process holds, so that an absurd allocation fails at once."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + (4 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, hidden ones too; not Python's own cache of a user's file."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}
