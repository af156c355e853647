"""`RunResult`: counters of a run per row, with sums per layer, head, phase and in total."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade.accelerator.counters import COUNTERS, Count
from sparcade.arch import Arch
from sparcade.workload import Workload

Ints = npt.NDArray[np.int64]
#: DRAM traffic by kind: counter suffixes, in the order they are printed.
KINDS = ("q", "k_msb", "k_lsb", "v", "out")
#: Modules with a busy counter, and the counters of their stalls.
MODULES = {
    "fetch": ("cascade", "layer", "k_phases", "window", "reorder", "key_sram", "address_fifo", "data_fifo"),
    "qk": ("wait_q", "wait_k", "wait_lsb", "softmax_full", "decision_full"),
    "softmax": ("decision_full",),
    "topk": (),
    "pv": ("wait_v", "wait_probabilities"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One workload on one arch. Every number is a sum over `counts` [rows, counters]; units are in `COUNTERS`."""

    workload: Workload
    arch: Arch
    counts: Ints

    @property
    def cycles(self) -> int:
        """Elapsed cycles."""
        return int(self.counts[:, Count.CYCLES].sum())

    def total(self, rows: npt.NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Counters by name, over all rows or the selected ones."""
        sums = (self.counts if rows is None else self.counts[rows]).sum(axis=0)
        return {counter.name: int(sums[column]) for column, counter in COUNTERS.items()}

    def phase(self, name: str) -> npt.NDArray[np.bool_]:
        """Rows of "prefill" (step 0) or "decode"."""
        prefill: npt.NDArray[np.bool_] = self.workload.rows["step"] == 0
        return prefill if name == "prefill" else ~prefill

    def keys(self, name: str) -> npt.NDArray[Any]:
        """[rows] "phase", "layer", "head", "sequence" or "step" of each row."""
        if name == "phase":
            return np.where(self.workload.rows["step"] == 0, "prefill", "decode")
        column: npt.NDArray[Any] = self.workload.rows[name]
        return column

    def frame(self, *by: str) -> pd.DataFrame:
        """Counters summed by columns out of "phase", "layer", "head", "sequence", "step"."""
        table = pd.DataFrame(self.counts, columns=[COUNTERS[column].name for column in Count])
        for name in reversed(by):
            table.insert(0, name, self.keys(name))
        return table.groupby(list(by), sort=True, as_index=False).sum()

    def idle(self) -> dict[str, int]:
        """Cycles in which a module had nothing to do: elapsed minus busy minus stalled."""
        total = self.total()
        return {
            module: self.cycles - total[f"{module}_busy"] - sum(total[f"{module}_{stall}"] for stall in stalls)
            for module, stalls in MODULES.items()
        }


def bytes_moved(counters: dict[str, int], arch: Arch, kinds: tuple[str, ...] = KINDS) -> int:
    """DRAM bytes of whole transactions."""
    return sum(counters[f"tx_{kind}"] for kind in kinds) * arch.dram.transaction_bytes


def bits_needed(counters: dict[str, int], kinds: tuple[str, ...] = KINDS) -> int:
    """Bits the work needs, without padding."""
    return sum(counters[f"bits_{kind}"] for kind in kinds)
