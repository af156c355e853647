"""What a comparison consists of: one record per design, with a part per phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sparcade.baselines.normalisation import Normalisation
from sparcade.baselines.work import DenseWork

Ints = npt.NDArray[np.int64]
Method = Literal["simulated", "closed form", "roofline", "paper measurement", "fit to the paper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one design needs for a phase, or for everything."""

    seconds: float  #: the low end where it is a range
    macs: int  #: multiply-accumulates that it executes
    dense_macs: int  #: of the same phase before any pruning
    dram_bytes: int
    softmax_elements: int
    seconds_high: float | None = None  #: the high end of a range
    cycles: int | None = None  #: of a design with a clock of its own
    energy_joules: float | None = None  #: MACs, softmax and DRAM only

    @property
    def achieved_gbps(self) -> float:
        """DRAM bandwidth over the whole time [GB/s]."""
        return self.dram_bytes / self.seconds / 1e9

    @property
    def mac_per_second(self) -> float:
        """Executed multiply-accumulates over the time."""
        return self.macs / self.seconds

    @property
    def actual_gops(self) -> float:
        """Executed operations over the time, 2 per MAC [GOP/s]."""
        return 2 * self.macs / self.seconds / 1e9

    @property
    def effective_gops(self) -> float:
        """Operations of the dense work over the time, 2 per MAC [GOP/s]: pruned work counts as done."""
        return 2 * self.dense_macs / self.seconds / 1e9

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        derived = ("achieved_gbps", "mac_per_second", "actual_gops", "effective_gops")
        return {name: getattr(self, name) for name in (*self.__slots__, *derived)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One design on the workload."""

    name: str
    method: Method
    parts: Mapping[str, Part]  #: by phase, with "total"; empty when it can't be known
    counts: str = ""  #: where the data-dependent counts come from
    details: Mapping[str, Any] = field(default_factory=dict)  #: what is particular to the design
    output_error: Mapping[str, float] = field(default_factory=dict)  #: against the float model
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "method": self.method,
            "counts": self.counts,
            "parts": {phase: part.to_dict() for phase, part in self.parts.items()},
            "details": dict(self.details),
            "output_error": dict(self.output_error),
            "notes": list(self.notes),
        }


def closed_form_parts(
    work: DenseWork,
    normalisation: Normalisation,
    *,
    compute: Ints,
    macs: Ints,
    dram_bytes: Ints,
    softmax_elements: Ints,
) -> dict[str, Part]:
    """Parts of a design whose compute and DRAM overlap perfectly within each layer of each step.

    compute [cycles], macs, dram_bytes, softmax_elements : [layers, S]; or [S], the same in every layer.
    """
    cycles = np.maximum(compute, normalisation.memory_cycles(dram_bytes))

    def total(values: Ints, steps: npt.NDArray[np.bool_]) -> int:
        return int(np.broadcast_to(values, (work.layers, len(work.step)))[:, steps].sum())

    parts = {}
    for phase, steps in work.phases.items():
        elapsed = total(cycles, steps)
        parts[phase] = Part(
            seconds=elapsed / (normalisation.clock_ghz * 1e9),
            cycles=elapsed,
            macs=total(macs, steps),
            dense_macs=total(work.macs, steps),
            dram_bytes=total(dram_bytes, steps),
            softmax_elements=total(softmax_elements, steps),
        )
    return parts
