"""What a command's TARGET means: a bundled trace, a trace folder, or a workload file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparcade.trace import AttentionTrace
    from sparcade.workload import Workload


def load_trace(target: str) -> AttentionTrace:
    """A trace by folder or bundled name."""
    from sparcade.bundled import bundled_trace
    from sparcade.trace import AttentionTrace

    return AttentionTrace.load(target if Path(target).exists() else bundled_trace(target))


def load_source(target: str) -> AttentionTrace | Workload:
    """A trace, or a workload for a file."""
    if Path(target).is_file() or target.endswith(".npz"):
        from sparcade.workload import Workload

        return Workload.load(target)
    return load_trace(target)
