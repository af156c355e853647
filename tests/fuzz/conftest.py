"""What the fuzz tests damage, and limits that make absurd inputs fail fast."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

import sparcade


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder trace and its workload file."""
    folder = tmp_path_factory.mktemp("original")
    shape = {"layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8, "prompt_tokens": 6, "decode_steps": 2}
    trace = sparcade.synthesize(folder / "trace", seed=1, **shape)
    sparcade.apply(trace, sparcade.load_policy("spatten")).workload.save(folder / "work.npz")
    return folder


@pytest.fixture(scope="module", autouse=True)
def without_pictures_or_much_memory() -> Iterator[None]:
    """Pictures take a second each and are tested elsewhere; an absurd allocation fails at once."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + (4 << 30), limits[1]))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_layers", "draw_survival"):
            patch.setattr(f"sparcade.report.folder.{name}", lambda *arguments: arguments[-1].write_text("<svg"))
        yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
