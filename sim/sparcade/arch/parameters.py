"""Hardware parameters of the accelerator, as frozen dataclasses; each preset names its sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sparcade._presets import preset_path
from sparcade.config import build, check_counts, override, read_toml, tables
from sparcade.errors import ConfigError
from sparcade.topk.engine import TopKParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Dram:
    """The memory behind the fetcher. `ideal`: fixed latency, in order, full bandwidth on any address."""

    kind: Literal["ideal"] = "ideal"
    channels: int = 16  #: a power of two
    transaction_bytes: int = 32  #: bytes moved by one transaction, one per channel and cycle; a power of two
    latency: int = 20  #: acceptance to data at the input register [cycles]
    outstanding: int = 64  #: transactions in flight per channel
    energy_pj_per_bit: float = 3.92  #: flat, per bit moved [pJ/bit]
    source: str = "as counted in the RTL reference runs; energy: O'Connor MICRO 2017, average per access"

    def __post_init__(self) -> None:
        check_counts(self, latency=1 << 20, outstanding=4096, channels=1024, transaction_bytes=4096)
        for name in ("channels", "transaction_bytes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ConfigError(
                    f"{name} is not a power of two",
                    where=name,
                    expected="1, 2, 4, 8, ...: channels interleave on address bits",
                    got=str(value),
                    remedy="use 8 or 16",
                )
        if not 0 <= self.energy_pj_per_bit < 1e6:
            raise ConfigError(
                "the energy per bit is not plausible",
                where="energy_pj_per_bit",
                expected="0 to 1e6 pJ/bit",
                got=repr(self.energy_pj_per_bit),
                remedy="3.92 is the average of O'Connor et al.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sram:
    """One of the two vector buffers: `lines` of `multipliers` 12-bit words."""

    lines: int = 256

    def __post_init__(self) -> None:
        check_counts(self, lines=1 << 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """The softmax pipeline."""

    latency: int = 87  #: last score in to first probability out [cycles]
    fifo_beats: int = 128  #: beats held until the sum of the row is known

    def __post_init__(self) -> None:
        check_counts(self, latency=1 << 20, fifo_beats=1 << 22)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """One accelerator. docs/pipeline.md says what each number does."""

    name: str
    source: str
    clock_ghz: float = 1.0
    multipliers: int = 512  #: per array (Q x K, prob x V)
    max_scores_per_cycle: int = 8
    fetch_ports: int = 32  #: transactions issued and returned per cycle
    address_fifo: int = 64  #: per port [transactions]
    data_fifo: int = 64  #: per port [transactions]
    fetch_latency: int = 14  #: pipeline registers of address generation, realignment, conversion, SRAM write [cycles]
    converter_lines: int = 2  #: buffer lines converted and written per cycle
    live_allocations: int = 16  #: per buffer
    k_phases: int = 8  #: rows being fetched or multiplied at once
    decision_queries: int = 8  #: queries between the start of Q x K and their LSB decision
    probability_queries: int = 16  #: queries between their LSB decision and the end of prob x V
    qk_latency: int = 14  #: SRAM read and Q x K pipeline [cycles]
    decision_latency: int = 6
    pv_latency: int = 6
    gqa_share: bool = True  #: K and V of a KV head are fetched once for its query heads
    layers_overlap: bool = False  #: a layer may start before the one before has retired (as the released bench assumes)
    fetch_queries: bool = True
    write_outputs: bool = True
    layout: Literal["padded", "packed"] = "padded"
    key_sram: Sram = field(default_factory=Sram)
    value_sram: Sram = field(default_factory=Sram)
    softmax: Softmax = field(default_factory=Softmax)
    topk: TopKParams = field(default_factory=TopKParams)
    dram: Dram = field(default_factory=Dram)

    def __post_init__(self) -> None:
        check_counts(
            self,
            multipliers=1 << 20,
            max_scores_per_cycle=4096,
            fetch_ports=1024,
            address_fifo=4096,
            data_fifo=4096,
            fetch_latency=1 << 16,
            converter_lines=4096,
            live_allocations=1 << 20,
            k_phases=1 << 20,
            decision_queries=1 << 20,
            probability_queries=1 << 20,
            qk_latency=1 << 20,
            decision_latency=1 << 20,
            pv_latency=1 << 20,
        )
        if not 0 < self.clock_ghz <= 100:
            raise ConfigError(
                "the clock is not plausible",
                where="clock_ghz",
                expected="above 0, at most 100 GHz",
                got=repr(self.clock_ghz),
                remedy="the paper's clock is 1.0",
            )
        if self.address_fifo * self.fetch_ports < self.dram.channels:
            raise ConfigError(
                "the address FIFOs hold less than one transaction per channel",
                where="address_fifo",
                expected=f"address_fifo * fetch_ports of at least dram.channels = {self.dram.channels}",
                got=str(self.address_fifo * self.fetch_ports),
                remedy="raise address_fifo",
            )

    @property
    def peak_gbps(self) -> float:
        """Peak DRAM bandwidth [GB/s]."""
        return self.dram.channels * self.dram.transaction_bytes * self.clock_ghz

    def to_dict(self) -> dict[str, Any]:
        """Plain tables."""
        return dict(tables(self))


def load_arch(name: str, settings: Sequence[str] = ()) -> Arch:
    """An arch from a preset name or a TOML file, with settings such as "dram.channels=8" applied.

    Raises
    ------
    ConfigError
        When there is no such preset, key, or the hardware cannot do the value.
    """
    path = preset_path("arch", name)
    arch = build(Arch, {"name": path.stem, **read_toml(path)}, where=str(name))
    return override(Arch, arch, settings, where=f"arch {name}")
