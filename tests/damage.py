"""What the bad-input and fuzz tests share: originals to damage, signatures, folder contents, a memory limit."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import sparcade
from sparcade._files import file_hash

#: The fixture `refused`: run a command and hold that it is refused with these words.
Refused = Callable[..., str]


def save_original(folder: Path, *, prompt_tokens: int, decode_steps: int) -> Path:
    """Write a small decoder trace and its workload file."""
    shape = {"layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8}
    trace = sparcade.synthesize(
        folder / "trace", seed=1, prompt_tokens=prompt_tokens, decode_steps=decode_steps, **shape
    )
    sparcade.apply(trace, sparcade.load_policy("spatten")).workload.save(folder / "work.npz")
    return folder


def signature(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The manifest's table of tensor files: sizes and SHA-256."""
    return {path.name: {"bytes": path.stat().st_size, "sha256": file_hash(path)} for path in files}


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, hidden ones too; not Python's own cache of a user's file."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def run_command(place: Path, *options: str, target: str = "trace") -> list[str]:
    """The arguments of a run of an original, its report beside it."""
    return ["run", str(place / target), *options, "--out", str(place / "out")]


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """At most 4 GiB more than the process holds, so that an absurd allocation fails at once."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + (4 << 30), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
