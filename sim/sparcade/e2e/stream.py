"""`Stream`: how fast the arch's DRAM delivers weights that lie one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparcade.arch import Arch
from sparcade.dram import DramSystem, Injection, requests
from sparcade.dram.commands import Command

#: Transactions of a channel in a measured stream: some twenty refresh intervals of HBM2.
SAMPLE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A sequential stream of reads on the DRAM of an arch, measured; longer and shorter ones are scaled from it."""

    transactions: int
    cycles: int  #: of the core
    activations: int = 0
    refreshes: int = 0  #: of all banks
    bank_refreshes: int = 0

    def cycles_of(self, transactions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Core cycles that streams of so many transactions take, rounded up."""
        return -(-transactions * self.cycles // self.transactions)

    def gbps(self, arch: Arch) -> float:
        """Bandwidth measured on the arch [GB/s]."""
        return self.transactions * arch.dram.transaction_bytes * arch.clock_ghz / self.cycles


def measure_stream(arch: Arch, transactions_per_channel: int = SAMPLE) -> Stream:
    """Read consecutive addresses from the arch's DRAM: its device, mapping, channels, outstanding, refresh included.

    At most one transaction per channel, and as many as there are fetch ports, in a core cycle. The ideal memory has a
    closed form: one transaction per channel and cycle, if enough are outstanding to hide its latency.

    Raises
    ------
    ConfigError
        When the controller can never serve the stream (a closed row policy).
    StreamError
        When the stream is longer than the device.
    """
    dram = arch.dram
    transactions = transactions_per_channel * dram.channels
    least = math.ceil(transactions / min(dram.channels, arch.fetch_ports))
    if dram.kind == "ideal":
        each = max(1.0, dram.ideal.latency / dram.ideal.outstanding)
        cycles = dram.ideal.latency + math.ceil(transactions_per_channel * each)
        return Stream(transactions=transactions, cycles=max(least, cycles))
    system = DramSystem(dram.device, channels=dram.channels, mapping=dram.mapping)
    addresses = np.arange(transactions) * dram.transaction_bytes
    result = system.run([requests(addresses)], Injection(max_outstanding_per_channel=dram.outstanding))
    return Stream(
        transactions=transactions,
        cycles=max(least, math.ceil(result.ticks / arch.dram_ticks_per_cycle)),
        activations=result.commands[Command.ACT],
        refreshes=result.commands[Command.REFAB],
        bank_refreshes=result.commands[Command.REFPB],
    )
