"""Sparcade: hardware/algorithm co-design of SpAtten-style sparse-attention accelerators.

>>> import sparcade
>>> trace = sparcade.AttentionTrace.load(sparcade.bundled_trace("minilm"))
>>> result = sparcade.apply(trace, sparcade.load_policy("spatten-encoder"))
>>> run = sparcade.simulate(result.workload, sparcade.load_arch("spatten"))
>>> run.cycles > 0
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sparcade.version import MODEL_VERSION, PACKAGE_VERSION

if TYPE_CHECKING:
    from sparcade.accelerator import RunResult, simulate
    from sparcade.arch import Arch, load_arch
    from sparcade.bundled import bundled_trace
    from sparcade.dram import DramSystem, load_device
    from sparcade.energy import EnergyProfile, load_profile
    from sparcade.evaluation import Evaluation, evaluate
    from sparcade.policy import Policy, Structure, TopK, apply, load_policy
    from sparcade.report.diff import Diff, diff
    from sparcade.report.folder import write_report
    from sparcade.report.timeline import parse_window, timeline
    from sparcade.sources import load_source
    from sparcade.sweep import SweepResult, pareto_front, progress_line, read_sweep
    from sparcade.trace import AttentionTrace, synthesize
    from sparcade.workload import Workload

__version__ = PACKAGE_VERSION

__all__ = [
    "MODEL_VERSION",
    "Arch",
    "AttentionTrace",
    "Diff",
    "DramSystem",
    "EnergyProfile",
    "Evaluation",
    "Policy",
    "RunResult",
    "Structure",
    "SweepResult",
    "TopK",
    "Workload",
    "apply",
    "bundled_trace",
    "diff",
    "evaluate",
    "load_arch",
    "load_device",
    "load_policy",
    "load_profile",
    "load_source",
    "pareto_front",
    "parse_window",
    "progress_line",
    "read_sweep",
    "simulate",
    "sweep",
    "synthesize",
    "timeline",
    "write_report",
]

_HOMES = {
    "accelerator": ("RunResult", "simulate"),
    "arch": ("Arch", "load_arch"),
    "bundled": ("bundled_trace",),
    "dram": ("DramSystem", "load_device"),
    "energy": ("EnergyProfile", "load_profile"),
    "evaluation": ("Evaluation", "evaluate"),
    "policy": ("Policy", "Structure", "TopK", "apply", "load_policy"),
    "report.diff": ("Diff", "diff"),
    "report.folder": ("write_report",),
    "report.timeline": ("parse_window", "timeline"),
    "sources": ("load_source",),
    "sweep": ("SweepResult", "pareto_front", "progress_line", "read_sweep"),
    "trace": ("AttentionTrace", "synthesize"),
    "workload": ("Workload",),
}


def __getattr__(name: str) -> Any:
    """Import a public name or package when it is first used: `import sparcade` stays light."""
    if name in _HOMES:
        return importlib.import_module(f"sparcade.{name}")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"sparcade.{module}"), name)
    raise AttributeError(f"module 'sparcade' has no attribute {name!r}")
