"""DRAM commands and the protocols that use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from typing import Literal

ProtocolName = Literal["HBM2", "HBM2-release", "HBM3", "DDR4", "DDR5", "LPDDR5", "GDDR6"]


class Command(IntEnum):
    """Commands of all protocols; ACT is ACT1 in LPDDR5, whose second half is ACT2."""

    ACT = 0
    PRE = 1
    PREAB = 2
    RD = 3
    WR = 4
    RDA = 5
    WRA = 6
    REFAB = 7
    REFPB = 8
    ACT2 = 9
    CAS_RD = 10
    CAS_WR = 11


ROW_COMMANDS = (Command.ACT, Command.PRE, Command.PREAB, Command.REFAB, Command.REFPB)
COLUMN_COMMANDS = (Command.RD, Command.WR, Command.RDA, Command.WRA)
#: Names in command logs and tables.
NAMES = {
    Command.ACT: "ACT",
    Command.PRE: "PREpb",
    Command.PREAB: "PREab",
    Command.RD: "RD",
    Command.WR: "WR",
    Command.RDA: "RDA",
    Command.WRA: "WRA",
    Command.REFAB: "REFab",
    Command.REFPB: "REFpb",
    Command.ACT2: "ACT2",
    Command.CAS_RD: "CAS_RD",
    Command.CAS_WR: "CAS_WR",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What a standard fixes beyond numbers: hierarchy, command buses, how long a command occupies its bus."""

    levels: tuple[str, ...]  #: hierarchy between channel and row, as in command logs
    ticks_per_ck: int = 1  #: model ticks in one CK
    row_and_column_bus: bool = False  #: a column and a row command in the same tick
    cycles: dict[Command, Fraction] = field(default_factory=dict)  #: CK on the command bus, where not 1
    adjusts_for_cycles: bool = True  #: timings run from the last cycle of a command to the last of the next
    split_activate: bool = False  #: ACT1 + ACT2, and CAS before RD/WR when the data clock is off
    per_bank_refresh: bool = True
    coalesces_writes: bool = True  #: a write to a queued address is absorbed
    one_completion_per_tick: bool = False
    blocked_precharge_loses_tick: bool = False  #: the chosen PRE of a bank with a request in flight: nothing issues
    names: dict[Command, str] = field(default_factory=dict)  #: command names that differ from `NAMES`

    def command_name(self, command: Command) -> str:
        """Name of a command in logs."""
        return self.names.get(command, NAMES[command])

    def cycles_of(self, command: Command) -> int:
        """Ticks a command occupies its bus."""
        return int(self.cycles.get(command, Fraction(1)) * self.ticks_per_ck)


_HALF, _TWO = Fraction(1, 2), Fraction(2)
_HBM2_LEVELS = ("PseudoChannel", "BankGroup", "Bank")
_RANK_LEVELS = ("Rank", "BankGroup", "Bank")

PROTOCOLS: dict[str, Protocol] = {
    "HBM2": Protocol(levels=_HBM2_LEVELS, row_and_column_bus=True, cycles={Command.ACT: _TWO}),
    # The controller generation of the released SpAtten set-up, quirks included.
    "HBM2-release": Protocol(
        levels=_HBM2_LEVELS,
        cycles={Command.ACT: _TWO},
        adjusts_for_cycles=False,
        coalesces_writes=False,
        one_completion_per_tick=True,
        blocked_precharge_loses_tick=True,
        names={Command.PRE: "PRE", Command.PREAB: "PREA"},
    ),
    "HBM3": Protocol(
        levels=("PseudoChannel", "Sid", "BankGroup", "Bank"),
        ticks_per_ck=2,
        row_and_column_bus=True,
        cycles={
            Command.ACT: Fraction(3, 2),
            Command.PRE: _HALF,
            Command.PREAB: _HALF,
            Command.REFAB: _HALF,
            Command.REFPB: _HALF,
        },
    ),
    "DDR4": Protocol(levels=_RANK_LEVELS, per_bank_refresh=False),
    "DDR5": Protocol(
        levels=_RANK_LEVELS,
        cycles=dict.fromkeys((Command.ACT, *COLUMN_COMMANDS), _TWO),
        per_bank_refresh=False,
    ),
    "LPDDR5": Protocol(levels=_RANK_LEVELS, split_activate=True, names={Command.ACT: "ACT1"}),
    "GDDR6": Protocol(levels=("BankGroup", "Bank")),
}
