"""The checker of command logs: real logs pass, and every rule it knows is found when broken by one tick."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from sparcade.dram.check import LogEntry, read_command_log, timing_rules, violations
from sparcade.dram.commands import Command
from sparcade.dram.device import Device, Timing, load_device
from sparcade.errors import ConfigError

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "data" / "dram_reference" / "dev"

RANKED = ("ddr4-3200", "ddr5-4800", "lpddr5-6400")
ALL = ("hbm2", "hbm3", "hbm2-spatten", *RANKED, "gddr6-14000")
PER_BANK = ("hbm2", "hbm3", "lpddr5-6400", "gddr6-14000")

#: Ticks between commands that do not concern each other: longer than any rule, from odd tick to odd tick.
FAR = 2000
ALL_BANK = {"PREAB", "REFAB"}
COLUMN = (Command.RD, Command.WR, Command.RDA, Command.WRA)
#: Group and bank by letter; s is a of the next SID, u is a of the next pseudo-channel or rank.
BANKS = {"a": (0, 0), "b": (0, 1), "c": (1, 0), "d": (1, 1), "e": (0, 2), "s": (0, 0), "u": (0, 0)}


@cache
def device_of(preset: str, *settings: str) -> Device:
    return load_device(preset, settings)


def entry(device: Device, clock: int, name: str, letter: str, row: int = 1) -> LogEntry:
    command, group_bank = Command[name], BANKS[letter]
    upper = [int(letter == "u")] if device.rules.levels[0] != "BankGroup" else []
    sid = [int(letter == "s")] if "Sid" in device.rules.levels else []
    place = (*upper, *sid, *group_bank)
    if name in ALL_BANK:
        place = (*upper, *(-1 for _ in (*sid, *group_bank)))
    return LogEntry(clock=clock, command=command, channel=0, place=place, row=row, column=0)


def complete(device: Device, log: Sequence[LogEntry]) -> list[LogEntry]:
    """In LPDDR5 an ACT2 follows every ACT1 by one tick, and a CAS leads every RD and WR."""
    extra = []
    for item in log if device.rules.split_activate else ():
        if item.command == Command.ACT:
            extra.append(replace(item, clock=item.clock + 1, command=Command.ACT2))
        elif item.command in COLUMN:
            cas = Command.CAS_RD if item.command in (Command.RD, Command.RDA) else Command.CAS_WR
            extra.append(replace(item, clock=item.clock - 1, command=cas))
    return sorted((*log, *extra), key=lambda item: item.clock)


@dataclass(frozen=True)
class Case:
    """The last two commands, `first` and `last`, are `n` CK apart; "RD|RDA a" stands for each of the two."""

    rule: str
    level: str  #: in which it holds: of a bank, with PREab and REFab of its pseudo-channel or rank
    setup: str
    first: str
    last: str
    n: Callable[[Timing], int]
    on: tuple[str, ...] = ALL
    between: tuple[tuple[Callable[[Timing], int], str], ...] = ()  #: CK after `first`
    settings: dict[str, str] = field(default_factory=dict)  #: by preset: where another rule would hide this one
    alone: bool = True  #: a legal log exists in which this rule decides

    def device(self, preset: str) -> Device:
        """The device, with two ranks where it may have them."""
        settings = [self.settings.get(preset, ""), "organisation.ranks=2" if preset in RANKED else ""]
        return device_of(preset, *filter(None, settings))

    def pairs(self) -> list[tuple[str, str]]:
        """The commands of `first` and `last`."""
        return list(product(self.first.split()[0].split("|"), self.last.split()[0].split("|")))

    def outside(self, device: Device, first: str, last: str) -> str | None:
        """The nearest place where the rule does not hold, None where it holds in the whole channel."""
        level = "upper" if self.level == "bank" and ALL_BANK & {first, last} else self.level
        levels = device.rules.levels
        if levels[0] == "BankGroup" or (level == "data bus" and "Rank" in levels):
            beyond = None
        elif level == "sid" and "Sid" in levels:
            beyond = "s"
        else:
            beyond = "u"
        return {"bank": "b", "group": "c", "sibling": "c", "channel": None}.get(level, beyond)

    def log(self, device: Device, first: str, last: str, gap: int, to: str | None = None) -> list[LogEntry]:
        """The log with `gap` ticks from the one to the other, which may go elsewhere."""
        clock, log = 1, []
        for step in filter(None, self.setup.split(", ")):
            log.append(entry(device, clock, *step.split()))
            clock += FAR
        log.append(entry(device, clock, first, self.first.split()[1]))
        for offset, step in self.between:
            at = clock + offset(device.timing) * device.rules.ticks_per_ck
            log.append(entry(device, at, *step.split()))
        return complete(device, [*log, entry(device, clock + gap, last, to or self.last.split()[1])])


def read_to_write(t: Timing) -> int:
    return t.n_rtw or t.n_cl + t.n_bl + 2 - t.n_cwl


def write_to_read(t: Timing) -> int:
    return t.n_cwl + t.n_bl + t.n_wtr_s


def recovery(t: Timing) -> int:
    return t.n_cwl + t.n_bl + t.n_wr


HBM3 = ("hbm3",)
NOT_GDDR6 = tuple(preset for preset in ALL if preset != "gddr6-14000")
HAVE_REFPB = (*PER_BANK, "hbm2-spatten")
SHORT_BURST = {"hbm2-spatten": "timing.n_bl=1"}
NO_CCD_R = {"hbm3": "timing.n_ccd_r=2"}
NO_CS = dict.fromkeys(RANKED, "timing.n_cs=0")
LONG_FAW = dict.fromkeys(ALL, "timing.n_faw=60")
HALF_WAY = ((lambda t: t.n_rcd_rd + 2, "RDA a"),)
BURST_OF_ACT = tuple((lambda t, at=at: at, f"ACT {bank}") for at, bank in ((12, "b"), (24, "c"), (36, "d")))

CASES = (
    Case("tBL", "data bus", "ACT a, ACT c", "RD|RDA a", "RD|RDA c", lambda t: t.n_bl),
    Case("tBL", "data bus", "ACT a, ACT c", "WR|WRA a", "WR|WRA c", lambda t: t.n_bl),
    Case("tBL", "data bus", "ACT a, ACT s", "RD|RDA a", "RD|RDA s", lambda t: t.n_bl, HBM3, settings=NO_CCD_R),
    Case("tBL", "data bus", "ACT a, ACT s", "WR|WRA a", "WR|WRA s", lambda t: t.n_bl, HBM3, settings=NO_CCD_R),
    Case("tBL", "data bus", "ACT a, ACT u", "RD|RDA a", "RD|RDA u", lambda t: t.n_bl, RANKED, settings=NO_CS),
    Case("tBL", "data bus", "ACT a, ACT u", "WR|WRA a", "WR|WRA u", lambda t: t.n_bl, RANKED),
    Case("tCCD_S", "sid", "ACT a, ACT c", "RD|RDA a", "RD|RDA c", lambda t: t.n_ccd_s, settings=SHORT_BURST),
    Case("tCCD_L", "group", "ACT a, ACT b", "RD|RDA a", "RD|RDA b", lambda t: t.n_ccd_l, settings=SHORT_BURST),
    Case("tCCD_S (write)", "sid", "ACT a, ACT c", "WR|WRA a", "WR|WRA c", lambda t: t.n_ccd_s_wr or t.n_ccd_s,
         settings=SHORT_BURST),
    Case("tCCD_L (write)", "group", "ACT a, ACT b", "WR|WRA a", "WR|WRA b", lambda t: t.n_ccd_l_wr or t.n_ccd_l,
         settings=SHORT_BURST),
    Case("tCCD_R", "sibling", "ACT a, ACT s", "RD|RDA a", "RD|RDA s", lambda t: t.n_ccd_r or 0, HBM3),
    Case("tCCD_R", "sibling", "ACT a, ACT s", "WR|WRA a", "WR|WRA s", lambda t: t.n_ccd_r or 0, HBM3),
    Case("tRTW", "upper", "ACT a, ACT c", "RD|RDA a", "WR|WRA c", read_to_write),
    Case("tRTW", "upper", "ACT a, ACT s", "RD|RDA a", "WR|WRA s", read_to_write, HBM3),
    Case("tWTR_S", "upper", "ACT a, ACT c", "WR|WRA a", "RD|RDA c", write_to_read),
    Case("tWTR_S", "upper", "ACT a, ACT s", "WR|WRA a", "RD|RDA s", write_to_read, HBM3),
    Case("tWTR_L", "group", "ACT a, ACT b", "WR|WRA a", "RD|RDA b",
         lambda t: t.n_cwl + (t.n_bl_max or t.n_bl) + t.n_wtr_l),
    Case("tCS", "sibling", "ACT a, ACT u", "RD|RDA a", "RD|RDA|WR|WRA u", lambda t: t.n_bl + t.n_cs, RANKED),
    Case("tCS", "sibling", "ACT a, ACT u", "WR|WRA a", "RD|RDA u", lambda t: t.n_cwl + t.n_bl + t.n_cs - t.n_cl,
         ("ddr5-4800",)),
    Case("tRCD (read)", "bank", "", "ACT a", "RD|RDA a", lambda t: t.n_rcd_rd),
    Case("tRCD (write)", "bank", "", "ACT a", "WR|WRA a", lambda t: t.n_rcd_wr),
    Case("tRRD_S", "upper", "", "ACT a", "ACT c", lambda t: t.n_rrd_s),
    Case("tRRD_S", "upper", "", "ACT a", "ACT s", lambda t: t.n_rrd_s, HBM3),
    Case("tRRD_S", "upper", "", "ACT a", "REFPB c", lambda t: t.n_rrd_s, HAVE_REFPB),
    Case("tRRD_S", "upper", "", "ACT a", "REFPB s", lambda t: t.n_rrd_s, HBM3),
    Case("tRRD_L", "group", "", "ACT a", "ACT b", lambda t: t.n_rrd_l),
    Case("tFAW", "upper", "", "ACT a", "ACT e", lambda t: t.n_faw, between=BURST_OF_ACT, settings=LONG_FAW),
    Case("tFAW", "upper", "", "ACT a", "ACT s", lambda t: t.n_faw, HBM3, between=BURST_OF_ACT, settings=LONG_FAW),
    Case("tPPD", "upper", "ACT a, ACT c", "PRE|PREAB a", "PRE|PREAB c", lambda t: t.n_ppd,
         ("hbm3", "ddr5-4800", "lpddr5-6400", "gddr6-14000")),
    Case("tPPD", "upper", "ACT a, ACT s", "PRE a", "PRE s", lambda t: t.n_ppd, HBM3),
    Case("tRAS", "bank", "", "ACT a", "PRE|PREAB a", lambda t: t.n_ras),
    Case("tRTP", "bank", "ACT a", "RD a", "PRE|PREAB a", lambda t: t.n_rtp),
    Case("tWR", "bank", "ACT a", "WR a", "PRE|PREAB a", recovery),
    Case("tRP (all-bank)", "upper", "ACT a", "PREAB a", "ACT a", lambda t: t.n_rp_ab or t.n_rp),
    Case("tRC", "bank", "", "ACT a", "ACT|REFAB a", lambda t: t.n_rc, between=HALF_WAY),
    Case("tRC", "bank", "", "ACT a", "REFPB a", lambda t: t.n_rc, HAVE_REFPB, between=HALF_WAY),
    Case("tRP", "bank", "ACT a", "PRE a", "ACT a", lambda t: t.n_rp),
    Case("tRP", "bank", "ACT a", "PRE a", "REFAB a", lambda t: t.n_rp, NOT_GDDR6),
    Case("tRP", "bank", "ACT a", "PREAB a", "REFAB a", lambda t: t.n_rp),
    Case("tRP", "bank", "ACT a", "PRE a", "REFPB a", lambda t: t.n_rp, HAVE_REFPB),
    Case("tRTP + tRP", "bank", "ACT a", "RDA a", "ACT|REFAB a", lambda t: t.n_rtp + t.n_rp),
    Case("tRTP + tRP", "bank", "ACT a", "RDA a", "REFPB a", lambda t: t.n_rtp + t.n_rp, HAVE_REFPB),
    Case("tWR + tRP", "bank", "ACT a", "WRA a", "ACT|REFAB a", lambda t: recovery(t) + t.n_rp),
    Case("tWR + tRP", "bank", "ACT a", "WRA a", "REFPB a", lambda t: recovery(t) + t.n_rp, HAVE_REFPB),
    Case("tRFC", "upper", "", "REFAB a", "ACT|PREAB a", lambda t: t.n_rfc),
    Case("tRFC", "upper", "", "REFAB a", "REFAB|REFPB a", lambda t: t.n_rfc, ("lpddr5-6400", "gddr6-14000")),
    Case("tRFC", "upper", "", "REFAB a", "PRE a", lambda t: t.n_rfc, ("gddr6-14000",)),
    Case("tRFC", "upper", "", "REFAB a", "RD|RDA|WR|WRA a", lambda t: t.n_rfc, ("gddr6-14000",), alone=False),
    Case("tRFC (per-bank)", "bank", "", "REFPB a", "ACT|REFPB a", lambda t: t.n_rfc_pb or 0, PER_BANK),
    Case("tRREFD", "upper", "", "REFPB a", "ACT c", lambda t: t.n_rrefd or 0, PER_BANK),
    Case("tRREFD", "upper", "", "REFPB a", "ACT s", lambda t: t.n_rrefd or 0, HBM3),
    Case("tpbR2pbR", "upper", "", "REFPB a", "REFPB c", lambda t: t.n_refpb or t.n_rrefd or 0, PER_BANK),
    Case("tpbR2pbR", "upper", "", "REFPB a", "REFPB s", lambda t: t.n_refpb or t.n_rrefd or 0, HBM3),
)  # fmt: skip


def least_ticks(device: Device, first: Command, last: Command, n: int) -> int:
    """`n` CK from the last cycle of the one command to the last cycle of the other, in ticks from start to start."""
    cycles = device.rules.cycles_of
    adjustment = cycles(first) - 1 - (cycles(last) - 1) if device.rules.adjusts_for_cycles else 0
    return n * device.rules.ticks_per_ck + adjustment


def next_slot(device: Device, last: Command, gap: int) -> int:
    """HBM3 sends only precharges an odd number of ticks after an odd one."""
    whole_clocks = device.protocol == "HBM3" and last not in (Command.PRE, Command.PREAB)
    return gap + gap % 2 if whole_clocks else gap


def plant(case: Case, device: Device, first: str, last: str, ticks: int) -> None:
    """At `ticks` the log is legal, one tick earlier the rule is broken, but not from outside its level."""
    expected = f"after {device.rules.command_name(Command[first])} at"
    needs = f", {case.rule} needs {ticks}"
    found = list(violations(case.log(device, first, last, next_slot(device, Command[last], ticks)), device))
    assert not [line for line in found if case.alone or needs in line], (first, last)
    early = ticks - 1
    found = list(violations(case.log(device, first, last, early), device))
    assert [line for line in found if f": {early} {expected}" in line and line.endswith(needs)], (
        first,
        last,
        found,
    )
    if letter := case.outside(device, first, last):
        found = list(violations(case.log(device, first, last, early, letter), device))
        assert not [line for line in found if line.endswith(needs)], (first, last)


@pytest.mark.parametrize(
    ("case", "preset"),
    [pytest.param(c, preset, id=f"{c.rule}: {c.first} - {c.last}, {preset}") for c in CASES for preset in c.on],
)
def test_a_command_one_tick_early_is_found(case: Case, preset: str) -> None:
    device = case.device(preset)
    for first, last in case.pairs():
        plant(case, device, first, last, least_ticks(device, Command[first], Command[last], case.n(device.timing)))


BUS_CASES = (
    ("hbm2", "", "ACT a", "ACT u", 2),
    ("hbm2", "ACT u", "ACT a", "PRE u", 2),
    ("hbm2", "ACT a, ACT u", "RD a", "RD u", 1),
    ("hbm3", "ACT u", "ACT a", "PRE u", 3),
    ("hbm3", "ACT a, ACT u", "PRE a", "PRE u", 1),
    ("hbm3", "ACT a, ACT u", "RD a", "RD u", 2),
    ("hbm2-spatten", "", "ACT a", "ACT u", 2),
    ("hbm2-spatten", "ACT u", "ACT a", "PRE u", 2),
    ("hbm2-spatten", "ACT u", "ACT a", "RD u", 1),
    ("ddr4-3200", "ACT a, ACT c", "RD a", "PRE c", 1),
    ("ddr5-4800", "ACT a, ACT c", "RD|WR|RDA|WRA a", "PRE c", 2),
    ("ddr5-4800", "ACT c", "ACT a", "PRE c", 2),
    ("lpddr5-6400", "ACT a, ACT c", "RD a", "PRE c", 1),
    ("gddr6-14000", "ACT a, ACT c", "RD a", "PRE c", 1),
)


@pytest.mark.parametrize(("preset", "setup", "first", "last", "ticks"), BUS_CASES)
def test_a_busy_command_bus_is_found(preset: str, setup: str, first: str, last: str, ticks: int) -> None:
    case = Case("command bus", "channel", setup, first, last, lambda t: 0)
    for pair in case.pairs():
        plant(case, device_of(preset), *pair, ticks)


@pytest.mark.parametrize("preset", ALL)
def test_every_rule_of_every_device_is_planted_above(preset: str) -> None:
    planted = {
        (case.rule, Command[first], Command[last])
        for case in CASES
        if preset in case.on
        for first, last in case.pairs()
    }
    known = {(rule.name, rule.before, rule.after) for rule in timing_rules(device_of(preset))}
    assert {rule for rule in known if rule[0] != "command bus"} == planted
    assert preset in {case[0] for case in BUS_CASES}


def test_hbm2_has_the_effective_values_of_the_reference() -> None:
    """As measured there (shared/spec/dram.md, section 2): what the two cycles of ACT make of the listed times."""
    ticks = {(rule.name, rule.before, rule.after): rule.ticks for rule in timing_rules(device_of("hbm2"))}
    act, pre, refab = Command.ACT, Command.PRE, Command.REFAB
    assert ticks["tRCD (read)", act, Command.RD] == 15
    assert ticks["tRCD (write)", act, Command.WR] == 13
    assert ticks["tRAS", act, pre] == 35
    assert ticks["tRP", pre, act] == 13
    assert ticks["tRC", act, act] == 48
    assert ticks["tRC", act, refab] == 49
    assert ticks["tRFC", refab, act] == 349


STATES = (
    ("hbm2", "1 RD a", "the bank is closed"),
    ("hbm2", "1 ACT a, 101 RD a", None),
    ("hbm2", "1 ACT a, 101 WR b", "the bank is closed"),
    ("hbm2", "1 ACT a, 101 WR a 2", "row 1 is open, not 2"),
    ("hbm2", "1 ACT a, 101 RDA a, 201 RD a", "the bank is closed"),
    ("hbm2", "1 ACT a, 101 WRA a, 201 ACT a", None),
    ("hbm2", "1 ACT a, 101 PRE a, 201 RD a", "the bank is closed"),
    ("hbm2", "1 ACT a, 101 PREAB a, 201 RD a", "the bank is closed"),
    ("hbm2", "1 ACT a, 101 PREAB u, 201 RD a", None),
    ("hbm2", "1 ACT a, 101 ACT a 2", "row 1 is open since 1"),
    ("hbm2", "1 ACT a, 101 REFAB a", "row 1 is open since 1"),
    ("hbm2", "1 ACT a, 101 REFAB u", None),
    ("hbm2", "1 ACT a, 101 REFPB a", "row 1 is open since 1"),
    ("hbm2", "1 ACT a, 101 REFPB b", None),
    ("hbm2", "1 PRE a, 101 PREAB a, 201 PRE b", None),
    ("hbm3", "2 ACT a", "an even tick carries only PREpb and PREab"),
    ("hbm3", "1 ACT a, 202 RD a", "an even tick carries only PREpb and PREab"),
    ("hbm3", "1 ACT a, 1 ACT b, 1001 ACT c, 1004 PRE b", "command bus"),
    ("hbm3", "1 ACT b, 1001 ACT a, 1004 PRE b", None),
    ("hbm3", "1001 ACT a, 1004 PRE a", "paired with ACT at 1001"),
    ("hbm3", "1001 ACT a, 1004 PREAB a", "paired with ACT at 1001"),
    ("hbm3", "1001 ACT a, 1004 PREAB u", None),
    ("hbm3", "1001 REFPB a, 1002 PRE a", "paired with REFpb at 1001"),
    ("hbm3", "1001 REFPB a, 1002 PRE b", None),
    ("hbm3", "1001 REFAB a, 1002 PRE a", "paired with REFab at 1001"),
    ("hbm3", "1001 REFAB a, 1002 PRE u", None),
    ("hbm3", "1001 PRE a, 1002 PRE a", "paired with PREpb at 1001"),
    ("lpddr5-6400", "1 ACT a, 9 ACT2 a, 100 CAS_RD a, 101 RD a", None),
    ("lpddr5-6400", "1 ACT a, 10 ACT2 a", "9 after ACT1 at 1, tAAD allows 8"),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a 2", "ACT1 at 1 was to row 1, not 2"),
    ("lpddr5-6400", "1 ACT2 a", "no ACT1 waits for it"),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 3 ACT2 a", "no ACT1 waits for it"),
    ("lpddr5-6400", "1 ACT a, 101 PRE c", "ACT1 channel 0 Rank 0 BankGroup 0 Bank 0: no ACT2 within 8"),
    ("lpddr5-6400", "1 ACT a, 9 PRE c", None),
    ("lpddr5-6400", "1 ACT a, 9 PRE a", "ACT2 has not followed ACT1 at 1"),
    ("lpddr5-6400", "1 ACT a, 9 PREAB a", "ACT2 has not followed ACT1 at 1"),
    ("lpddr5-6400", "1 ACT a, 9 ACT c", "ACT2 has not followed ACT1 at 1"),
    ("lpddr5-6400", "1 ACT a, 9 REFPB c", "ACT2 has not followed ACT1 at 1"),
    ("lpddr5-6400", "1 ACT a, 100 CAS_RD a, 101 RD a", "ACT2 has not followed ACT1 at 1"),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 101 RD a", "CAS_RD did not come in the tick before"),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 99 CAS_RD a, 101 RD a", "CAS_RD did not come in the tick before"),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 100 CAS_WR a, 101 RD a", "CAS_RD did not come in the tick before"),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 100 CAS_WR a, 101 WR a", None),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 100 CAS_RD a, 101 RD a, 120 RD a", None),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 100 CAS_RD a, 101 RD a, 121 RD a", "the data clock is off"),
    ("lpddr5-6400", "1 ACT a, 2 ACT2 a, 100 CAS_WR a, 101 WR a, 113 WR a", "the data clock is off"),
    ("ddr4-3200", "1 REFPB a", "DDR4 has no such command"),
    ("hbm2", "1 ACT2 a", "HBM2 has no such command"),
    ("hbm2", "101 PRE a, 1 PRE a", "the clock was 101 before"),
    ("ddr4-3200", "1 ACT u", "no such address"),
    ("hbm2", "1 ACT a 65536", "no such address"),
)  # fmt: skip


@pytest.mark.parametrize(("preset", "log", "fault"), STATES)
def test_states(preset: str, log: str, fault: str | None) -> None:
    device, entries = device_of(preset), []
    for step in log.split(", "):
        clock, name, letter, *row = step.split()
        entries.append(entry(device, int(clock), name, letter, *map(int, row)))
    found = list(violations(entries, device))
    assert any(fault in line for line in found) if fault else not found, found


def test_a_line_says_who_when_and_what() -> None:
    device = device_of("hbm2")
    log = [entry(device, 120, "ACT", "c"), entry(device, 123, "RD", "c")]
    assert list(violations(log, device)) == [
        "clock 123: RD channel 0 PseudoChannel 0 BankGroup 1 Bank 0: 3 after ACT at 120, tRCD (read) needs 15"
    ]


def test_a_place_must_fit_the_command_and_the_device() -> None:
    device = device_of("hbm2")
    refresh, act = entry(device, 1, "REFAB", "a"), entry(device, 1, "ACT", "a")
    assert "names a bank" in next(violations([replace(refresh, place=(0, 0, 0))], device))
    assert "no such address" in next(violations([replace(act, place=(0, 0, -1))], device))
    assert "no such address" in next(violations([replace(act, place=(0, 0))], device))
    assert "no such address" in next(violations([act, replace(act, clock=20, command=Command.RD, column=32)], device))


def test_channels_do_not_meet() -> None:
    device = device_of("hbm2")
    log = [entry(device, clock, *step) for clock, step in ((1, ("ACT", "a")), (16, ("RD", "a")))]
    assert not list(violations([*log, *(replace(item, channel=1) for item in log)], device))


@pytest.mark.reference
def test_reference_logs_break_no_rule() -> None:
    logs = sorted((REFERENCE / "cmdlogs").glob("*.csv"))
    if not logs:
        pytest.skip(f"no command logs under {REFERENCE}")
    device = device_of("hbm2")
    assert len(logs) == 10
    for path in logs:
        entries = list(read_command_log(path, device))
        assert entries and not list(violations(entries, device)), path.name


HEADER = "clock,command,Channel,PseudoChannel,BankGroup,Bank,Row,Column,type,source\n"
LINE = "3900,PREab,0,1,-1,-1,-1,-1,-1,-1\n"


def test_a_log_is_read_plain_and_packed(tmp_path: Path) -> None:
    plain, packed = tmp_path / "log.csv", tmp_path / "log.csv.gz"
    plain.write_text(HEADER + LINE + "4263,ACT,0,0,2,1,7,6,0,0\n")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    entries = list(read_command_log(plain, device_of("hbm2")))
    assert entries == [
        LogEntry(clock=3900, command=Command.PREAB, channel=0, place=(1, -1, -1), row=-1, column=-1),
        LogEntry(clock=4263, command=Command.ACT, channel=0, place=(0, 2, 1), row=7, column=6),
    ]
    assert list(read_command_log(packed, device_of("hbm2"))) == entries


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("log.csv", b"", "log.csv, line 1"),
        ("log.csv", HEADER.replace("PseudoChannel", "Rank").encode(), "log.csv, line 1"),
        ("log.csv", (HEADER + LINE + "1,ACT,0,0,0,0,0,0,0\n").encode(), "log.csv, line 3"),
        ("log.csv", (HEADER + "1.5,ACT,0,0,0,0,0,0,0,0\n").encode(), "log.csv, line 2"),
        ("log.csv", (HEADER + "1,ACT,0,0,0,x,0,0,0,0\n").encode(), "log.csv, line 2"),
        ("log.csv", (HEADER + "1,ACT1,0,0,0,0,0,0,0,0\n").encode(), "log.csv, line 2"),
        ("log.csv", (HEADER + "1,1,0,0,0,0,0,0,0,0\n").encode(), "log.csv, line 2"),
        ("log.csv", (HEADER + LINE + "\n").encode(), "log.csv, line 3"),
        ("log.csv", HEADER.encode() + b"\xff", "log.csv"),
        ("log.csv.gz", gzip.compress((HEADER + LINE * 99).encode())[:-9], "log.csv.gz"),
        ("log.csv.gz", HEADER.encode(), "log.csv.gz"),
        ("other.csv", HEADER.encode(), "log.csv"),
    ],
)
def test_a_damaged_log_is_an_error_with_its_line(tmp_path: Path, name: str, content: bytes, where: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        list(read_command_log(tmp_path / name.replace("other", "log"), device_of("hbm2")))
    assert error.value.where == f"{tmp_path}/{where}"
