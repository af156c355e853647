"""What every design of a comparison gets: multipliers, DRAM bandwidth, clock, word width."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.arch import Arch
from sparcade.dram import DramSystem, Injection
from sparcade.dram.system import requests
from sparcade.errors import ConfigError

#: Transactions per channel of the stream that measures a memory.
_STREAM = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """The means of a closed-form baseline. Every result states them."""

    multipliers: int = 1024  #: in all arrays together
    bandwidth_gbps: float = 512.0  #: peak [GB/s]
    clock_ghz: float = 1.0
    efficiency: float = 1.0  #: share of the peak that is usable
    word_bits: int = 12  #: of Q, K, V and outputs in DRAM
    basis: str = "given"  #: where the efficiency comes from

    def __post_init__(self) -> None:
        ranges = {
            "multipliers": ("--multipliers", 1, 1 << 24),
            "bandwidth_gbps": ("--bandwidth", 1e-3, 1e6),
            "clock_ghz": ("clock_ghz of the arch", 1e-3, 1e3),
            "efficiency": ("--bandwidth-efficiency", 1e-3, 1.0),
            "word_bits": ("--word-bits", 1, 64),
        }
        for name, (option, low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    "the normalisation is not possible",
                    where=option,
                    expected=f"{low:g} to {high:g}",
                    got=repr(getattr(self, name)),
                    remedy="leave it out: it is then that of the arch",
                )

    @classmethod
    def of(cls, arch: Arch) -> Normalisation:
        """Both arrays of an arch, its clock, and as much of its peak bandwidth as a sequential stream reaches on it."""
        efficiency, basis = stream_efficiency(arch)
        return cls(
            multipliers=2 * arch.multipliers,
            bandwidth_gbps=arch.peak_gbps,
            clock_ghz=arch.clock_ghz,
            efficiency=efficiency,
            basis=basis,
        )

    @property
    def usable_gbps(self) -> float:
        """Bandwidth that the closed forms stream at [GB/s]."""
        return self.bandwidth_gbps * self.efficiency

    @property
    def label(self) -> str:
        """One line for every output."""
        return (
            f"{self.multipliers:,} multipliers in all, {self.clock_ghz:g} GHz, {self.bandwidth_gbps:g} GB/s peak of "
            f"which {self.efficiency:.1%} are usable ({self.basis}), {self.word_bits}-bit words in DRAM"
        )

    def memory_cycles(self, dram_bytes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Cycles to stream so many bytes."""
        return np.ceil(dram_bytes / (self.usable_gbps / self.clock_ghz)).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the label."""
        return {**asdict(self), "usable_gbps": self.usable_gbps, "label": self.label}


def stream_efficiency(arch: Arch) -> tuple[float, str]:
    """Share of the peak that sequential reads reach on the arch's DRAM, with its outstanding requests; and how."""
    dram = arch.dram
    if dram.kind == "ideal":
        return 1.0, "ideal memory"
    system = DramSystem(dram.device, channels=dram.channels, mapping=dram.mapping)
    addresses = np.arange(_STREAM * dram.channels, dtype=np.int64) * dram.transaction_bytes
    result = system.run([requests(addresses)], Injection(max_outstanding_per_channel=dram.outstanding))
    return round(result.achieved_gbps / result.peak_gbps, 6), f"a sequential stream on {dram.label}"
