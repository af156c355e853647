"""What a stream cost: bandwidth, row locality, latency, commands, energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.config import tables
from sparcade.dram.commands import Command
from sparcade.dram.device import Device
from sparcade.dram.inject import Injection
from sparcade.dram.power import command_energy
from sparcade.dram.state import LATENCY_BINS, Count

Ints = npt.NDArray[np.int64]

SCHEMA = "sparcade.dram"
SCHEMA_VERSION = 1
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class DramResult:
    """Counters of one stream on channels of one device; a tick is a CK, in HBM3 half of one."""

    device: Device
    channels: int
    mapping: str
    injection: Injection | None  #: how the stream was fed; None: by the caller, tick by tick
    ticks: int  #: executed until the last request completed
    commands: dict[Command, int]
    statistics: dict[Count, int]
    latency: Ints  #: [latency] reads that took so many ticks from acceptance to the end of their data
    latency_sum: int
    latency_max: int
    bank_reads: Ints  #: [channels, banks] RD commands
    bank_writes: Ints
    bank_activations: Ints

    @property
    def reads(self) -> int:
        """Reads completed, forwarded ones included."""
        return int(self.latency.sum())

    @property
    def writes(self) -> int:
        """Writes completed, absorbed ones included."""
        return self.commands[Command.WR] + self.commands[Command.WRA] + self.statistics[Count.COALESCED]

    @property
    def seconds(self) -> float:
        """Elapsed time [s]."""
        return float(self.ticks * self.device.tick_ps / 10**12)

    @property
    def achieved_gbps(self) -> float:
        """Bytes of all requests over the elapsed time, fill and drain included [GB/s].

        Requests that a queued write served or absorbed count, so that a stream of them can exceed the peak.
        """
        moved = (self.reads + self.writes) * self.device.organisation.transaction_bytes
        return float(moved * 1000 / (self.ticks * self.device.tick_ps)) if self.ticks else 0.0

    @property
    def peak_gbps(self) -> float:
        """Every data bus busy all the time [GB/s]."""
        return self.device.peak_gbps * self.channels

    @property
    def latency_mean(self) -> float:
        """Mean read latency [ticks]; 0 without reads."""
        return self.latency_sum / self.reads if self.reads else 0.0

    def percentile(self, percent: int) -> int:
        """The read latency that `percent` % of the reads do not exceed: sorted[floor(share * reads)] [ticks]."""
        if not self.reads:
            return 0
        rank = min(self.reads - 1, percent * self.reads // 100)
        return int(np.searchsorted(np.cumsum(self.latency), rank + 1))

    def rows(self, kind: str, outcome: str) -> int:
        """Requests of a kind ("read", "write", "" for both) whose first command met "hits", "misses" or "conflicts"."""
        kinds = ("read", "write") if not kind else (kind,)
        return sum(self.statistics[Count[f"{each}_{outcome}".upper()]] for each in kinds)

    def energy_joules(self, *, toggle_rate: float = 0.5, standby: bool = False) -> dict[str, float]:
        """Energy by part [J]."""
        return command_energy(
            self.device.terms,
            self.commands,
            transaction_bits=8 * self.device.organisation.transaction_bytes,
            upper_banks=self.device.organisation.upper_banks,
            toggle_rate=toggle_rate,
            standby_seconds=self.seconds * self.channels if standby else 0.0,
        )

    def to_dict(self, *, toggle_rate: float = 0.5, standby: bool = False) -> dict[str, Any]:
        """Plain tables with provenance: device, mapping and controller included, no time, path or host."""
        terms, name = self.device.terms, self.device.rules.command_name
        energy = self.energy_joules(toggle_rate=toggle_rate, standby=standby)
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "device": self.device.to_dict(),
            "channels": self.channels,
            "mapping": self.mapping,
            "injection": None if self.injection is None else tables(self.injection),
            "requests": self.reads + self.writes,
            "reads": self.reads,
            "writes": self.writes,
            "ticks": self.ticks,
            "tick_ps": float(self.device.tick_ps),
            "seconds": self.seconds,
            "achieved_gbps": self.achieved_gbps,
            "peak_gbps": self.peak_gbps,
            "utilisation": self.achieved_gbps / self.peak_gbps,
            "rows": {outcome: self.rows("", outcome) for outcome in ("hits", "misses", "conflicts")},
            "read_rows": {outcome: self.rows("read", outcome) for outcome in ("hits", "misses", "conflicts")},
            "write_rows": {outcome: self.rows("write", outcome) for outcome in ("hits", "misses", "conflicts")},
            "forwarded_reads": self.statistics[Count.FORWARDED],
            "coalesced_writes": self.statistics[Count.COALESCED],
            "read_latency_ticks": {
                "mean": self.latency_mean,
                **{f"p{percent}": self.percentile(percent) for percent in PERCENTILES},
                "max": self.latency_max,
            },
            "latencies_beyond_range": int(self.latency[LATENCY_BINS - 1]) if len(self.latency) >= LATENCY_BINS else 0,
            "commands": {name(command): count for command, count in self.commands.items() if count},
            "banks": {
                "levels": list(self.device.rules.levels),
                "reads": self.bank_reads.tolist(),
                "writes": self.bank_writes.tolist(),
                "activations": self.bank_activations.tolist(),
            },
            "energy_joules": energy,
            "energy_total_joules": sum(energy.values()),
            "energy_source": terms.source,
            "energy_uncertainty": terms.uncertainty,
            "toggle_rate": toggle_rate,
            "standby": standby,
        }
