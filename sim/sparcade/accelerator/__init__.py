"""The accelerator: a cycle-level model of SpAtten's pipeline, from the fetcher to prob x V."""

from sparcade.accelerator.counters import COUNTERS, Count, Counter
from sparcade.accelerator.result import RunResult
from sparcade.accelerator.simulate import simulate

__all__ = ["COUNTERS", "Count", "Counter", "RunResult", "simulate"]
