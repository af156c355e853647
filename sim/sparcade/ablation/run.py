"""`ablate`: the steps timed, each beside the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sparcade._files import content_hash
from sparcade.ablation.steps import AblationStep, ablation_steps
from sparcade.accelerator import RunResult, simulate
from sparcade.accelerator.bounds import bound_cycles
from sparcade.accelerator.result import KINDS, bits_needed, bytes_moved
from sparcade.arch import Arch
from sparcade.energy import EnergyProfile, elapsed_seconds, energy_joules, load_profile
from sparcade.evaluation import KV
from sparcade.version import MODEL_VERSION, PACKAGE_VERSION
from sparcade.workload import Workload

SCHEMA = "sparcade.ablation"
SCHEMA_VERSION = 1
_TABLES = ("rows", "queries", "passes", "key_ids", "value_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """The steps with their runs."""

    steps: tuple[AblationStep, ...]
    runs: tuple[RunResult, ...]
    profile: EnergyProfile

    def frame(self) -> pd.DataFrame:
        """One row per step: cycles, factors, DRAM traffic, energy, and what bounds it.

        factor: cycles of the step before over this one's; cumulative: of the first step. gbps is the achieved
        bandwidth. bound: the closed-form bound that is largest, with its share of the cycles; cascade_cycles: cascade
        selections that nothing hides. Energy is that of the 12-bit datapath, so that 32-bit steps count words of 12.
        """
        first = before = self.runs[0].cycles
        records: list[dict[str, Any]] = []
        for step, run in zip(self.steps, self.runs, strict=True):
            total, bounds = run.total(), bound_cycles(run)
            seconds = elapsed_seconds(total, run.arch)
            bound = max(bounds, key=lambda name: bounds[name])
            moved = bytes_moved(total, run.arch, KINDS)
            records.append(
                {
                    "step": step.name,
                    "cycles": run.cycles,
                    "seconds": seconds,
                    "factor": before / run.cycles,
                    "cumulative": first / run.cycles,
                    "bytes_moved": moved,
                    "kv_bytes_moved": bytes_moved(total, run.arch, KV),
                    "kv_bits_needed": bits_needed(total, KV),
                    "gbps": moved / seconds / 1e9,
                    "energy_joules": sum(energy_joules(total, arch=run.arch, profile=self.profile).values()),
                    "bound": bound,
                    "bound_share": bounds[bound] / run.cycles,
                    **{f"bound_{name}_cycles": cycles for name, cycles in bounds.items()},
                    "cascade_cycles": total["fetch_cascade"],
                    "topk_busy": total["topk_busy"],
                }
            )
            before = run.cycles
        return pd.DataFrame(records)

    def to_dict(self) -> dict[str, Any]:
        """Plain, deterministic tables."""
        run = self.runs[-1]
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "package_version": PACKAGE_VERSION,
            "model_version": MODEL_VERSION,
            "workload": {**run.workload.shape.to_dict(), "content_hash": run.workload.content_hash},
            "arch": run.arch.to_dict(),
            "arch_hash": content_hash(run.arch.to_dict()),
            "energy_profile": self.profile.name,
            "steps": self.frame().to_dict("records"),
        }


def ablate(
    workload: Workload,
    arch: Arch,
    *,
    profile: EnergyProfile | None = None,
    step: Callable[[str, float], None] | None = None,
) -> Ablation:
    """Time every step of the ablation of a workload on an arch; a step that changes nothing is not timed again.

    Parameters
    ----------
    step : called with the name of the step and the fraction done.

    Raises
    ------
    WorkloadError
        When a step does not fit the arch: the dense one may be the only one that does not.
    """
    steps = ablation_steps(workload, arch)
    runs: list[RunResult] = []
    for index, each in enumerate(steps):
        before = steps[index - 1]
        if runs and each.arch == before.arch and _same_work(each.workload, before.workload):
            runs.append(RunResult(workload=each.workload, arch=each.arch, counts=runs[-1].counts))
            continue
        progress = None if step is None else _progress(step, each.label)
        runs.append(simulate(each.workload, each.arch, progress))
    return Ablation(steps=steps, runs=tuple(runs), profile=profile or load_profile())


def _progress(step: Callable[[str, float], None], label: str) -> Callable[[float], None]:
    return lambda fraction: step(label, fraction)


def _same_work(one: Workload, other: Workload) -> bool:
    """Equal tables: the timing is the same, whatever the names."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in _TABLES)
