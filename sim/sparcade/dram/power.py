"""Energy of DRAM commands: stated per access, or derived from data-sheet currents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from sparcade.dram.commands import Command
from sparcade.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy of one channel's commands; E = ACT + bits (base + toggle / 0.5 * swing) + refresh + standby."""

    act_pj: float  #: one ACT with its PRE [pJ]
    read_pj_per_bit: float  #: RD without toggling [pJ/bit]
    write_pj_per_bit: float  #: WR without toggling [pJ/bit]
    toggle_pj_per_bit: float = 0.0  #: added at a toggle rate of 50 % [pJ/bit]
    refresh_pj: float = 0.0  #: one REFab [pJ]
    standby_mw: float = 0.0  #: background of a channel, charged on request [mW]
    uncertainty: str  #: as the source states it
    source: str  #: where the numbers are from

    def __post_init__(self) -> None:
        _check_numbers(self, "energy", 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idd:
    """Data-sheet currents of one device of a rank [mA]."""

    vdd: float  #: supply [V]
    idd0: float  #: ACT-PRE cycling
    idd2n: float  #: precharged standby
    idd3n: float  #: active standby
    idd4r: float  #: read burst
    idd4w: float  #: write burst
    idd5: float  #: refresh
    devices: int  #: that work together in a rank
    data_rate_mbps: float  #: per pin, at which IDD4 holds
    data_bits: int  #: width of a rank [bit]
    uncertainty: str  #: as the source states it
    source: str  #: where the numbers are from

    def __post_init__(self) -> None:
        _check_numbers(self, "idd", 1e6, positive=("vdd", "devices", "data_rate_mbps", "data_bits"))
        if self.idd0 <= self.idd2n or self.idd4r <= self.idd3n or self.idd4w <= self.idd3n or self.idd5 <= self.idd3n:
            raise ConfigError(
                "the currents contradict each other",
                where="idd",
                expected="idd0 above idd2n; idd4r, idd4w and idd5 above idd3n",
                got=f"{self.idd0}, {self.idd2n}; {self.idd4r}, {self.idd4w}, {self.idd5}, {self.idd3n} mA",
                remedy="copy the currents of one speed bin of one data sheet",
            )


def idd_energy(idd: Idd, *, t_rc: float, t_ras: float, t_rfc: float, transaction_bits: int, ranks: int) -> Energy:
    """Energy terms from currents by the usual recipe (core only, no I/O termination); times in ns.

    ACT = V (IDD0 tRC - IDD3N tRAS - IDD2N (tRC - tRAS)), RD = V (IDD4R - IDD3N) burst, REF = V (IDD5 - IDD3N) tRFC,
    each times the devices of a rank; standby = V IDD3N of all ranks.
    """
    scale = idd.vdd * idd.devices  # mA * V * ns = pJ
    act_pj = scale * (idd.idd0 * t_rc - idd.idd3n * t_ras - idd.idd2n * (t_rc - t_ras))
    if act_pj <= 0:
        raise ConfigError(
            "the currents give an activation no energy",
            where="idd.idd0",
            expected="more than standby draws over tRC: idd0 tRC above idd3n tRAS + idd2n (tRC - tRAS)",
            got=f"idd0 {idd.idd0}, idd3n {idd.idd3n}, idd2n {idd.idd2n} mA; tRC {t_rc:g}, tRAS {t_ras:g} ns",
            remedy="copy the currents of one speed bin of one data sheet",
        )
    burst_ns = transaction_bits / (idd.data_bits * idd.data_rate_mbps * 1e-3)
    return Energy(
        act_pj=act_pj,
        read_pj_per_bit=scale * (idd.idd4r - idd.idd3n) * burst_ns / transaction_bits,
        write_pj_per_bit=scale * (idd.idd4w - idd.idd3n) * burst_ns / transaction_bits,
        refresh_pj=scale * (idd.idd5 - idd.idd3n) * t_rfc,
        standby_mw=ranks * scale * idd.idd3n,
        uncertainty=idd.uncertainty,
        source=idd.source,
    )


def command_energy(
    terms: Energy,
    commands: Mapping[Command, int],
    *,
    transaction_bits: int,
    upper_banks: int,
    toggle_rate: float,
    standby_seconds: float,
) -> dict[str, float]:
    """Energy by part [J] of counted commands.

    Parameters
    ----------
    upper_banks : banks that one REFab refreshes; a REFpb costs that share of it.
    toggle_rate : share of data bits that change, 0 to 1; the terms hold at 0.5.
    standby_seconds : channel-seconds of standby to charge; 0 leaves it out.
    """
    check_toggle_rate(toggle_rate, where="toggle_rate")
    swing = terms.toggle_pj_per_bit * toggle_rate / 0.5
    reads = (commands[Command.RD] + commands[Command.RDA]) * transaction_bits
    writes = (commands[Command.WR] + commands[Command.WRA]) * transaction_bits
    refreshes = commands[Command.REFAB] + commands[Command.REFPB] / upper_banks
    return {
        "activation": commands[Command.ACT] * terms.act_pj * 1e-12,
        "read": reads * (terms.read_pj_per_bit + swing) * 1e-12,
        "write": writes * (terms.write_pj_per_bit + swing) * 1e-12,
        "refresh": refreshes * terms.refresh_pj * 1e-12,
        "standby": terms.standby_mw * 1e-3 * standby_seconds,
    }


def check_toggle_rate(rate: float, *, where: str) -> None:
    """Raise a `ConfigError` for a share of toggling bits that is none."""
    if not 0 <= rate <= 1:
        raise ConfigError(
            "the toggle rate is not possible",
            where=where,
            expected="0 to 1",
            got=repr(rate),
            remedy="0.5 is random data",
        )


def _check_numbers(table: object, where: str, limit: float, positive: tuple[str, ...] = ()) -> None:
    for entry in fields(table):  # type: ignore[arg-type]
        value = getattr(table, entry.name)
        if isinstance(value, int | float) and (not 0 <= value <= limit or (value == 0 and entry.name in positive)):
            raise ConfigError(
                f"{entry.name} is not plausible",
                where=f"{where}.{entry.name}",
                expected=f"{'above ' * (entry.name in positive)}0 to {limit:g}",
                got=repr(value),
                remedy="start from a preset",
            )
