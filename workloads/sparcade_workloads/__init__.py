"""Real workloads for Sparcade: capture of attention traces from pretrained models, and the traces shipped with it.

Importing this package loads neither PyTorch nor NumPy; `python -m sparcade_workloads make` loads what it needs.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["TRACE_NAMES", "bundled_traces"]

#: The bundled traces, and the recipes that make them.
TRACE_NAMES = ("minilm", "stories260k", "gpt2-tiny")


def bundled_traces() -> dict[str, Path]:
    """Folder of each trace that ships with the package, by name; read one with `AttentionTrace.load`."""
    folder = Path(__file__).resolve().parent / "traces"
    return {name: folder / name for name in TRACE_NAMES}
