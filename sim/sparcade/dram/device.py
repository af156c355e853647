"""DRAM devices: organisation, timings, controller and energy as frozen dataclasses; presets are TOML with sources."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, Literal

from sparcade._presets import preset_path
from sparcade.config import build, check_counts, override, read_toml, tables
from sparcade.dram.commands import PROTOCOLS, Protocol, ProtocolName
from sparcade.dram.power import Energy, Idd, idd_energy
from sparcade.errors import ConfigError

#: Banks of a channel that the kernel's tables hold.
MAX_BANKS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """What one channel is made of; every count is a power of two."""

    data_bits: int  #: width of the data bus of a pseudo-channel, or of the channel [bit]
    prefetch: int  #: words of `data_bits` moved by one column step
    pseudo_channels: int = 1  #: of a channel (HBM)
    ranks: int = 1  #: of a channel (others)
    stack_ids: int = 1  #: SIDs of a pseudo-channel
    bank_groups: int  #: of a SID, pseudo-channel or rank
    banks: int  #: per bank group
    rows: int  #: per bank
    columns: int  #: words per row
    access_bytes: int | None = None  #: bytes of one transaction, where it is more than a column step

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and (value < 1 or value & (value - 1) or value > 1 << 24):
                raise ConfigError(
                    f"{entry.name} is not a power of two",
                    where=f"organisation.{entry.name}",
                    expected="1, 2, 4, 8, ... up to 2^24: an address is split into bits",
                    got=str(value),
                    remedy="use a power of two",
                )
        for what, value, low, high in (
            ("pseudo_channels", self.pseudo_channels, 1, MAX_BANKS if self.ranks == 1 else 1),
            ("columns", self.columns, self.prefetch, 1 << 24),
            ("data_bits", self.data_bits * self.prefetch, 8, 1 << 20),
            ("access_bytes", self.transaction_bytes, self.step_bytes, self.step_bytes * self.columns // self.prefetch),
            ("banks", self.channel_banks, 1, MAX_BANKS),
            ("rows", self.channel_bytes, 1, 1 << 47),
        ):
            if not low <= value <= high:
                raise ConfigError(
                    "the organisation does not add up",
                    where=f"organisation.{what}",
                    expected=_ORGANISATION_RULES[what].format(low=low, high=high),
                    got=str(value),
                    remedy="start from a preset",
                )

    @property
    def step_bytes(self) -> int:
        """Bytes of one column step: the unit of the address map."""
        return max(1, self.data_bits * self.prefetch // 8)

    @property
    def transaction_bytes(self) -> int:
        """Bytes that one RD or WR moves."""
        return self.access_bytes or self.step_bytes

    @property
    def uppers(self) -> int:
        """Pseudo-channels or ranks of a channel."""
        return self.pseudo_channels * self.ranks

    @property
    def channel_banks(self) -> int:
        """Banks of a channel."""
        return self.uppers * self.upper_banks

    @property
    def upper_banks(self) -> int:
        """Banks of a pseudo-channel or rank: those that one REFab refreshes."""
        return self.stack_ids * self.bank_groups * self.banks

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of one pseudo-channel or rank, as addressed."""
        return self.columns // self.prefetch * self.step_bytes

    @property
    def channel_bytes(self) -> int:
        """Bytes addressed in a channel."""
        return self.row_bytes * self.rows * self.channel_banks


_ORGANISATION_RULES = {
    "pseudo_channels": "pseudo-channels or ranks, not both",
    "columns": "at least `prefetch` = {low} words a row",
    "data_bits": "data_bits * prefetch of whole bytes, {low} to {high} bits",
    "access_bytes": "a transaction of {low} (one column step) to {high} bytes (a row)",
    "banks": "{low} to {high} banks a channel",
    "rows": "a channel of at most 2^47 bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Timings in CK, as JEDEC names them (n_rcd_rd is tRCD for reads, in clocks); `ns` gives nanoseconds."""

    t_ck_ps: Fraction  #: clock period [ps]
    n_bl: int  #: data bus occupied by one transaction
    n_cl: int  #: RD to data
    n_cwl: int  #: WR to data
    n_rcd_rd: int  #: ACT to RD
    n_rcd_wr: int  #: ACT to WR
    n_rp: int  #: PRE to ACT, same bank
    n_ras: int  #: ACT to PRE
    n_rc: int  #: ACT to ACT, same bank
    n_wr: int  #: end of write data to PRE
    n_rtp: int  #: RD to PRE
    n_ccd_s: int  #: RD to RD, WR to WR, other bank group
    n_ccd_l: int  #: RD to RD, WR to WR, same bank group
    n_rrd_s: int  #: ACT to ACT, other bank group
    n_rrd_l: int  #: ACT to ACT, same bank group
    n_faw: int  #: window of four ACT
    n_wtr_s: int  #: end of write data to RD, other bank group
    n_wtr_l: int  #: end of write data to RD, same bank group
    n_rfc: int  #: REFab to ACT
    n_refi: int  #: between two REFab
    n_bl_max: int | None = None  #: burst that counts for a RD of the bank group after a WR (LPDDR5); else n_bl
    n_ccd_s_wr: int | None = None  #: WR to WR, other bank group, where it differs
    n_ccd_l_wr: int | None = None  #: WR to WR of the bank group, where it differs
    n_ccd_r: int | None = None  #: RD to RD of another SID
    n_rtw: int | None = None  #: RD to WR; by default n_cl + n_bl + 2 - n_cwl
    n_rp_ab: int | None = None  #: PREab to ACT; else n_rp
    n_ppd: int = 0  #: PRE to PRE
    n_cs: int = 0  #: gap on the data bus between ranks
    n_rfc_pb: int | None = None  #: REFpb to ACT, same bank
    n_rrefd: int | None = None  #: REFpb to ACT, other bank
    n_refpb: int | None = None  #: REFpb to REFpb; else n_rrefd
    n_aad: int = 0  #: ACT1 to ACT2 at most (LPDDR5)
    n_wck_pst: int = 0  #: data clock runs on after a burst (LPDDR5)

    def __post_init__(self) -> None:
        if not 10 <= self.t_ck_ps <= 1_000_000:
            raise ConfigError(
                "the clock period is not plausible",
                where="timing.t_ck_ps",
                expected="10 to 1,000,000 ps",
                got=str(self.t_ck_ps),
                remedy="1000 is HBM2 at 1 GHz",
            )
        numbers = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "t_ck_ps"}
        optional = ("n_ppd", "n_cs", "n_aad", "n_wck_pst")
        for name, value in numbers.items():
            limit = 1 << 20 if name == "n_refi" else 1 << 14
            if value is not None and not (0 if name in optional else 1) <= value <= limit:
                raise ConfigError(
                    f"{name} is out of range",
                    where=f"timing.{name}",
                    expected=f"{0 if name in optional else 1} to {limit} clocks",
                    got=str(value),
                    remedy="start from a preset",
                )
        for low, high, reason in _ORDER:
            first, second = getattr(self, low), getattr(self, high)
            if first is not None and second is not None and first > second:
                raise ConfigError(
                    "the timings contradict each other",
                    where=f"timing.{high}",
                    expected=f"at least {low} = {first}: {reason}",
                    got=str(second),
                    remedy=f"raise {high} or lower {low}",
                )
        for name, value in numbers.items():
            if value is not None and value > self.n_refi:
                raise ConfigError(
                    f"{name} is longer than a refresh interval",
                    where=f"timing.{name}",
                    expected=f"at most n_refi = {self.n_refi}: no rule holds a device for longer",
                    got=str(value),
                    remedy="start from a preset",
                )

    def ns(self, name: str) -> float:
        """A timing in nanoseconds."""
        return float(getattr(self, name) * self.t_ck_ps / 1000)


#: (smaller, larger, why): sets that no device can have.
_ORDER = (
    ("n_ccd_s", "n_ccd_l", "the same bank group is never faster than another"),
    ("n_ccd_s_wr", "n_ccd_l_wr", "the same bank group is never faster than another"),
    ("n_rrd_s", "n_rrd_l", "the same bank group is never faster than another"),
    ("n_wtr_s", "n_wtr_l", "the same bank group is never faster than another"),
    ("n_rcd_rd", "n_ras", "a row would close before its first read"),
    ("n_rcd_wr", "n_ras", "a row would close before its first write"),
    ("n_ras", "n_rc", "a row cycle holds the time the row is open"),
    ("n_rrd_s", "n_faw", "a window of four ACT is not shorter than the gap of two"),
    ("n_bl", "n_bl_max", "the longest burst is not shorter than the burst"),
    ("n_rfc", "n_refi", "a refresh would not end before the next"),
    ("n_rfc_pb", "n_rfc", "one bank refreshes no slower than all"),
    ("n_rrefd", "n_rfc_pb", "another bank waits no longer than the refreshed one"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The controller of a channel: queues, scheduling, row policy, refresh, write drain."""

    scheduler: Literal["fr-fcfs", "fr-fcfs-row-hit"] = "fr-fcfs"  #: first ready, or sparing rows that hits wait for
    row_policy: Literal["open", "closed"] = "open"  #: rows stay open, or close after `cap`
    cap: int = 4  #: column accesses after which the `closed` policy closes a row
    refresh: Literal["all-bank", "per-bank", "none"] = "all-bank"  #: all banks at once, one after the other, or never
    read_queue: int = 32  #: reads queued at most
    write_queue: int = 32  #: writes queued at most
    write_high: int = 26  #: queued writes that switch to writing (more than 80 % of 32)
    write_low: int = 6  #: queued writes at which reads are served again (less than 20 %)

    def __post_init__(self) -> None:
        check_counts(self, cap=1 << 20, read_queue=4096, write_queue=4096, write_high=self.write_queue)
        if not 0 <= self.write_low < self.write_high:
            raise ConfigError(
                "the write drain would not end",
                where="controller.write_low",
                expected=f"0 to write_high - 1 = {self.write_high - 1}",
                got=str(self.write_low),
                remedy="lower write_low or raise write_high",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One kind of DRAM: everything a channel's behaviour and energy depend on."""

    name: str  #: the preset's or file's, unless stated
    protocol: ProtocolName  #: whose commands and rules
    source: str  #: where the numbers are from
    organisation: Organisation  #: what a channel is made of
    timing: Timing  #: in clocks, but for the clock itself
    controller: Controller = field(default_factory=Controller)  #: queues, scheduling, rows, refresh
    energy: Energy | None = None  #: stated per access, or
    idd: Idd | None = None  #: derived from currents

    def __post_init__(self) -> None:
        for where, expected, got, wrong in itertools.chain(self._structure(), self._refresh()):
            if wrong:
                raise ConfigError(
                    "the device does not fit its protocol",
                    where=where,
                    expected=expected,
                    got=got,
                    remedy=f"start from a preset of {self.protocol}",
                )

    def _structure(self) -> Iterator[tuple[str, str, str, bool]]:
        """(where, expected, got, wrong) of levels, split activation and energy."""
        organisation, rules, n_aad = self.organisation, self.rules, self.timing.n_aad
        for name, level, count in (
            ("stack_ids", "Sid", organisation.stack_ids),
            ("ranks", "Rank", organisation.ranks),
            ("pseudo_channels", "PseudoChannel", organisation.pseudo_channels),
        ):
            expected = f"1: {self.protocol} has no level {level}"
            yield f"organisation.{name}", expected, str(count), level not in rules.levels and count > 1
        latest = min(self.timing.n_rcd_rd, self.timing.n_rcd_wr) - 1
        expected = f"1 to {latest} clocks from ACT1 to ACT2, before the row is read"
        yield "timing.n_aad", expected, str(n_aad), rules.split_activate and not 1 <= n_aad <= latest
        got = "both" if self.energy and self.idd else "neither"
        yield "energy", "an [energy] or an [idd] table, one of them", got, (self.energy is None) == (self.idd is None)
        act_pj = self.terms.act_pj  # checks the currents it is derived from
        yield "energy.act_pj", "0 or more", str(act_pj), act_pj < 0

    def _refresh(self) -> Iterator[tuple[str, str, str, bool]]:
        """(where, expected, got, wrong) of refresh."""
        timing, per_bank = self.timing, self.controller.refresh == "per-bank"
        close = timing.n_ras + timing.n_cwl + timing.n_bl + timing.n_wr + (timing.n_rp_ab or timing.n_rp)
        least = timing.n_rfc + self.organisation.uppers * close + timing.n_rc
        crowded = self.controller.refresh == "all-bank" and timing.n_refi < least
        expected = f"at least {least}, or a refresh would not end before the next and leave time for requests"
        yield "timing.n_refi", expected, str(timing.n_refi), crowded
        expected = f"all-bank or none: {self.protocol} refreshes all banks at once here"
        yield "controller.refresh", expected, "per-bank", per_bank and not self.rules.per_bank_refresh
        yield "timing.n_rfc_pb", "the time of a per-bank refresh", "nothing", per_bank and timing.n_rfc_pb is None
        share, gap = timing.n_refi // self.organisation.channel_banks, timing.n_refpb or timing.n_rrefd or 1
        expected = (
            f"at least {gap} clocks a bank between two REFpb, so n_refi of {gap * self.organisation.channel_banks}"
        )
        yield "timing.n_refi", expected, f"{timing.n_refi}: {share} clocks a bank", per_bank and share < gap

    @staticmethod
    def preset(name: str) -> Device:
        """The device of a preset or file: what a text in a configuration stands for."""
        return load_device(name)

    @property
    def rules(self) -> Protocol:
        """The protocol."""
        return PROTOCOLS[self.protocol]

    @property
    def tick_ps(self) -> Fraction:
        """Period of one model tick [ps]."""
        return self.timing.t_ck_ps / self.rules.ticks_per_ck

    @property
    def read_latency(self) -> int:
        """RD to the end of its data [ticks]."""
        return (self.timing.n_cl + self.timing.n_bl) * self.rules.ticks_per_ck

    @property
    def peak_gbps(self) -> float:
        """Peak bandwidth of a channel [GB/s]: every data bus busy."""
        organisation, timing = self.organisation, self.timing
        burst_ps = timing.n_bl * timing.t_ck_ps
        return float(organisation.transaction_bytes * organisation.pseudo_channels * 1000 / burst_ps)

    @property
    def terms(self) -> Energy:
        """Energy per command and bit."""
        if self.energy is not None:
            return self.energy
        assert self.idd is not None
        timing = self.timing
        return idd_energy(
            self.idd,
            t_rc=timing.ns("n_rc"),
            t_ras=timing.ns("n_ras"),
            t_rfc=timing.ns("n_rfc"),
            transaction_bits=8 * self.organisation.transaction_bytes,
            ranks=self.organisation.ranks,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain tables."""
        return dict(tables(self))


def load_device(name: str, settings: Sequence[str] = ()) -> Device:
    """A device from a preset name or a TOML file, with settings such as "timing.n_rcd_rd=16" applied.

    Raises
    ------
    ConfigError
        When there is no such preset or key, or no device can have the value; the reason is given.
    """
    path = preset_path("dram", name)
    device = build(Device, {"name": path.stem, **read_toml(path)}, where=str(name))
    return override(Device, device, settings, where=f"dram {name}")
