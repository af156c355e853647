"""The memory against closed forms: every bandwidth limit of a device binds a stream made for it; latency, energy.

Every expected number is written here from the device's own timings (dram.md, section 2). A stream of N requests takes
N periods and a fill of one unloaded access, up to 60 CK. Unless a test says otherwise 4000 requests of 2 CK or more
keep that below 1 %, the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparcade.dram import Device, DramResult, DramSystem, Injection, load_device, requests
from sparcade.dram.check import LogEntry, violations
from sparcade.dram.commands import Command
from sparcade.dram.state import Count

PRESETS = ("hbm2", "hbm3", "ddr4-3200", "ddr5-4800", "lpddr5-6400", "gddr6-14000", "hbm2-spatten")
REFRESHED = PRESETS[:-1]  # hbm2-spatten never refreshes
PER_BANK = ("hbm2", "hbm3", "lpddr5-6400", "gddr6-14000")
RANKED = ("ddr4-3200", "ddr5-4800", "lpddr5-6400")
#: Every field in a piece: the streams below choose places, not addresses.
FLAT = "channel,column,ba,bg,sid,rank,pc,row"
ACT, PRE, PREAB, RD, WR, REFAB, REFPB = (
    Command.ACT, Command.PRE, Command.PREAB, Command.RD, Command.WR, Command.REFAB, Command.REFPB
)  # fmt: skip
REQUESTS = np.arange(4000)
#: Of a refresh, where a test is not about it.
NEVER = "controller.refresh=none"


def addresses(device: Device, **places: Any) -> np.ndarray:
    """Addresses under `FLAT` of places given by field; a column counts transactions."""
    organisation = device.organisation
    per_row = organisation.row_bytes // organisation.transaction_bytes
    fields = (
        ("pc", organisation.pseudo_channels), ("rank", organisation.ranks), ("sid", organisation.stack_ids),
        ("bg", organisation.bank_groups), ("ba", organisation.banks), ("column", per_row),
    )  # fmt: skip
    place = np.asarray(places.get("row", 0), np.int64)
    for name, count in fields:
        place = place * count + np.asarray(places.get(name, 0)) % count
    return place * organisation.transaction_bytes


def columns(device: Device) -> int:
    """Transactions of a row."""
    return device.organisation.row_bytes // device.organisation.transaction_bytes


def run(device: Device, stream: np.ndarray, *, write: Any = False, log: list[pd.DataFrame] | None = None) -> DramResult:
    append = None if log is None else log.append
    return DramSystem(device, mapping=FLAT).run([requests(stream, write=write)], log=append)


def ck_per_request(device: Device, stream: np.ndarray, *, write: Any = False) -> float:
    return run(device, stream, write=write).ticks / device.rules.ticks_per_ck / len(stream)


def chain(device: Device, *steps: tuple[int, Command, Command]) -> int:
    """Ticks of a chain of (CK, from, to): counted between last cycles; in HBM3 only PRE goes at even ticks."""
    rules, at = device.rules, 1
    for clocks, before, after in steps:
        at += clocks * rules.ticks_per_ck
        if rules.adjusts_for_cycles:
            at += rules.cycles_of(before) - rules.cycles_of(after)
        if rules.ticks_per_ck == 2 and after not in (PRE, PREAB):
            at += at % 2 == 0
    return at - 1


def cas(device: Device, gap: int, latency: int) -> int:
    """LPDDR5: a tick for the CAS that wakes the data clock, asleep after a pause of `gap` ticks since RD or WR."""
    timing = device.timing
    return int(device.rules.split_activate and gap >= latency + timing.n_bl + timing.n_wck_pst)


def entries(frames: Sequence[pd.DataFrame], device: Device) -> list[LogEntry]:
    frame, levels = pd.concat(frames), list(device.rules.levels)
    commands = {device.rules.command_name(command): command for command in Command}
    named = ["clock", "command", "Channel", *levels, "Row", "Column"]
    return [
        LogEntry(clock=clock, command=commands[name], channel=channel, place=(*place,), row=row, column=column)
        for clock, name, channel, *place, row, column in frame[named].itertuples(index=False, name=None)
    ]


# ------------------------------------------------------------------------------------------------ column accesses


@pytest.mark.parametrize("preset", PRESETS)
def test_latency_of_one_unloaded_read(preset: str) -> None:
    """ACT in the first tick, RD after tRCD, data after tCL + tBL; a CAS first where the data clock is off."""
    device = load_device(preset, [NEVER])
    timing, ticks = device.timing, device.rules.ticks_per_ck
    want = 1 + chain(device, (timing.n_rcd_rd, ACT, RD)) + (timing.n_cl + timing.n_bl) * ticks
    want += int(device.rules.split_activate)
    result = run(device, addresses(device, row=[5]))
    assert result.ticks == result.latency_max == want
    assert result.latency_mean == result.percentile(50) == result.percentile(99) == want


@pytest.mark.parametrize("preset", PRESETS)
def test_row_hits_of_one_bank_are_bound_by_ccd_l(preset: str) -> None:
    device = load_device(preset, [NEVER])
    stream = addresses(device, column=REQUESTS)
    want = max(device.timing.n_ccd_l, device.timing.n_bl)
    assert ck_per_request(device, stream) == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_write_hits_of_one_bank_are_bound_by_ccd_l(preset: str) -> None:
    """A queue shorter than a row, or writes to the same places would be absorbed."""
    device = load_device(preset, [NEVER, "controller.write_high=12", "controller.write_queue=12"])
    timing, stream = device.timing, addresses(device, column=REQUESTS)
    result = run(device, stream, write=True)
    assert result.statistics[Count.COALESCED] == 0
    want = max(timing.n_ccd_l_wr or timing.n_ccd_l, timing.n_bl) * device.rules.ticks_per_ck
    assert result.ticks / len(stream) == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_alternating_bank_groups_are_bound_by_ccd_s_or_the_data_bus(preset: str) -> None:
    device = load_device(preset, [NEVER])
    timing, groups = device.timing, device.organisation.bank_groups
    stream = addresses(device, bg=REQUESTS, column=REQUESTS // groups)
    want = max(timing.n_ccd_s, timing.n_bl, timing.n_ccd_l / groups)
    assert ck_per_request(device, stream) == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_ccd_s_binds_where_it_is_longer_than_the_burst(preset: str) -> None:
    device = load_device(preset, [NEVER, "timing.n_ccd_l=12", "timing.n_ccd_s=12"])
    stream = addresses(device, bg=REQUESTS, column=REQUESTS // device.organisation.bank_groups)
    assert ck_per_request(device, stream) == pytest.approx(12, rel=0.01)


@pytest.mark.parametrize("preset", ["hbm2", "hbm3", "hbm2-spatten"])
def test_two_pseudo_channels_have_a_data_bus_each(preset: str) -> None:
    device = load_device(preset, [NEVER])
    stream = addresses(device, pc=REQUESTS, bg=REQUESTS // 2, column=REQUESTS // 8)
    assert ck_per_request(device, stream) == pytest.approx(device.timing.n_bl / 2, rel=0.01 * 2)  # half the time, twice


def test_alternating_stack_ids_are_bound_by_ccd_r() -> None:
    """A bank of each SID: tCCD_R from one to the other, 3 CK; longer than tCCD_S, shorter than tCCD_L."""
    device = load_device("hbm3", [NEVER])
    timing = device.timing
    assert timing.n_ccd_r is not None and timing.n_ccd_s < timing.n_ccd_r < timing.n_ccd_l <= 2 * timing.n_ccd_r
    stream = addresses(device, sid=REQUESTS, column=REQUESTS // 2)
    assert ck_per_request(device, stream) == pytest.approx(timing.n_ccd_r, rel=0.01)


@pytest.mark.parametrize("preset", RANKED)
def test_alternating_ranks_leave_a_gap_on_the_data_bus(preset: str) -> None:
    device = load_device(preset, [NEVER, "organisation.ranks=2"])
    timing = device.timing
    stream = addresses(device, rank=REQUESTS, column=REQUESTS // 2)
    want = max(timing.n_bl + timing.n_cs, timing.n_ccd_l / 2)
    assert ck_per_request(device, stream) == pytest.approx(want, rel=0.01)


# ------------------------------------------------------------------------------------------------ activations


@pytest.mark.parametrize("preset", PRESETS)
def test_row_conflicts_of_one_bank_are_bound_by_a_row_cycle(preset: str) -> None:
    """ACT, RD, PRE, ACT, ...: tRC, or tRAS + tRP, or tRCD + tRTP + tRP."""
    device = load_device(preset, [NEVER])
    timing = device.timing
    want = max(
        chain(device, (timing.n_rc, ACT, ACT)),
        chain(device, (timing.n_ras, ACT, PRE), (timing.n_rp, PRE, ACT)),
        chain(device, (timing.n_rcd_rd, ACT, RD), (timing.n_rtp, RD, PRE), (timing.n_rp, PRE, ACT)),
    )
    result = run(device, addresses(device, row=REQUESTS))
    assert result.rows("read", "conflicts") == len(REQUESTS) - 1
    assert result.ticks / len(REQUESTS) == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_rc_binds_where_it_is_longest(preset: str) -> None:
    device = load_device(preset, [NEVER, "timing.n_rc=200"])
    assert ck_per_request(device, addresses(device, row=REQUESTS)) == pytest.approx(200, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_write_conflicts_of_one_bank_wait_for_write_recovery(preset: str) -> None:
    """ACT, WR, PRE, ACT, ...: tRCD + tCWL + tBL + tWR + tRP, or a row cycle."""
    device = load_device(preset, [NEVER])
    timing = device.timing
    recovery = timing.n_cwl + timing.n_bl + timing.n_wr
    want = max(
        chain(device, (timing.n_rc, ACT, ACT)),
        chain(device, (timing.n_ras, ACT, PRE), (timing.n_rp, PRE, ACT)),
        chain(device, (timing.n_rcd_wr, ACT, WR), (recovery, WR, PRE), (timing.n_rp, PRE, ACT))
        + int(device.rules.split_activate),  # and CAS
    )
    assert run(device, addresses(device, row=REQUESTS), write=True).ticks / len(REQUESTS) == pytest.approx(
        want, rel=0.01
    )


def one_read_a_row(device: Device) -> np.ndarray:
    """Every read opens a row of the next bank, bank groups in turn."""
    groups, banks = device.organisation.bank_groups, device.organisation.banks
    return addresses(device, bg=REQUESTS, ba=REQUESTS // groups, row=REQUESTS // groups // banks)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("settings", "want"),
    [
        (["timing.n_faw=120"], 120 / 4),  # four ACT in a window
        (["timing.n_rrd_s=30", "timing.n_rrd_l=30", "timing.n_faw=60"], 30),
        (["timing.n_rrd_l=160"], 160 / 4),  # the same of four groups returns after four ACT
    ],
)
def test_activations_are_bound_by_faw_or_rrd(preset: str, settings: list[str], want: float) -> None:
    device = load_device(preset, [NEVER, *settings, "organisation.bank_groups=4"])
    # Up to 1 CK a window of 120 more: an ACT waits where it meets a RD or PRE on the command bus.
    assert ck_per_request(device, one_read_a_row(device)) == pytest.approx(want, rel=0.015)


@pytest.mark.parametrize("preset", PRESETS)
def test_activations_in_one_group_are_bound_by_rrd_l(preset: str) -> None:
    device = load_device(preset, [NEVER, "timing.n_rrd_l=60"])
    banks = device.organisation.banks
    stream = addresses(device, ba=REQUESTS, row=REQUESTS // banks)
    assert ck_per_request(device, stream) == pytest.approx(60, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_activations_of_the_preset_run_at_its_own_limit(preset: str) -> None:
    """The largest of tRRD_S, tRRD_L over the groups, tFAW / 4, tBL and the command bus."""
    device = load_device(preset, [NEVER])
    timing, cycles = device.timing, device.rules.cycles_of
    bus = 0 if device.rules.row_and_column_bus else cycles(ACT) + cycles(PRE) + cycles(RD)
    bus += device.rules.split_activate * cycles(Command.ACT2)
    want = max(timing.n_rrd_s, timing.n_rrd_l / device.organisation.bank_groups, timing.n_faw / 4, timing.n_bl, bus)
    # On one bus the ACT that ends a window may meet a RD or PRE: 1 CK a window.
    slack = 0 if device.rules.row_and_column_bus else 1 / timing.n_faw
    assert 0.99 * want <= ck_per_request(device, one_read_a_row(device)) <= 1.01 * want * (1 + slack)


def test_four_commands_a_read_fill_the_bus_of_lpddr5() -> None:
    """ACT1, ACT2, RD and PRE of every read take a tick each."""
    settings = ["timing.n_rrd_s=1", "timing.n_rrd_l=1", "timing.n_faw=1", "timing.n_ppd=0"]
    device = load_device("lpddr5-6400", [NEVER, *settings])
    assert ck_per_request(device, one_read_a_row(device)) == pytest.approx(4, rel=0.01)


# ------------------------------------------------------------------------------------------------ peak


def test_sequential_reads_of_hbm2_reach_its_peak() -> None:
    """Without the hash only the fill is lost; with it two rows in four begin in the bank where the last one ended."""
    stream = [requests(np.arange(100_000) * 32)]
    device = load_device("hbm2", [NEVER])
    hashed = DramSystem(device).run(stream)
    plain = DramSystem(device, mapping="channel,pc,bg,column,ba,row").run(stream)
    assert plain.peak_gbps == hashed.peak_gbps == pytest.approx(32)
    assert 0.999 < plain.achieved_gbps / plain.peak_gbps <= 1
    assert 0.99 < hashed.achieved_gbps / hashed.peak_gbps <= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_sequential_reads_reach_the_peak_of_every_preset(preset: str) -> None:
    """A queue of 128 looks further ahead than PRE, ACT and tRCD last; the rest are conflicts of the hash, up to 2 %."""
    device = load_device(preset, [NEVER, "controller.read_queue=128"])
    organisation, timing = device.organisation, device.timing
    result = DramSystem(device).run([requests(np.arange(50_000) * organisation.transaction_bytes)])
    bytes_per_ns = organisation.transaction_bytes * organisation.pseudo_channels / timing.ns("n_bl")
    assert result.peak_gbps == pytest.approx(bytes_per_ns)
    assert 0.98 < result.achieved_gbps / bytes_per_ns <= 1


@pytest.mark.parametrize("channels", [2, 16])
def test_channels_multiply_the_bandwidth(channels: int) -> None:
    device = load_device("hbm2", [NEVER])
    result = DramSystem(device, channels=channels).run([requests(np.arange(20_000 * channels) * 32)])
    assert result.peak_gbps == pytest.approx(32 * channels)
    assert 0.98 < result.achieved_gbps / result.peak_gbps <= 1  # the fill is 60 of 20,000 ticks; one stream for all


@pytest.mark.parametrize("period", [7, 20.5])
def test_a_pace_sets_the_bandwidth(period: float) -> None:
    device = load_device("hbm2", [NEVER])
    result = DramSystem(device).run([requests(REQUESTS * 32)], Injection(period=period))
    assert result.ticks / len(REQUESTS) == pytest.approx(period, rel=0.01)


@pytest.mark.parametrize("outstanding", [1, 4])
def test_few_outstanding_reads_take_a_latency_each(outstanding: int) -> None:
    """Little's law: row hits of one group each, tCL + tBL and the tick of their acceptance, never waiting for a bus."""
    device = load_device("hbm2", [NEVER])
    stream = addresses(device, bg=REQUESTS, column=REQUESTS // 4)
    result = DramSystem(device, mapping=FLAT).run([requests(stream)], Injection(max_outstanding=outstanding))
    latency = device.timing.n_cl + device.timing.n_bl + 1
    assert result.ticks / len(REQUESTS) == pytest.approx(latency / outstanding, rel=0.01)


# ------------------------------------------------------------------------------------------------ reads and writes


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("high", "low"), [(12, 4), (5, 0), (8, 7)])
def test_blocks_of_reads_and_writes_pay_both_turnarounds(preset: str, high: int, low: int) -> None:
    """Reads and writes in turn: the write queue fills to `high`, is drained to `low`, and so on, row hits all along.

    The read queue is full during a drain, so no write joins in: every block has high - low accesses.
    """
    device = load_device(preset, [NEVER, f"controller.write_high={high}", f"controller.write_low={low}"])
    timing, ticks, half = device.timing, device.rules.ticks_per_ck, columns(device) // 2
    stream = addresses(device, column=np.where(REQUESTS % 2, half + REQUESTS // 2 % half, REQUESTS // 2 % half))
    frames: list[pd.DataFrame] = []
    result = run(device, stream, write=REQUESTS % 2, log=frames)
    rtw = (timing.n_rtw or timing.n_cl + timing.n_bl + 2 - timing.n_cwl) * ticks
    wtr = (timing.n_cwl + (timing.n_bl_max or timing.n_bl) + timing.n_wtr_l) * ticks
    rtw, wtr = rtw + cas(device, rtw, timing.n_cl), wtr + cas(device, wtr, timing.n_cwl)
    log = pd.concat(frames)
    log = log[log.command.isin(["RD", "WR"])]
    turns = np.flatnonzero(np.diff(log.type.to_numpy()) != 0)[2:-8]  # the first and the last blocks are irregular
    assert set(np.diff(turns)) == {high - low}
    assert set(np.diff(log.clock.to_numpy())[turns]) == {rtw, wtr}
    read, write = max(timing.n_ccd_l, timing.n_bl), max(timing.n_ccd_l_wr or timing.n_ccd_l, timing.n_bl)
    period = (high - low - 1) * (read + write) * ticks + rtw + wtr
    assert result.ticks / (len(REQUESTS) / 2 / (high - low)) == pytest.approx(period, rel=0.015)  # ends are irregular


@pytest.mark.parametrize("preset", PRESETS)
def test_one_outstanding_access_at_a_time_pays_latency_and_turnaround(preset: str) -> None:
    """RD, its data, WR in the next tick, RD after tWTR, ..."""
    device = load_device(preset, [NEVER])
    timing, ticks, half = device.timing, device.rules.ticks_per_ck, columns(device) // 2
    stream = addresses(device, column=np.where(REQUESTS % 2, half, 0))
    result = DramSystem(device, mapping=FLAT).run([requests(stream, write=REQUESTS % 2)], Injection(max_outstanding=1))
    to_write = (timing.n_cl + timing.n_bl) * ticks + 1
    to_write += ticks == 2 and to_write % 2  # HBM3: odd ticks only
    to_read = (timing.n_cwl + (timing.n_bl_max or timing.n_bl) + timing.n_wtr_l) * ticks
    want = to_write + cas(device, to_write, timing.n_cl) + to_read + cas(device, to_read, timing.n_cwl)
    assert result.ticks / (len(REQUESTS) / 2) == pytest.approx(want, rel=0.01)


def test_the_write_queue_never_exceeds_its_watermark_while_reads_wait() -> None:
    """Reads and writes in turn; writes queued after every tick: up to write_high, down to write_low."""
    device = load_device("ddr4-3200", [NEVER, "controller.write_high=20", "controller.write_low=5"])
    stream = addresses(device, column=REQUESTS)
    memory, head, queued = DramSystem(device, mapping=FLAT), 0, []
    while head < 1000:  # the columns of a queue never repeat
        while memory.send(int(stream[head]), write=bool(head % 2), tag=head):
            head += 1
        memory.tick()
        queued.append(head // 2 - memory.result().commands[WR])
    drained = queued.index(5)  # both queues were full before the first tick
    assert max(queued[:drained]) == device.controller.write_queue
    assert (min(queued[drained:]), max(queued[drained:])) == (5, 20)


def test_a_full_queue_refuses_and_leaves_the_other_open() -> None:
    device = load_device("hbm2", ["controller.read_queue=5", "controller.write_queue=9", "controller.write_high=7"])
    memory, stream = DramSystem(device, mapping=FLAT), addresses(device, row=np.arange(100)).tolist()
    accepted = [sum(memory.send(address, write=write) for address in stream[8 * write :]) for write in (False, True)]
    assert accepted == [5, 9]
    memory.tick(10_000)
    assert len(memory.completions()) == 14
    assert memory.outstanding == 0


# ------------------------------------------------------------------------------------------------ refresh


@pytest.mark.parametrize(
    ("preset", "kind"),
    [*((preset, "all-bank") for preset in REFRESHED), *((preset, "per-bank") for preset in PER_BANK)],
)
def test_a_refresh_costs_row_hits_the_time_from_rd_to_rd(preset: str, kind: str) -> None:
    """RD, tRTP, PRE, tRP, REF, tRFC, ACT, tRCD, RD: once every tREFI; REFpb of other banks cost a tick or two."""
    device = load_device(preset, [f"controller.refresh={kind}"])
    timing, ticks, banks = device.timing, device.rules.ticks_per_ck, device.organisation.channel_banks
    precharge, refresh, lasts = (PREAB, REFAB, timing.n_rfc) if kind == "all-bank" else (PRE, REFPB, timing.n_rfc_pb)
    assert lasts is not None
    frames: list[pd.DataFrame] = []
    stream = addresses(device, column=np.arange(40_000))
    result = run(device, stream, log=frames)
    want = chain(device, (timing.n_rtp, RD, precharge), (timing.n_rp, precharge, refresh), (lasts, refresh, ACT),
                 (timing.n_rcd_rd, ACT, RD)) + int(device.rules.split_activate)  # fmt: skip
    log = pd.concat(frames)
    gaps = np.diff(log[log.command == "RD"].clock.to_numpy())
    long = gaps > 4 * timing.n_ccd_l * ticks
    assert set(gaps[long]) == {want}
    intervals = result.ticks // (timing.n_refi * ticks)
    assert intervals >= 20
    assert long.sum() == intervals if kind == "all-bank" else abs(long.sum() - intervals) <= 1
    without = run(load_device(preset, [NEVER]), stream)
    held = 0 if kind == "all-bank" else 2 * banks  # the bank is open and REFpb of another one takes a slot
    loss, least = 1 - without.ticks / result.ticks, (want / ticks - timing.n_ccd_l) / timing.n_refi
    # The run holds a part of an interval more: 1 of 20 intervals at most, of a loss below 10 %.
    assert least * (1 - 1 / intervals) - 1e-3 <= loss <= least + held / timing.n_refi + 1e-3
    if kind == "all-bank":
        assert result.commands[refresh] == intervals * device.organisation.uppers
    else:
        assert abs(result.commands[refresh] - result.ticks * banks / (timing.n_refi * ticks)) <= 1


def test_all_bank_refresh_costs_hbm2_a_tenth_of_its_peak() -> None:
    """Both pseudo-channels refresh one after the other, their drain included: dram.md, section 8."""
    stream = [requests(np.arange(200_000) * 32)]
    device = load_device("hbm2")
    timing = device.timing
    refreshed, without = DramSystem(device).run(stream), DramSystem(load_device("hbm2", [NEVER])).run(stream)
    pause = timing.n_rtp + timing.n_rp + timing.n_rfc + timing.n_rcd_rd  # of pseudo-channel 0
    second = timing.n_rp + 1  # PREab of pseudo-channel 1 follows its REFab
    drain = timing.n_ras  # a row that just opened stays open for so long
    loss = 1 - without.ticks / refreshed.ticks
    assert 0.99 * pause / timing.n_refi <= loss <= (pause + second + drain) / timing.n_refi
    assert refreshed.achieved_gbps / refreshed.peak_gbps == pytest.approx(0.89, abs=0.01)


@pytest.mark.parametrize("preset", PER_BANK)
def test_per_bank_refresh_takes_every_bank_in_turn(preset: str) -> None:
    """Every bank once in tREFI, in order, and no bank is used while it refreshes (the checker says so)."""
    device = load_device(preset, ["controller.refresh=per-bank"])
    timing, ticks = device.timing, device.rules.ticks_per_ck
    organisation, banks = device.organisation, device.organisation.channel_banks
    stream = np.random.default_rng(3).integers(0, organisation.channel_bytes // 64, 12_000) * 64
    frames: list[pd.DataFrame] = []
    result = DramSystem(device).run([requests(stream, write=np.arange(12_000) % 3 == 0)], log=frames.append)
    log = entries(frames, device)
    assert not list(violations(log, device))
    refreshes = [entry for entry in log if entry.command == REFPB]
    assert result.commands[REFAB] == result.commands[PREAB] == 0
    assert abs(len(refreshes) - result.ticks * banks / (timing.n_refi * ticks)) <= 2
    assert len(refreshes) > 3 * banks
    order = [entry.place for entry in refreshes]
    assert len(set(order)) == banks
    assert order == (order[:banks] * len(order))[: len(order)]
    last: dict[tuple[int, ...], LogEntry] = {}
    for entry in log:
        before = last.get(entry.place)
        if before is not None and before.command == REFPB and entry.command != REFPB:
            assert entry.command == ACT
            assert entry.clock - before.clock >= chain(device, (timing.n_rfc_pb or 0, REFPB, ACT))
        last[entry.place] = entry


@pytest.mark.parametrize("preset", REFRESHED)
def test_refresh_goes_on_while_nothing_else_happens(preset: str) -> None:
    """A read, a pause of 50 tREFI, a read: REFab of every pseudo-channel or rank each time."""
    device = load_device(preset)
    interval = device.timing.n_refi * device.rules.ticks_per_ck
    memory = DramSystem(device)
    memory.tick(50 * interval + interval // 2)
    assert memory.result().commands[REFAB] == 50 * device.organisation.uppers
    assert memory.send(0, tag=3)
    memory.tick(50 * interval + 3 * interval // 4)
    assert memory.completions() == [3]


# ------------------------------------------------------------------------------------------------ energy


@pytest.mark.parametrize("preset", PRESETS)
def test_energy_moves_with_traffic_and_row_locality(preset: str) -> None:
    device = load_device(preset, [NEVER])
    terms, hits = device.terms, addresses(device, column=REQUESTS)
    once, twice = run(device, hits), run(device, np.concatenate([hits, hits]))
    conflicts = run(device, addresses(device, row=REQUESTS, column=REQUESTS))
    energy = {name: result.energy_joules() for name, result in (("1", once), ("2", twice), ("c", conflicts))}
    assert energy["2"]["read"] == pytest.approx(2 * energy["1"]["read"], rel=1e-12)
    assert energy["c"]["read"] == energy["1"]["read"]
    assert (once.commands[ACT], conflicts.commands[ACT]) == (1, len(REQUESTS))
    extra = energy["c"]["activation"] - energy["1"]["activation"]
    assert extra == pytest.approx((len(REQUESTS) - 1) * terms.act_pj * 1e-12, rel=1e-12)
    assert energy["1"]["write"] == energy["1"]["refresh"] == energy["1"]["standby"] == 0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("toggle_rate", [0.0, 0.5, 1.0])
def test_energy_of_bits_follows_the_toggle_rate(preset: str, toggle_rate: float) -> None:
    """HBM2: 1.51 pJ/bit at 0, 3.48 at 0.5 (O'Connor), 5.45 at 1."""
    device = load_device(preset, [NEVER])
    terms, write = device.terms, REQUESTS % 4 == 0
    result = run(device, addresses(device, row=REQUESTS), write=write)
    energy = result.energy_joules(toggle_rate=toggle_rate)
    bits = 8 * device.organisation.transaction_bytes
    swing = terms.toggle_pj_per_bit * toggle_rate * 2
    reads, writes = result.commands[RD], result.commands[WR]
    assert (reads, writes) == (3000, 1000)
    assert energy["read"] == pytest.approx(reads * bits * (terms.read_pj_per_bit + swing) * 1e-12, rel=1e-12)
    assert energy["write"] == pytest.approx(writes * bits * (terms.write_pj_per_bit + swing) * 1e-12, rel=1e-12)
    assert energy["activation"] == pytest.approx(result.commands[ACT] * terms.act_pj * 1e-12, rel=1e-12)
    if preset == "hbm2":
        per_bit = {0.0: 1.51, 0.5: 3.48, 1.0: 5.45}[toggle_rate]
        assert energy["read"] == pytest.approx(3000 * 256 * per_bit * 1e-12, rel=1e-9)
        assert terms.act_pj == 909


@pytest.mark.parametrize(("preset", "kind"), [("hbm2", "all-bank"), ("hbm2", "per-bank"), ("ddr4-3200", "all-bank")])
def test_energy_of_refresh_is_charged_per_bank_or_for_all(preset: str, kind: str) -> None:
    device = load_device(preset, [f"controller.refresh={kind}"])
    result = run(device, addresses(device, column=np.arange(40_000)))
    banks = device.organisation.channel_banks // device.organisation.uppers
    number = result.commands[REFAB] if kind == "all-bank" else result.commands[REFPB] / banks
    assert number > 20
    want = number * device.terms.refresh_pj * 1e-12
    assert result.energy_joules()["refresh"] == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("channels", [1, 4])
def test_standby_is_charged_on_request_for_every_channel(channels: int) -> None:
    device = load_device("hbm2")
    result = DramSystem(device, channels=channels).run([requests(REQUESTS * 32)])
    assert result.energy_joules()["standby"] == 0
    seconds = result.ticks * 1e-9  # 1 GHz
    want = device.terms.standby_mw * 1e-3 * seconds * channels
    assert result.seconds == pytest.approx(seconds, rel=1e-12)
    assert result.energy_joules(standby=True)["standby"] == pytest.approx(want, rel=1e-12)


def test_energy_from_data_sheet_currents_by_hand() -> None:
    """DDR4-3200, eight devices at 1.2 V: V (IDD0 tRC - IDD3N tRAS - IDD2N tRP) and so on; mA V ns = pJ."""
    device = load_device("ddr4-3200")
    terms = device.terms
    t_ras, t_rp, t_rfc, burst = 52 * 0.625, 22 * 0.625, 576 * 0.625, 4 * 0.625  # ns
    scale = 1.2 * 8
    assert terms.act_pj == pytest.approx(scale * (57 * (t_ras + t_rp) - 52 * t_ras - 37 * t_rp))
    assert terms.read_pj_per_bit == pytest.approx(scale * (168 - 52) * burst / 512)
    assert terms.write_pj_per_bit == pytest.approx(scale * (150 - 52) * burst / 512)
    assert terms.refresh_pj == pytest.approx(scale * (250 - 52) * t_rfc)
    assert terms.standby_mw == pytest.approx(scale * 52)
    # dram.md, section 5: 4.20 nJ, 5.44 and 4.59 pJ/bit, 665 nJ, 499 mW
    listed = (4200, 5.44, 4.59, 665_000, 499)
    found = (terms.act_pj, terms.read_pj_per_bit, terms.write_pj_per_bit, terms.refresh_pj, terms.standby_mw)
    assert all(math.isclose(one, other, rel_tol=0.05) for one, other in zip(found, listed, strict=True)), found
    result = run(load_device("ddr4-3200", [NEVER]), addresses(device, row=REQUESTS))
    joules = len(REQUESTS) * (terms.act_pj + 512 * terms.read_pj_per_bit) * 1e-12
    assert sum(result.energy_joules().values()) == pytest.approx(joules, rel=1e-12)
