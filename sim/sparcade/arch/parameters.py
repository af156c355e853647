"""Hardware parameters of the accelerator, as frozen dataclasses; each preset names its sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from sparcade._presets import preset_path
from sparcade.config import build, check_counts, override, read_toml, tables
from sparcade.dram.device import Device, load_device
from sparcade.dram.mapping import AddressMap, address_map, check_channels, parse_mapping
from sparcade.dram.power import check_toggle_rate
from sparcade.errors import ConfigError
from sparcade.topk.params import TopKParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideal:
    """The `ideal` memory: fixed latency, in order, full bandwidth on any address."""

    transaction_bytes: int = 32  #: bytes moved by one transaction, one per channel and cycle; a power of two
    latency: int = 20  #: acceptance to data at the input register [cycles]
    outstanding: int = 64  #: transactions in flight per channel
    energy_pj_per_bit: float = 3.92  #: flat, per bit moved [pJ/bit]
    #: where the numbers are from
    source: str = "as counted in the RTL reference runs; energy: O'Connor MICRO 2017, average per access"

    def __post_init__(self) -> None:
        check_counts(self, latency=1 << 20, outstanding=4096, transaction_bytes=4096)
        if self.transaction_bytes & (self.transaction_bytes - 1):
            raise ConfigError(
                "transaction_bytes is not a power of two",
                where="transaction_bytes",
                expected="1, 2, 4, 8, ...: channels interleave on address bits",
                got=str(self.transaction_bytes),
                remedy="use 32",
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
class Dram:
    """The memory behind the fetcher: cycle-exact controllers of a `device`, or the `ideal` memory."""

    kind: Literal["controller", "ideal"] = "controller"  #: cycle-exact controllers, or fixed latency and full bandwidth
    channels: int = 16  #: a power of two
    device: Device = field(default_factory=lambda: load_device("hbm2"))  #: or the name of its preset
    mapping: str = "PcBgCo"  #: of addresses to channels, banks, rows (sparcade.dram.mapping)
    outstanding: int = 16  #: transactions sent to a channel's controller and not completed
    #: A transaction may take the place of one that completes in the same cycle; else in the next, of one taken.
    early_reuse: bool = True
    pairing: Literal["by id", "in order of arrival"] = "by id"  #: of responses with the requests of their channel
    toggle_rate: float = 0.5  #: share of data bits that change, for energy
    standby: bool = False  #: charge standby power
    ideal: Ideal = field(default_factory=Ideal)  #: with `kind = "ideal"`

    def __post_init__(self) -> None:
        check_counts(self, outstanding=4096)
        check_channels(self.channels, where="channels")
        check_toggle_rate(self.toggle_rate, where="toggle_rate")
        self.address_map()

    def address_map(self) -> AddressMap:
        """The mapping of addresses, for these channels."""
        return address_map(parse_mapping(self.mapping, self.device, self.channels), self.device, self.channels)

    @property
    def transaction_bytes(self) -> int:
        """Bytes of one transaction; channels interleave at this size."""
        return self.ideal.transaction_bytes if self.kind == "ideal" else self.device.organisation.transaction_bytes

    @property
    def label(self) -> str:
        """What to call it in a title."""
        return "ideal memory" if self.kind == "ideal" else f"{self.device.name} x {self.channels}, {self.mapping}"

    @property
    def sources(self) -> tuple[str, ...]:
        """What its numbers rest on."""
        if self.kind == "ideal":
            return (f"ideal memory: {self.ideal.source}",)
        terms = self.device.terms
        return (f"DRAM: {self.device.source}", f"DRAM energy: {terms.source}; uncertainty: {terms.uncertainty}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sram:
    """One of the two vector buffers: `lines` of `multipliers` 12-bit words."""

    lines: int = 256  #: each as wide as the array: `multipliers` words
    #: A line is spread over so many banks: energy and area only, never timing. The paper does not say how it is split;
    #: with 12 and 512 multipliers a bank is 16 KiB in words of 512 bits, where CACTI's cost of wide words is small.
    banks: int = 12

    def __post_init__(self) -> None:
        check_counts(self, lines=1 << 24, banks=1 << 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """The softmax pipeline."""

    latency: int = 87  #: last score in to first probability out [cycles]; 0: a wire, nothing is held
    fifo_beats: int = 128  #: beats held until the sum of the row is known

    def __post_init__(self) -> None:
        check_counts(self, least=0, latency=1 << 20)
        check_counts(self, fifo_beats=1 << 22)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """One accelerator. docs/pipeline.md says what each number does."""

    name: str  #: the preset's or file's, unless stated
    source: str  #: where the numbers are from
    clock_ghz: float = 1.0  #: of the core [GHz]
    multipliers: int = 512  #: per array (Q x K, prob x V)
    max_scores_per_cycle: int = 8  #: keys, and values, per cycle at most
    gqa_share: bool = True  #: K and V of a KV head are fetched once for its query heads
    layers_overlap: bool = False  #: a layer may start before the one before has retired (as the released bench assumes)
    fetch_queries: bool = True  #: Q comes from DRAM
    write_outputs: bool = True  #: outputs go to DRAM
    layout: Literal["padded", "packed"] = "padded"  #: vectors in whole transactions, or bit after bit
    # Issue
    k_phases: int = 8  #: queries between issue and their last key line
    decision_queries: int = 8  #: queries with an LSB plane between issue and their decision
    issue_latency: int = 3  #: issue to the first row of addresses [cycles]
    phase_gap: int = 7  #: last key line read to the end of the K phase [cycles]
    requantise_latency: int = 6  #: first beat out of the decision to the recomputation waiting for issue [cycles]
    key_free_latency: int = 4  #: from there to free key lines, for a row that is final [cycles]
    live_allocations: int = 16  #: per buffer
    line_rounding: int = 2  #: buffer lines are allocated in multiples of this
    # Fetcher
    fetch_ports: int = 32  #: addresses in a row, transactions returned in a row
    address_fifo: int = 64  #: per port [transactions]
    data_fifo: int = 64  #: per port: transactions sent and not left [transactions]
    crossbar: Literal["oldest row first", "lowest port first"] = "oldest row first"  #: of the ports that ask a channel
    fifo_latency: int = 2  #: push to visible at the head [cycles]
    realign_rows: int = 2  #: rows held for realignment
    converter_lines: int = 2  #: buffer lines converted and written per cycle
    convert_latency: int = 4  #: out of realignment to readable in the buffer [cycles]
    # Q x K
    read_latency: int = 3  #: issue to the first try at reading a key line [cycles]
    read_retry: int = 1  #: cycles between two tries at a line that is not there (both buffers)
    qk_latency: int = 9  #: key line read to its scores [cycles]
    # Decision
    decision_latency: int = 6  #: last score of a row to the row's first beat out [cycles]
    decision_maxima: int = 8  #: complete rows that may wait behind the one that leaves
    decision_skid: int = 5  #: beats that still enter when no more row may wait
    decided_stages: int = 11  #: elastic pipeline between decision and reorder buffer, a beat a stage
    reorder_recomputed: bool = True  #: recomputed rows are buffered; else they wait in that pipeline
    reorder_latency: int = 2  #: through the reorder buffer [cycles]
    reorder_beats: int = 4096  #: beats of queries issued and not through local V top-k
    # prob x V
    pv_start: int = 1  #: first probability to the first try at reading a value line [cycles]
    pv_latency: int = 13  #: value line read to the result [cycles]
    probability_fifo: int = 64  #: beats waiting for their values
    probability_latency: int = 9  #: value line read to its place in the FIFO free [cycles]
    #: The next V fetch may begin when at most so many lines before it are unread and, if below the buffer, all written.
    value_overlap_lines: int = 1 << 24
    # What the released RTL does and the paper does not
    cascade_engine: bool = True  #: cascade selections take time on a second top-k engine; the released RTL has none
    count_rounding: int = 1  #: key and value counts are rounded up to multiples of this
    wide_words: Literal["as they are", "8+4"] = "as they are"  #: above 8 bit: K as 8 + 4 always refetched, V as 8
    fused_pairs: bool = False  #: two heads of 6-bit keys are fetched together
    split_register: bool = False  #: a row of addresses that finds the FIFOs full moves aside, the next is split
    key_ids: Literal["workload", "index-table"] = "workload"  #: or the released table of random ids
    share_lsb: bool = True  #: a plane of LSBs is fetched once for all queries of its keys
    shared_value_ids: bool = False  #: the queries of a row use the value ids of the first
    value_rotation: int = 0  #: beats by which the ids of a row of value addresses are rotated
    key_sram: Sram = field(default_factory=Sram)  #: the buffer of K
    value_sram: Sram = field(default_factory=Sram)  #: the buffer of V
    softmax: Softmax = field(default_factory=Softmax)
    topk: TopKParams = field(default_factory=TopKParams)  #: both top-k engines: local V and cascade
    dram: Dram = field(default_factory=Dram)

    def __post_init__(self) -> None:
        check_counts(
            self,
            multipliers=1 << 20,
            max_scores_per_cycle=4096,
            k_phases=1 << 20,
            decision_queries=1 << 20,
            issue_latency=1 << 16,
            phase_gap=1 << 16,
            requantise_latency=1 << 16,
            key_free_latency=1 << 16,
            live_allocations=1 << 20,
            line_rounding=64,
            fetch_ports=1024,
            address_fifo=4096,
            data_fifo=4096,
            fifo_latency=1 << 10,
            converter_lines=4096,
            convert_latency=1 << 10,
            read_latency=1 << 16,
            read_retry=1 << 10,
            qk_latency=1 << 16,
            decision_latency=1 << 16,
            decision_maxima=1 << 20,
            decision_skid=1 << 20,
            decided_stages=1 << 10,
            reorder_latency=1 << 16,
            reorder_beats=1 << 24,
            pv_start=1 << 16,
            pv_latency=1 << 16,
            probability_fifo=1 << 20,
            probability_latency=1 << 10,
            count_rounding=1 << 10,
        )
        check_counts(self, least=2, realign_rows=64)
        check_counts(self, least=0, value_overlap_lines=1 << 24, value_rotation=1 << 10)
        if self.requantise_latency >= self.decided_stages:
            raise ConfigError(
                "the LSB decision comes behind the pipeline that it is taken in",
                where="requantise_latency",
                expected=f"below decided_stages, {self.decided_stages}",
                got=str(self.requantise_latency),
                remedy="raise decided_stages or lower requantise_latency",
            )
        for name in ("key_sram", "value_sram"):
            banks = getattr(self, name).banks
            if self.multipliers * 12 % banks:
                raise ConfigError(
                    "a line does not divide over the banks",
                    where=f"{name}.banks",
                    expected=f"a divisor of the {self.multipliers * 12} bits of a line (12 per multiplier)",
                    got=str(banks),
                    remedy="12 banks divide any line",
                )
        if not 0 < self.clock_ghz <= 100:
            raise ConfigError(
                "the clock is not plausible",
                where="clock_ghz",
                expected="above 0, at most 100 GHz",
                got=repr(self.clock_ghz),
                remedy="the paper's clock is 1.0",
            )
        ratio = self.dram_ticks_per_cycle
        if max(ratio.numerator, ratio.denominator) >= 1 << 22:
            raise ConfigError(
                "the clocks of core and DRAM have no simple ratio",
                where="clock_ghz",
                expected="DRAM ticks per core cycle as a fraction of integers below 2^22: they cross exactly",
                got=f"{ratio.numerator} / {ratio.denominator}",
                remedy="round clock_ghz (and dram.device.timing.t_ck_ps) to a few digits",
            )
        if self.key_ids == "index-table" and self.fetch_ports not in (4, 32):
            raise ConfigError(
                "there is no index table for so many ports",
                where="fetch_ports",
                expected="32 or 4, as the released designs",
                got=str(self.fetch_ports),
                remedy='key_ids = "workload"',
            )
        if self.count_rounding > 1 and self.key_ids != "index-table":
            raise ConfigError(
                "rounded counts need more ids than the workload has",
                where="count_rounding",
                expected='key_ids = "index-table"',
                got=f"count_rounding = {self.count_rounding} with the ids of the workload",
                remedy="count_rounding = 1",
            )
        if self.shared_value_ids and self.key_ids != "index-table":
            raise ConfigError(
                "the queries of a row have value ids of their own",
                where="shared_value_ids",
                expected='key_ids = "index-table"',
                got="shared_value_ids with the ids of the workload",
                remedy="shared_value_ids = false",
            )
        table = self.key_ids == "index-table"
        if self.layout == "packed" and (self.fused_pairs or self.value_rotation or table):
            raise ConfigError(
                "fused pairs, rotated rows and ids of the table have no packed layout",
                where="layout",
                expected='"padded" with fused_pairs, value_rotation or key_ids = "index-table"',
                got='"packed"',
                remedy='layout = "padded"',
            )
        if self.gqa_share and (self.fused_pairs or table):
            raise ConfigError(
                "what only the released hardware does knows no KV groups",
                where="gqa_share",
                expected='false with fused_pairs or key_ids = "index-table"',
                got="true",
                remedy="gqa_share = false",
            )

    @property
    def departures(self) -> tuple[str, ...]:
        """Where it departs from the workload as given, for the report."""
        notes = (
            (self.count_rounding > 1, f"counts of keys and values rounded up to multiples of {self.count_rounding}"),
            (
                self.wide_words == "8+4",
                "words above 8 bit: keys as 8 + 4 bit with a refetch in every query, values as 8",
            ),
            (self.fused_pairs, "6-bit keys of two heads fetched together"),
            (self.key_ids == "index-table", "ids of the released index table instead of the workload's"),
            (not self.cascade_engine, "cascade selections take no time"),
        )
        return tuple(f"{self.name}: {text}" for applies, text in notes if applies)

    @property
    def peak_gbps(self) -> float:
        """Peak DRAM bandwidth [GB/s]."""
        dram = self.dram
        if dram.kind == "controller":
            return dram.device.peak_gbps * dram.channels
        return dram.channels * dram.transaction_bytes * self.clock_ghz

    @property
    def dram_ticks_per_cycle(self) -> Fraction:
        """DRAM ticks in a core cycle, exactly (the clock as it is written)."""
        return 1000 / Fraction(str(self.clock_ghz)) / self.dram.device.tick_ps

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
