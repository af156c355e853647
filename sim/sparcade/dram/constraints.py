"""Timing constraints of a device: "command B not before A + n at this level", as the table the kernel walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from sparcade._records import Table
from sparcade.dram.commands import COLUMN_COMMANDS, ROW_COMMANDS, Command
from sparcade.dram.device import Device


class Level(IntEnum):
    """Where a constraint holds; UPPER is the pseudo-channel or the rank."""

    CHANNEL = 0
    UPPER = 1
    SID = 2
    GROUP = 3
    BANK = 4


class Scope(IntEnum):
    """Which earlier command a constraint counts from."""

    SAME = 0  #: the last one at the node
    FOURTH = 1  #: the fourth last at the node
    SIBLING = 2  #: the last one at another node of the same parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """`after` not before the earliest `before` + `ticks`, at `level`."""

    level: Level
    before: Command
    after: Command
    ticks: int
    scope: Scope = Scope.SAME


_READS, _WRITES = (Command.RD, Command.RDA), (Command.WR, Command.WRA)
_PRECHARGES = (Command.PRE, Command.PREAB)
_ACT, _PRE, _PREAB, _REFAB, _REFPB = Command.ACT, Command.PRE, Command.PREAB, Command.REFAB, Command.REFPB
_Rule = tuple[Level, tuple[Command, ...], tuple[Command, ...], int | None]


def _timings(device: Device) -> Iterator[_Rule]:
    """The constraints between last cycles of commands, in CK (JEDEC; dram.md section 2). None: no such constraint."""
    t, protocol = device.timing, device.protocol
    write = t.n_cwl + t.n_bl  # WR to the end of its data
    rtw = t.n_cl + t.n_bl + 2 - t.n_cwl if t.n_rtw is None else t.n_rtw
    refpb = t.n_rrefd if t.n_refpb is None else t.n_refpb
    bus = Level.UPPER if device.organisation.pseudo_channels > 1 else Level.CHANNEL
    yield bus, _READS, _READS, t.n_bl
    yield bus, _WRITES, _WRITES, t.n_bl

    yield Level.SID, _READS, _READS, t.n_ccd_s
    yield Level.SID, _WRITES, _WRITES, t.n_ccd_s_wr or t.n_ccd_s
    yield Level.UPPER, _READS, _WRITES, rtw
    yield Level.UPPER, _WRITES, _READS, write + t.n_wtr_s
    yield Level.UPPER, (Command.RD,), (_PREAB,), t.n_rtp
    yield Level.UPPER, (Command.WR,), (_PREAB,), write + t.n_wr
    yield Level.UPPER, (_ACT,), (_ACT,), t.n_rrd_s
    yield Level.UPPER, (_ACT,), (_PREAB,), t.n_ras
    yield Level.UPPER, (_PREAB,), (_ACT,), t.n_rp_ab or t.n_rp
    yield Level.UPPER, _PRECHARGES, _PRECHARGES, t.n_ppd or None
    yield Level.UPPER, (_ACT,), (_REFAB,), t.n_rc
    yield Level.UPPER, (_PREAB,) if protocol == "GDDR6" else _PRECHARGES, (_REFAB,), t.n_rp
    yield Level.UPPER, (Command.RDA,), (_REFAB,), t.n_rtp + t.n_rp
    yield Level.UPPER, (Command.WRA,), (_REFAB,), write + t.n_wr + t.n_rp
    blocked = {"GDDR6": (*ROW_COMMANDS, *COLUMN_COMMANDS), "LPDDR5": (_ACT, _PREAB, _REFPB, _REFAB)}
    yield Level.UPPER, (_REFAB,), blocked.get(protocol, (_ACT, _PREAB)), t.n_rfc
    yield Level.UPPER, (_REFPB,), (_ACT,), t.n_rrefd
    yield Level.UPPER, (_REFPB,), (_REFPB,), refpb
    yield Level.UPPER, (_ACT,), (_REFPB,), t.n_rrd_s

    yield Level.GROUP, _READS, _READS, t.n_ccd_l
    yield Level.GROUP, _WRITES, _WRITES, t.n_ccd_l_wr or t.n_ccd_l
    yield Level.GROUP, _WRITES, _READS, t.n_cwl + (t.n_bl_max or t.n_bl) + t.n_wtr_l
    yield Level.GROUP, (_ACT,), (_ACT,), t.n_rrd_l

    yield Level.BANK, (_ACT,), (_ACT,), t.n_rc
    yield Level.BANK, (_ACT,), _READS, t.n_rcd_rd
    yield Level.BANK, (_ACT,), _WRITES, t.n_rcd_wr
    yield Level.BANK, (_ACT,), (_PRE,), t.n_ras
    yield Level.BANK, (_PRE,), (_ACT,), t.n_rp
    yield Level.BANK, (Command.RD,), (_PRE,), t.n_rtp
    yield Level.BANK, (Command.WR,), (_PRE,), write + t.n_wr
    yield Level.BANK, (Command.RDA,), (_ACT, _REFPB), t.n_rtp + t.n_rp
    yield Level.BANK, (Command.WRA,), (_ACT, _REFPB), write + t.n_wr + t.n_rp
    yield Level.BANK, (_REFPB,), (_ACT, _REFPB), t.n_rfc_pb
    yield Level.BANK, (_ACT,), (_REFPB,), t.n_rc
    yield Level.BANK, (_PRE,), (_REFPB,), t.n_rp


def _sibling_timings(device: Device) -> Iterator[_Rule]:
    """Constraints between nodes of one parent: SIDs, and ranks that share the data bus."""
    t = device.timing
    if device.organisation.stack_ids > 1:
        yield Level.SID, _READS, _READS, t.n_ccd_r
        yield Level.SID, _WRITES, _WRITES, t.n_ccd_r
    if device.organisation.ranks > 1:
        yield Level.UPPER, _READS, (*_READS, *_WRITES), t.n_bl + t.n_cs
        yield Level.UPPER, _WRITES, _READS, t.n_cwl + t.n_bl + t.n_cs - t.n_cl


def constraints(device: Device) -> list[Constraint]:
    """All constraints of a device in ticks, without those that a wider level implies."""
    rules = device.rules
    strictest: dict[tuple[int, int, int, int], Constraint] = {}

    def add(constraint: Constraint) -> None:
        key = (constraint.before, constraint.level, constraint.scope, constraint.after)
        if key not in strictest or strictest[key].ticks < constraint.ticks:
            strictest[key] = constraint

    def expand(rule: _Rule, scope: Scope) -> None:
        level, befores, afters, clocks = rule
        if clocks is None:
            return
        if level == Level.SID and device.organisation.stack_ids == 1:
            level = Level.UPPER
        for before in befores:
            for after in afters:
                ticks = clocks * rules.ticks_per_ck
                if rules.adjusts_for_cycles:
                    ticks += rules.cycles_of(before) - rules.cycles_of(after)
                add(Constraint(level=level, before=before, after=after, ticks=ticks, scope=scope))

    for rule in _timings(device):
        expand(rule, Scope.SAME)
    for rule in _sibling_timings(device):
        expand(rule, Scope.SIBLING)
    expand((Level.UPPER, (_ACT,), (_ACT,), device.timing.n_faw), Scope.FOURTH)
    return [strictest[key] for key in sorted(strictest) if not _is_implied(strictest[key], strictest)]


def _is_implied(constraint: Constraint, strictest: dict[tuple[int, int, int, int], Constraint]) -> bool:
    """True for a gap of nothing, and for one that a wider level demands as well."""
    if constraint.ticks <= 0:
        return True
    wider = (
        strictest.get((constraint.before, level, constraint.scope, constraint.after))
        for level in range(constraint.level)
    )
    return constraint.scope == Scope.SAME and any(other and other.ticks >= constraint.ticks for other in wider)


#: A constraint as the kernel reads it; rows of one `before` are contiguous. `span`: banks of a node at the level, or of
#: its parent for siblings.
CONSTRAINT = np.dtype([("after", "i8"), ("ticks", "i8"), ("scope", "i8"), ("span", "i8"), ("parent_span", "i8")])


def constraint_table(device: Device) -> tuple[Table, npt.NDArray[np.int64]]:
    """The constraints as records, and where those of each command begin: [commands + 1].

    Commands that the controller never gives (RDA and WRA with open rows, REFpb with all-bank refresh) are left out.
    """
    controller, organisation = device.controller, device.organisation
    unused = set() if controller.row_policy == "closed" else {Command.RDA, Command.WRA}
    unused |= {"all-bank": {_REFPB}, "per-bank": {_REFAB, _PREAB}, "none": {_REFPB, _REFAB, _PREAB}}[controller.refresh]
    found = [entry for entry in constraints(device) if not {entry.before, entry.after} & unused]
    group = organisation.banks
    spans = {Level.BANK: 1, Level.GROUP: group, Level.SID: group * organisation.bank_groups}
    spans[Level.UPPER] = spans[Level.SID] * organisation.stack_ids
    spans[Level.CHANNEL] = spans[Level.UPPER] * organisation.uppers
    rows = [
        (entry.after, entry.ticks, entry.scope, spans[entry.level], spans[Level(max(0, entry.level - 1))])
        for entry in found
    ]
    starts = np.searchsorted([entry.before for entry in found], np.arange(len(Command) + 1)).astype(np.int64)
    return np.array(rows, CONSTRAINT).view(np.recarray), starts


def bus_table(device: Device) -> npt.NDArray[np.int64]:
    """[commands, 2] ticks for which a command keeps the row bus and the column bus from the next command."""
    rules = device.rules
    table = np.ones((len(Command), 2), np.int64)
    for command in (*ROW_COMMANDS, *COLUMN_COMMANDS):
        column = command in COLUMN_COMMANDS
        table[command] = rules.cycles_of(command)
        if rules.row_and_column_bus:
            table[command, 0 if column else 1] = 0
        elif device.protocol == "HBM2-release":  # an ACT of two clocks keeps back row commands only
            table[command, 1] = 1
    return table
