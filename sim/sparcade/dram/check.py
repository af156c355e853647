"""Replays a DRAM command log against the device's timing constraints and state rules, and lists what breaks them.

It shares nothing with the controller: every command is held against the history of its log, pair by pair
("B not before A + n at this level"), where a controller keeps the times at which commands become ready.

Clocks of a log are model ticks: one CK, or half a CK in HBM3. The constraints are those of Ramulator 2.1's device
models (main c5b1c3a): a time runs from the last cycle of one command to the last cycle of the next.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from sparcade.dram.commands import COLUMN_COMMANDS, ROW_COMMANDS, Command, Protocol
from sparcade.dram.device import Device
from sparcade.errors import ConfigError

Place = tuple[int, ...]

_ACT, _PRE, _PREAB = (Command.ACT,), (Command.PRE,), (Command.PREAB,)
_RD, _WR, _RDA, _WRA = (Command.RD,), (Command.WR,), (Command.RDA,), (Command.WRA,)
_REFAB, _REFPB = (Command.REFAB,), (Command.REFPB,)
_PRECHARGES, _READS, _WRITES = _PRE + _PREAB, _RD + _RDA, _WR + _WRA
_ALL_BANK = _PREAB + _REFAB
_CAS = (Command.CAS_RD, Command.CAS_WR)
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One command of a log."""

    clock: int  #: [ticks]
    command: Command
    channel: int
    place: Place  #: an index for each of the protocol's levels; -1 stands for all
    row: int
    column: int


def read_command_log(path: Path, device: Device) -> Iterator[LogEntry]:
    """The entries of a CSV log (gzip by the suffix .gz), in the columns of Ramulator 2.1's command trace.

    Raises
    ------
    ConfigError
        When the file cannot be read or a line is not what the header promises; file and line are named.
    """
    header = ["clock", "command", "Channel", *device.rules.levels, "Row", "Column", "type", "source"]
    names = {device.rules.command_name(command): command for command in _commands(device.rules)}
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as stream:
            lines = csv.reader(stream)
            if (first := next(lines, [])) != header:
                raise _malformed(f"{path}, line 1", ",".join(header), ",".join(first))
            for cells in lines:
                yield _entry(cells, header, names, f"{path}, line {lines.line_num}")
    except (OSError, EOFError, UnicodeError, zlib.error, csv.Error) as error:
        raise _malformed(str(path), "CSV text (UTF-8), or gzip of it", str(error)) from error


def _entry(cells: list[str], header: list[str], names: Mapping[str, Command], where: str) -> LogEntry:
    numbers = [int(cell) for cell in cells[:1] + cells[2:] if _INTEGER.fullmatch(cell)]
    if len(cells) != len(header) or len(numbers) != len(header) - 1 or cells[1] not in names:
        expected = f"{','.join(header)}: integers, and a command of {', '.join(names)}"
        raise _malformed(where, expected, ",".join(cells))
    clock, channel, *place, row, column, _, _ = numbers
    return LogEntry(clock=clock, command=names[cells[1]], channel=channel, place=tuple(place), row=row, column=column)


def _malformed(where: str, expected: str, got: str) -> ConfigError:
    return ConfigError(
        "the command log cannot be read",
        where=where,
        expected=expected,
        got=got or "nothing",
        remedy="mend the line, or name the device that wrote the log",
    )


def violations(entries: Iterable[LogEntry], device: Device) -> Iterator[str]:
    """One line for each rule that a command breaks, in the order of the log; clocks and distances are ticks.

    A log may hold several channels, each in the order of its clock. A command that the device does not have, at a
    place it does not have, or earlier than the one before it is reported and takes no part in the rest.
    """
    rules: dict[Command, list[Rule]] = {command: [] for command in Command}
    for rule in timing_rules(device):
        rules[rule.after].append(rule)
    channels: dict[int, _Channel] = {}
    for entry in entries:
        if entry.channel not in channels:
            channels[entry.channel] = _Channel(device, rules)
        for fault in channels[entry.channel].step(entry):
            yield _line(entry, fault, device)
    for channel in channels.values():
        for entry in channel.overdue():
            yield _line(entry, f"no ACT2 within {device.timing.n_aad}", device)


def _line(entry: LogEntry, fault: str, device: Device) -> str:
    indices = zip(device.rules.levels, entry.place, strict=False)
    place = "".join(f" {level} {index}" for level, index in indices if index != -1)
    return f"clock {entry.clock}: {device.rules.command_name(entry.command)} channel {entry.channel}{place}: {fault}"


class Rule(NamedTuple):
    """`after` comes `ticks` or more later than `before` where the first `depth` levels of their places agree."""

    name: str
    before: Command
    after: Command
    depth: int
    ticks: int
    nth: int = 1  #: counted from the latest `before` (1) or from an earlier one
    sibling: bool = False  #: level `depth` differs, the levels above it agree


def timing_rules(device: Device) -> tuple[Rule, ...]:
    """Every least distance of two commands that the device asks for, command buses included."""
    listed = (*_column_constraints(device), *_row_constraints(device), *_refresh_constraints(device))
    return (*_bus_rules(device.rules), *(rule for entry in listed for rule in _rules(entry, device.rules)))


class _Constraint(NamedTuple):
    """Rules as a standard lists them: between groups of commands, in CK, None where the device states no time."""

    name: str
    before: Sequence[Command]
    after: Sequence[Command]
    depth: int
    n: int | None
    nth: int = 1
    sibling: bool = False


def _rules(listed: _Constraint, protocol: Protocol) -> Iterator[Rule]:
    """One rule for each pair of commands, in ticks from the first cycle of the one to the first of the other."""
    if listed.n is None:
        return
    for before, after in product(listed.before, listed.after):
        cycles = protocol.cycles_of(before) - protocol.cycles_of(after) if protocol.adjusts_for_cycles else 0
        ticks = listed.n * protocol.ticks_per_ck + cycles
        if ticks > 0 and {before, after} <= _commands(protocol):
            yield Rule(listed.name, before, after, listed.depth, ticks, listed.nth, listed.sibling)


def _commands(protocol: Protocol) -> frozenset[Command]:
    """The commands that a protocol has."""
    split = () if protocol.split_activate else (Command.ACT2, *_CAS)
    return frozenset(Command).difference(split, () if protocol.per_bank_refresh else _REFPB)


def _upper(protocol: Protocol) -> int:
    """Depth of the pseudo-channel or rank; GDDR6 has neither, and 0 is the channel."""
    return protocol.levels.index("BankGroup") - ("Sid" in protocol.levels)


def _bus_rules(protocol: Protocol) -> Iterator[Rule]:
    """A command holds its bus for its cycles."""
    for before, after in product(_commands(protocol), repeat=2):
        crossing = (before in COLUMN_COMMANDS) != (after in COLUMN_COMMANDS)
        if crossing and protocol.row_and_column_bus:
            continue
        # HBM2-release: the second half of ACT leaves room for RD and WR on the one bus.
        ticks = 1 if crossing and not protocol.adjusts_for_cycles else protocol.cycles_of(before)
        yield Rule("command bus", before, after, depth=0, ticks=ticks)


def _column_constraints(device: Device) -> Iterator[_Constraint]:
    """RD and WR after RD and WR: data bus, bank groups, turnaround, other SIDs and ranks."""
    timing, levels, upper = device.timing, device.rules.levels, _upper(device.rules)
    bus = 0 if "Rank" in levels else upper
    group = len(levels) - 1
    data = timing.n_cwl + timing.n_bl
    for accesses, suffix, short, long in (
        (_READS, "", timing.n_ccd_s, timing.n_ccd_l),
        (_WRITES, " (write)", timing.n_ccd_s_wr or timing.n_ccd_s, timing.n_ccd_l_wr or timing.n_ccd_l),
    ):
        yield _Constraint("tBL", accesses, accesses, bus, timing.n_bl)
        yield _Constraint(f"tCCD_S{suffix}", accesses, accesses, group - 1, short)
        yield _Constraint(f"tCCD_L{suffix}", accesses, accesses, group, long)
        if "Sid" in levels:
            yield _Constraint("tCCD_R", accesses, accesses, group - 1, timing.n_ccd_r, sibling=True)
    yield _Constraint("tRTW", _READS, _WRITES, upper, timing.n_rtw or timing.n_cl + timing.n_bl + 2 - timing.n_cwl)
    yield _Constraint("tWTR_S", _WRITES, _READS, upper, data + timing.n_wtr_s)
    yield _Constraint(
        "tWTR_L", _WRITES, _READS, group, timing.n_cwl + (timing.n_bl_max or timing.n_bl) + timing.n_wtr_l
    )
    if "Rank" in levels:
        yield _Constraint("tCS", _READS, _READS + _WRITES, upper, timing.n_bl + timing.n_cs, sibling=True)
        yield _Constraint("tCS", _WRITES, _READS, upper, data + timing.n_cs - timing.n_cl, sibling=True)


def _row_constraints(device: Device) -> Iterator[_Constraint]:
    """Opening and closing rows, and what comes before a refresh; ACT is ACT1 in LPDDR5."""
    timing, upper, bank = device.timing, _upper(device.rules), len(device.rules.levels)
    recovery = timing.n_cwl + timing.n_bl + timing.n_wr
    yield _Constraint("tRCD (read)", _ACT, _READS, bank, timing.n_rcd_rd)
    yield _Constraint("tRCD (write)", _ACT, _WRITES, bank, timing.n_rcd_wr)
    yield _Constraint("tRRD_S", _ACT, _ACT + _REFPB, upper, timing.n_rrd_s)
    yield _Constraint("tRRD_L", _ACT, _ACT, bank - 1, timing.n_rrd_l)
    yield _Constraint("tFAW", _ACT, _ACT, upper, timing.n_faw, nth=4)
    yield _Constraint("tPPD", _PRECHARGES, _PRECHARGES, upper, timing.n_ppd)
    for precharge, depth in ((_PRE, bank), (_PREAB, upper)):
        yield _Constraint("tRAS", _ACT, precharge, depth, timing.n_ras)
        yield _Constraint("tRTP", _RD, precharge, depth, timing.n_rtp)
        yield _Constraint("tWR", _WR, precharge, depth, recovery)
    yield _Constraint("tRP (all-bank)", _PREAB, _ACT, upper, timing.n_rp_ab or timing.n_rp)
    to_refresh = _PREAB if device.protocol == "GDDR6" else _PRECHARGES
    for after, precharges, depth in ((_ACT, _PRE, bank), (_REFAB, to_refresh, upper), (_REFPB, _PRE, bank)):
        yield _Constraint("tRC", _ACT, after, depth, timing.n_rc)
        yield _Constraint("tRP", precharges, after, depth, timing.n_rp)
        yield _Constraint("tRTP + tRP", _RDA, after, depth, timing.n_rtp + timing.n_rp)
        yield _Constraint("tWR + tRP", _WRA, after, depth, recovery + timing.n_rp)


def _refresh_constraints(device: Device) -> Iterator[_Constraint]:
    """What comes after the refresh of all banks, and of one."""
    timing, upper, bank = device.timing, _upper(device.rules), len(device.rules.levels)
    held = {"LPDDR5": _ACT + _PREAB + _REFAB + _REFPB, "GDDR6": tuple(Command)}.get(device.protocol, _ACT + _PREAB)
    yield _Constraint("tRFC", _REFAB, held, upper, timing.n_rfc)
    yield _Constraint("tRFC (per-bank)", _REFPB, _ACT + _REFPB, bank, timing.n_rfc_pb)
    yield _Constraint("tRREFD", _REFPB, _ACT, upper, timing.n_rrefd)
    yield _Constraint("tpbR2pbR", _REFPB, _REFPB, upper, timing.n_refpb or timing.n_rrefd)


class _Channel:
    """The log of one channel so far."""

    def __init__(self, device: Device, rules: Mapping[Command, Sequence[Rule]]) -> None:
        organisation = device.organisation
        sizes = {"Sid": organisation.stack_ids, "BankGroup": organisation.bank_groups, "Bank": organisation.banks}
        self._device, self._rules, self._protocol = device, rules, device.rules
        self._sizes = tuple(sizes.get(level, organisation.uppers) for level in device.rules.levels)
        self._upper = _upper(device.rules)
        self._history: dict[tuple[Command, Place], deque[int]] = defaultdict(lambda: deque(maxlen=4))
        self._open: dict[Place, LogEntry] = {}  #: the ACT of every open bank
        self._halves: dict[Place, LogEntry] = {}  #: every ACT1 whose ACT2 has not come
        self._clock = 0
        self._cas: LogEntry | None = None  #: the latest
        self._data_clock_end = 0  #: first tick without a data clock

    def step(self, entry: LogEntry) -> Iterator[str]:
        """What is wrong with the next command, which then joins the history."""
        if fault := self._foreign(entry):
            yield fault
            return
        yield from self._too_early(entry)
        yield from self._half_tick_faults(entry)
        yield from self._state_faults(entry)
        self._record(entry)

    def overdue(self) -> Iterator[LogEntry]:
        """Every ACT1 whose ACT2 should have come before the log ended."""
        return (act for act in self._halves.values() if self._clock - act.clock > self._device.timing.n_aad)

    def _scope(self, entry: LogEntry) -> Place:
        """The indices of what a command acts on: a pseudo-channel or rank, or a bank."""
        return entry.place[: self._upper] if entry.command in _ALL_BANK + _CAS else entry.place

    def _foreign(self, entry: LogEntry) -> str | None:
        """Why this cannot be the channel's next command, if so."""
        organisation = self._device.organisation
        limits = [*zip(self._scope(entry), self._sizes, strict=False)]
        if entry.command in _ACT + COLUMN_COMMANDS:
            limits.append((entry.row, organisation.rows))
        if entry.command in COLUMN_COMMANDS:
            limits.append((entry.column, organisation.columns // organisation.prefetch))
        if entry.command not in _commands(self._protocol):
            return f"{self._device.protocol} has no such command"
        if len(entry.place) != len(self._sizes) or any(not 0 <= index < limit for index, limit in limits):
            return f"{self._device.name} has no such address: row {entry.row}, column {entry.column}"
        if entry.command in _ALL_BANK and set(entry.place[self._upper :]) != {-1}:
            return "it names a bank and goes to all"
        if entry.clock < self._clock:
            return f"the clock was {self._clock} before"
        return None

    def _too_early(self, entry: LogEntry) -> Iterator[str]:
        for rule in self._rules[entry.command]:
            for node in self._nodes(rule, entry.place):
                times = self._history.get((rule.before, node), ())
                if len(times) >= rule.nth and entry.clock - times[-rule.nth] < rule.ticks:
                    earlier = f"{self._protocol.command_name(rule.before)} at {times[-rule.nth]}"
                    yield f"{entry.clock - times[-rule.nth]} after {earlier}, {rule.name} needs {rule.ticks}"

    def _nodes(self, rule: Rule, place: Place) -> list[Place]:
        """Where the rule looks for its first command."""
        if not rule.sibling:
            return [place[: rule.depth]]
        parent, own = place[: rule.depth - 1], place[rule.depth - 1]
        return [(*parent, index) for index in range(self._sizes[rule.depth - 1]) if index != own]

    def _half_tick_faults(self, entry: LogEntry) -> Iterator[str]:
        """HBM3: an even tick carries only PREpb and PREab, which must suit the row command ending just before."""
        if self._protocol.ticks_per_ck == 1 or entry.clock % 2:
            return
        if entry.command not in _PRECHARGES:
            yield "an even tick carries only PREpb and PREab"
            return
        upper = entry.place[: self._upper]
        for earlier in ROW_COMMANDS:
            rising = entry.clock - self._protocol.cycles_of(earlier)
            whole = earlier in _ALL_BANK or entry.command in _PREAB
            if rising in self._history.get((earlier, upper if whole else entry.place), ()):
                yield f"paired with {self._protocol.command_name(earlier)} at {rising}"

    def _state_faults(self, entry: LogEntry) -> Iterator[str]:
        """Rows open and closed, halves of ACT, the data clock."""
        scope = self._scope(entry)
        halves = _within(self._halves, scope)
        if entry.command in _ACT + _REFAB + _REFPB:
            halves = list(self._halves.values())
            yield from (f"row {act.row} is open since {act.clock}" for act in _within(self._open, scope))
        elif entry.command in COLUMN_COMMANDS:
            yield from self._access_faults(entry)
        elif entry.command == Command.ACT2:
            yield from self._second_half_faults(entry)
            return
        if entry.command not in _CAS:
            yield from (f"ACT2 has not followed ACT1 at {act.clock}" for act in halves)

    def _access_faults(self, entry: LogEntry) -> Iterator[str]:
        act, cas = self._open.get(entry.place), self._cas
        if act is None:
            yield "the bank is closed"
        elif act.row != entry.row:
            yield f"row {act.row} is open, not {entry.row}"
        if self._protocol.split_activate and entry.clock >= self._data_clock_end:
            wanted = Command.CAS_RD if entry.command in _READS else Command.CAS_WR
            expected = (entry.clock - 1, wanted, entry.place[: self._upper])
            if cas is None or (cas.clock, cas.command, self._scope(cas)) != expected:
                yield f"the data clock is off and {self._protocol.command_name(wanted)} did not come in the tick before"

    def _second_half_faults(self, entry: LogEntry) -> Iterator[str]:
        act = self._halves.get(entry.place)
        if act is None:
            yield "no ACT1 waits for it"
        elif act.row != entry.row:
            yield f"ACT1 at {act.clock} was to row {act.row}, not {entry.row}"
        elif entry.clock - act.clock > self._device.timing.n_aad:
            yield f"{entry.clock - act.clock} after ACT1 at {act.clock}, tAAD allows {self._device.timing.n_aad}"

    def _record(self, entry: LogEntry) -> None:
        scope, timing = self._scope(entry), self._device.timing
        for depth in range(len(scope) + 1):
            self._history[entry.command, scope[:depth]].append(entry.clock)
        self._clock = entry.clock
        if entry.command in _ACT:
            self._open[scope] = entry
            if self._protocol.split_activate:
                self._halves[scope] = entry
        elif entry.command == Command.ACT2:
            self._halves.pop(scope, None)
        elif entry.command in _PRECHARGES + _RDA + _WRA:
            for act in _within(self._open, scope):
                del self._open[act.place]
                self._halves.pop(act.place, None)
        if entry.command in _CAS:
            self._cas = entry
        elif entry.command in COLUMN_COMMANDS:
            latency = timing.n_cl if entry.command in _READS else timing.n_cwl
            end = entry.clock + latency + timing.n_bl + timing.n_wck_pst
            self._data_clock_end = max(self._data_clock_end, end)


def _within(acts: Mapping[Place, LogEntry], scope: Place) -> list[LogEntry]:
    """Those to a bank of `scope`."""
    return [act for bank, act in acts.items() if bank[: len(scope)] == scope]
