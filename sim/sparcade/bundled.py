"""Bundled traces by name; the one place that reaches for `sparcade_workloads`, and only when asked."""

from __future__ import annotations

from pathlib import Path

from sparcade.errors import TraceError, did_you_mean


def bundled_names() -> list[str]:
    """Names of the bundled traces."""
    from sparcade_workloads import bundled_traces

    return sorted(bundled_traces())


def bundled_trace(name: str) -> Path:
    """Folder of a bundled trace.

    Raises
    ------
    TraceError
        When there is none of that name.
    """
    from sparcade_workloads import bundled_traces

    traces = bundled_traces()
    if name not in traces:
        raise TraceError(
            f"there is no trace {name!r}",
            where=name,
            expected=f"a trace folder, a workload file (.npz), or one of: {', '.join(sorted(traces))}",
            got="no such file or name",
            remedy=did_you_mean(name, traces, "check the path ('sparcade trace list')"),
        )
    return traces[name]
