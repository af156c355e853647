"""Random devices, mappings and streams: every log is legal, nothing is lost, and driving by hand equals `run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from math import floor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparcade.dram import Device, DramResult, DramSystem, Injection, load_device, requests
from sparcade.dram.check import LogEntry, violations
from sparcade.dram.commands import Command
from sparcade.dram.device import Controller, Organisation, Timing
from sparcade.dram.mapping import NAMED, address_map, parse_mapping, place_of
from sparcade.dram.state import NEVER, Count
from sparcade.errors import ConfigError, StreamError

PRESETS = ("hbm2", "hbm3", "ddr4-3200", "ddr5-4800", "lpddr5-6400", "gddr6-14000", "hbm2-spatten")
FIELDS = ("channel", "pc", "rank", "sid", "bg", "ba", "row", "column")
#: Where a device has no such level, its one node.
SIZES = {
    "pc": "pseudo_channels",
    "rank": "ranks",
    "sid": "stack_ids",
    "bg": "bank_groups",
    "ba": "banks",
    "row": "rows",
}
#: The first is never longer than the second.
ORDERED = (
    ("n_ccd_s", "n_ccd_l"), ("n_ccd_s_wr", "n_ccd_l_wr"), ("n_rrd_s", "n_rrd_l"), ("n_rrd_s", "n_faw"),
    ("n_wtr_s", "n_wtr_l"), ("n_bl", "n_bl_max"), ("n_bl", "n_rtw"),
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ what is drawn


def powers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([1 << bit for bit in range(low, high + 1)])


@st.composite
def timings(draw: st.DrawFn, device: Device, banks: int) -> Timing:
    """Any clocks that no check refuses; refresh leaves time for a few accesses."""
    old = device.timing
    new: dict[str, Any] = {"t_ck_ps": old.t_ck_ps}
    for entry in fields(Timing)[1:]:
        value = getattr(old, entry.name)
        drawn = draw(st.one_of(st.just(value), st.integers(1, 40)))
        new[entry.name] = None if value is None else value if value == 0 else drawn
    for low, high in ORDERED:
        if new[low] is not None and new[high] is not None:
            new[high] = max(new[low], new[high])
    new["n_ras"] = max(new["n_ras"], new["n_rcd_rd"], new["n_rcd_wr"])
    new["n_rc"] = max(new["n_ras"], new["n_rc"])
    if device.rules.split_activate:
        new["n_rcd_rd"], new["n_rcd_wr"] = max(2, new["n_rcd_rd"]), max(2, new["n_rcd_wr"])
        new["n_ras"], new["n_rc"] = max(2, new["n_ras"]), max(2, new["n_rc"])
        new["n_aad"] = min(new["n_aad"], new["n_rcd_rd"] - 1, new["n_rcd_wr"] - 1)
    new["n_rrefd"] = draw(st.integers(1, 20))
    new["n_rfc_pb"] = draw(st.integers(new["n_rrefd"], 60))
    new["n_rfc"] = draw(st.integers(new["n_rfc_pb"], 120))
    close = sum(new[name] or 0 for name in ("n_ras", "n_cwl", "n_bl", "n_wr", "n_rp", "n_rp_ab"))
    least = new["n_rfc"] + banks * (max(new["n_rfc_pb"], new["n_refpb"] or 0) + close) + 2 * new["n_rc"]
    least = max(least, 200)  # no time exceeds it
    new["n_refi"] = draw(st.integers(least, 4 * least))
    return Timing(**new)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """A preset with other timings, a smaller organisation and another controller."""
    device = load_device(draw(st.sampled_from(PRESETS)))
    old, levels = device.organisation, device.rules.levels
    steps = old.transaction_bytes // old.step_bytes
    organisation = Organisation(
        data_bits=old.data_bits,
        prefetch=old.prefetch,
        access_bytes=old.access_bytes,
        pseudo_channels=draw(powers(0, 1)) if "PseudoChannel" in levels else 1,
        ranks=draw(powers(0, 2)) if "Rank" in levels else 1,
        stack_ids=draw(powers(0, 2)) if "Sid" in levels else 1,
        bank_groups=draw(powers(0, 2)),
        banks=draw(powers(0, 2)),
        rows=draw(powers(0, 4)),
        columns=draw(powers(0, 4)) * old.prefetch * steps,
    )
    refreshes = ["none", "all-bank", *(["per-bank"] if device.rules.per_bank_refresh else [])]
    write_queue = draw(st.integers(1, 40))
    write_high = draw(st.integers(1, write_queue))
    controller = Controller(
        scheduler=draw(st.sampled_from(["fr-fcfs", "fr-fcfs-row-hit"])),
        row_policy=draw(st.sampled_from(["open", "open", "closed"])),
        cap=draw(st.integers(1, 6)),
        refresh=draw(st.sampled_from(refreshes)),
        read_queue=draw(st.integers(1, 40)),
        write_queue=write_queue,
        write_high=write_high,
        write_low=draw(st.integers(0, write_high - 1)),
    )
    timing = draw(timings(device, organisation.channel_banks))
    return replace(device, name="drawn", organisation=organisation, timing=timing, controller=controller)


@st.composite
def bit_orders(draw: st.DrawFn, device: Device, channels: int) -> str:
    """Fields whole or in two parts, in any order, with up to two hashes of fields of the bank by row or column."""
    bits, left = bits_of(device, channels), bits_of(device, channels)
    order: list[str] = []
    seen: set[str] = set()
    for name in draw(st.permutations([*FIELDS, *FIELDS])):
        width = left[name] if name in seen else draw(st.integers(0, bits[name]))
        left[name] -= width
        seen.add(name)
        order.append(name if width and not left[name] else f"{name}:{width}")
    hashes = []
    for target in draw(st.lists(st.sampled_from(["pc", "rank", "bg", "ba", "channel"]), max_size=2, unique=True)):
        source = draw(st.sampled_from(["row", "column"]))
        if bits[target] and bits[source]:
            bit, mask = draw(st.integers(0, bits[target] - 1)), draw(st.integers(1, (1 << bits[source]) - 1))
            hashes.append(f"{target}.{bit}^={source}&{mask:#x}")
    return ";".join([",".join(order), *hashes])


def bits_of(device: Device, channels: int) -> dict[str, int]:
    organisation = device.organisation
    counts = {name: getattr(organisation, attribute) for name, attribute in SIZES.items()}
    counts |= {"channel": channels, "column": organisation.columns // organisation.prefetch}
    return {name: counts[name].bit_length() - 1 for name in FIELDS}


@st.composite
def streams(draw: st.DrawFn, system: DramSystem, longest: int) -> np.ndarray:
    """Sequential, random, a few hot rows or one address; reads, writes, a mix, or blocks of both."""
    random = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    number, size = draw(st.integers(1, longest)), system.device.organisation.transaction_bytes
    places = system.address_map.address_limit // size
    index = np.arange(number)
    hot = random.integers(0, places, 4)[random.integers(0, 4, number)]
    kinds = {
        "sequential": index + int(random.integers(places)),
        "strided": index * int(random.integers(1, places + 1)),
        "random": random.integers(0, places, number),
        "hot": (hot + random.integers(0, 6, number)),
        "one": np.full(number, int(random.integers(places))),
    }
    place = kinds[draw(st.sampled_from(sorted(kinds)))] % places
    writes = {
        "reads": np.zeros(number, bool),
        "writes": np.ones(number, bool),
        "mix": random.random(number) < draw(st.sampled_from([0.1, 0.5, 0.9])),
        "blocks": index // draw(st.integers(1, 40)) % 2 == 1,
    }
    return requests(place * size, write=writes[draw(st.sampled_from(sorted(writes)))])


injections = st.builds(
    Injection,
    period=st.sampled_from([0.0, 0.0, 0.3, 1.0, 2.75, 9.5]),
    max_outstanding=st.none() | st.integers(1, 40),
    max_outstanding_per_channel=st.none() | st.integers(1, 20),
)


@dataclass(frozen=True)
class Case:
    """A system, how a stream is fed, and the stream."""

    device: Device
    channels: int
    mapping: str
    injection: Injection
    stream: np.ndarray

    def system(self) -> DramSystem:
        return DramSystem(self.device, channels=self.channels, mapping=self.mapping)


@st.composite
def cases(draw: st.DrawFn, *, longest: int) -> Case:
    device, channels = draw(devices()), draw(powers(0, 2))
    mapping = draw(st.sampled_from(NAMED) | bit_orders(device, channels))
    stream = draw(streams(DramSystem(device, channels=channels, mapping=mapping), longest))
    return Case(device, channels, mapping, draw(injections), stream)


def run_or_stuck(
    case: Case, chunks: list[np.ndarray], log: Callable[[pd.DataFrame], None] | None = None
) -> DramResult | None:
    """None where a closed row policy locked a row away for ever: the one way in which a run may fail."""
    try:
        return case.system().run(iter(chunks), case.injection, log)
    except ConfigError as error:
        assert "stuck" in str(error)
        assert case.device.controller.row_policy == "closed"
        return None


# ------------------------------------------------------------------------------------------------ properties


def entries(frame: pd.DataFrame, device: Device) -> Iterator[LogEntry]:
    commands = {device.rules.command_name(command): command for command in Command}
    named = ["clock", "command", "Channel", *device.rules.levels, "Row", "Column"]
    for clock, name, channel, *place, row, column in frame[named].itertuples(index=False, name=None):
        yield LogEntry(clock=clock, command=commands[name], channel=channel, place=tuple(place), row=row, column=column)


@settings(max_examples=300)
@given(case=cases(longest=200))
def test_logs_are_legal_and_nothing_is_lost(case: Case) -> None:
    frames: list[pd.DataFrame] = []
    result = run_or_stuck(case, [case.stream], frames.append)
    log = pd.concat(frames)
    assert not list(violations(entries(log, case.device), case.device))
    if result is not None:
        check_conservation(case, result, log)


def check_conservation(case: Case, result: DramResult, log: pd.DataFrame) -> None:
    device, organisation = case.device, case.device.organisation
    statistics, commands, controller = result.statistics, result.commands, case.device.controller
    writes = int((case.stream & 1).sum())
    reads = len(case.stream) - writes
    assert (result.reads, result.writes) == (reads, writes)
    read_commands = commands[Command.RD] + commands[Command.RDA]
    write_commands = commands[Command.WR] + commands[Command.WRA]
    assert read_commands == reads - statistics[Count.FORWARDED]
    assert write_commands == writes - statistics[Count.COALESCED]
    for kind, number in (("read", read_commands), ("write", write_commands), ("", read_commands + write_commands)):
        assert sum(result.rows(kind, outcome) for outcome in ("hits", "misses", "conflicts")) == number
    assert result.bank_reads.shape == (case.channels, organisation.channel_banks)
    assert result.bank_reads.sum() == read_commands
    assert result.bank_writes.sum() == write_commands
    assert result.bank_activations.sum() == commands[Command.ACT]
    logged = log.command.value_counts()
    assert {device.rules.command_name(command): count for command, count in commands.items() if count} == dict(logged)
    assert log.clock.max() <= result.ticks
    assert (device.rules.split_activate and commands[Command.ACT2]) in (0, commands[Command.ACT])
    if controller.row_policy == "open":
        assert commands[Command.RDA] == commands[Command.WRA] == 0
    if controller.refresh == "none":
        assert commands[Command.REFAB] == commands[Command.REFPB] == 0
    check_bandwidth(case, result)


def check_bandwidth(case: Case, result: DramResult) -> None:
    """Bytes over time; no data bus carries two bursts at once. Data of the last write come after the end of the run."""
    device, organisation, timing = case.device, case.device.organisation, case.device.timing
    moved = len(case.stream) * organisation.transaction_bytes
    assert result.achieved_gbps == pytest.approx(moved / (result.seconds * 1e9))
    assert result.seconds == pytest.approx(float(result.ticks * device.tick_ps) * 1e-12)
    buses = (result.bank_reads + result.bank_writes).reshape(
        -1, organisation.channel_banks // organisation.pseudo_channels
    )
    burst = timing.n_bl * device.rules.ticks_per_ck
    if organisation.ranks == 1:
        assert (buses.sum(axis=1).max() - 1) * burst < result.ticks + timing.n_cwl * device.rules.ticks_per_ck
    percentiles = [result.percentile(percent) for percent in (50, 95, 99)]
    assert sorted([*percentiles, result.latency_max]) == [*percentiles, result.latency_max]
    assert result.latency.sum() == result.reads
    assert (np.arange(len(result.latency)) * result.latency).sum() == result.latency_sum
    if result.reads > result.statistics[Count.FORWARDED]:
        assert result.latency_max > device.read_latency


@pytest.mark.parametrize("preset", PRESETS)
def test_a_long_log_comes_in_frames_and_changes_nothing(preset: str) -> None:
    device, frames = load_device(preset), []
    memory = DramSystem(device, channels=2)
    random = np.random.default_rng(5).integers(0, memory.address_map.address_limit // 64, 30_000) * 64
    chunks = np.array_split(requests(random, write=random // 64 % 3 == 0), 7)
    result = memory.run(chunks, log=frames.append)
    assert len(frames) > 1
    log = pd.concat(frames)
    assert len(log) == sum(result.commands.values()) > 1 << 16
    assert log.clock.is_monotonic_increasing
    assert_same(result, memory.run(chunks))
    assert result.achieved_gbps < result.peak_gbps


@pytest.mark.parametrize("refresh", ["none", "all-bank", "per-bank"])
def test_a_row_locked_away_by_the_closed_policy_is_reported(refresh: str) -> None:
    """The row of an active request was closed again, and the row bus serves no active requests; refreshes go on."""
    device = load_device("hbm2", ["controller.row_policy=closed", "controller.cap=1", f"controller.refresh={refresh}"])
    memory = DramSystem(device, mapping="RoBaRaCoCh")
    with pytest.raises(ConfigError, match="stuck"):
        memory.run([requests([0, 64, 0, 64], write=[0, 1, 1, 0])])


@settings(max_examples=60)
@given(case=cases(longest=200), data=st.data())
def test_chunks_do_not_matter(case: Case, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.stream)), max_size=8)))
    whole, parts = run_or_stuck(case, [case.stream]), run_or_stuck(case, np.split(case.stream, cuts))
    assert (whole is None) == (parts is None)
    if whole is not None and parts is not None:
        assert_same(whole, parts)


def assert_same(one: DramResult, other: DramResult) -> None:
    """Everything but how the requests were fed."""
    assert one.to_dict(standby=True) | {"injection": None} == other.to_dict(standby=True) | {"injection": None}
    assert np.array_equal(one.latency, other.latency)


def drive(case: Case, *, skip: bool) -> tuple[DramResult, list[int]]:
    """The loop of the reference data's README, tick by tick or from event to event; tags in order of completion."""
    memory, stream, injection = case.system(), case.stream.tolist(), case.injection
    places = memory.address_map
    channels = [int(place_of(places.table, word >> 1)) >> places.bank_shift for word in stream]
    per_channel, finished, head = [0] * case.channels, [], 0
    total = injection.max_outstanding or len(stream) + 1
    each = injection.max_outstanding_per_channel or len(stream) + 1

    def collect() -> None:
        for tag in memory.completions():
            per_channel[channels[tag]] -= 1
            finished.append(tag)

    while True:
        release = NEVER
        while head < len(stream):
            if memory.now < floor(head * injection.period):
                release = floor(head * injection.period)
                break
            if sum(per_channel) >= total or per_channel[channels[head]] >= each:
                break
            if not memory.send(stream[head] >> 1, write=bool(stream[head] & 1), tag=head):
                break
            per_channel[channels[head]] += 1
            head += 1
            collect()  # an absorbed write is done at once
        assert memory.outstanding == sum(per_channel)
        if len(finished) == len(stream):
            return memory.result(), finished
        memory.tick(min(release, memory.next_event()) if skip else None)
        collect()


@settings(max_examples=100)
@given(case=cases(longest=60))
def test_driving_by_hand_equals_run(case: Case) -> None:
    """Tick by tick, and skipping every tick in which nothing may happen."""
    want = run_or_stuck(case, [case.stream])
    if want is None:
        return
    (every, order), (skipped, same_order) = drive(case, skip=False), drive(case, skip=True)
    assert_same(every, want)
    assert_same(skipped, want)
    assert order == same_order
    assert sorted(order) == list(range(len(case.stream)))


# ------------------------------------------------------------------------------------------------ mappings


@settings(max_examples=60)
@given(data=st.data())
def test_every_mapping_is_a_bijection(data: st.DataObject) -> None:
    device, channels = data.draw(devices()), data.draw(powers(0, 2))
    mapping = data.draw(st.sampled_from(NAMED) | bit_orders(device, channels))
    places = address_map(parse_mapping(mapping, device, channels), device, channels)
    step = device.organisation.step_bytes
    assert places.address_limit == device.organisation.channel_bytes * channels
    steps = range(0, places.address_limit, step)
    found = {int(place_of(places.table, address)) for address in steps}
    assert found == set(range(len(steps)))
    inside = data.draw(st.integers(0, places.address_limit - 1))
    assert place_of(places.table, inside) == place_of(places.table, inside // step * step)


def parity(value: int) -> int:
    return value.bit_count() & 1


def cut(address: int, *widths: int) -> list[int]:
    """Consecutive fields of an address, from bit 0."""
    parts = []
    for width in widths:
        parts.append(address & (1 << width) - 1)
        address >>= width
    assert address == 0
    return parts


def place(**parts: int) -> dict[str, int]:
    return dict.fromkeys(FIELDS, 0) | parts


def mop(column: int, *levels: int, widths: tuple[int, ...]) -> list[int]:
    """MOP4CLXOR: every level in order takes the next bits of the whole column index."""
    flipped = []
    for value, width in zip(levels, widths, strict=True):
        flipped.append(value ^ column & (1 << width) - 1)
        column >>= width
    return flipped


def hbm2_pcbgco(address: int) -> dict[str, int]:
    """4:0 tx | 5 pc | 7:6 BG | 12:8 column | 14:13 BA | 30:15 row; BA by the parity of even and odd row bits."""
    _, pc, bg, column, ba, row = cut(address, 5, 1, 2, 5, 2, 16)
    return place(pc=pc, bg=bg, column=column, ba=ba ^ parity(row & 0x5555) ^ parity(row & 0xAAAA) << 1, row=row)


def hbm2_robaracoch(address: int) -> dict[str, int]:
    """0-4 tx | 5-9 col | 10 pc | 11-12 BG | 13-14 BA | 15-30 row."""
    _, column, pc, bg, ba, row = cut(address, 5, 5, 1, 2, 2, 16)
    return place(column=column, pc=pc, bg=bg, ba=ba, row=row)


def hbm2_chrabaroco(address: int) -> dict[str, int]:
    _, column, row, ba, bg, pc = cut(address, 5, 5, 16, 2, 2, 1)
    return place(column=column, row=row, ba=ba, bg=bg, pc=pc)


def hbm2_mop(address: int) -> dict[str, int]:
    _, low, pc, bg, ba, high, row = cut(address, 5, 2, 1, 2, 2, 3, 16)
    column = high << 2 | low
    pc, bg, ba, row = mop(column, pc, bg, ba, row, widths=(1, 2, 2, 16))
    return place(column=column, pc=pc, bg=bg, ba=ba, row=row)


def in_channel(decode: Callable[[int], dict[str, int]]) -> Callable[[int], dict[str, int]]:
    """16 channels: bits 8:5 are the channel, and are removed for the map inside it."""

    def found(address: int) -> dict[str, int]:
        channel = address >> 5 & 15
        return decode(address >> 9 << 5 | address & 31) | {"channel": channel}

    return found


def hbm2_pcbgco_16(address: int) -> dict[str, int]:
    """4:0 tx | 8:5 channel | 9 pc | 11:10 BG | 16:12 column | 18:17 BA | 34:19 row."""
    _, channel, pc, bg, column, ba, row = cut(address, 5, 4, 1, 2, 5, 2, 16)
    flip = parity(row & 0x5555) | parity(row & 0xAAAA) << 1
    return place(channel=channel, pc=pc, bg=bg, column=column, ba=ba ^ flip, row=row)


def hbm2_chrabaroco_16(address: int) -> dict[str, int]:
    """Channel on top: the whole row space of a bank first."""
    return hbm2_chrabaroco(address & (1 << 31) - 1) | {"channel": address >> 31}


def ddr4_robaracoch(address: int) -> dict[str, int]:
    """6 bits tx | 6-12 col | 13-14 BG | 15-16 BA | 17-32 row."""
    _, column, bg, ba, row = cut(address, 6, 7, 2, 2, 16)
    return place(column=column, bg=bg, ba=ba, row=row)


def ddr4_chrabaroco(address: int) -> dict[str, int]:
    _, column, row, ba, bg = cut(address, 6, 7, 16, 2, 2)
    return place(column=column, row=row, ba=ba, bg=bg)


def ddr4_mop(address: int) -> dict[str, int]:
    """Rank has no bits; the row takes what the bank leaves of the column: three bits."""
    _, low, bg, ba, high, row = cut(address, 6, 2, 2, 2, 5, 16)
    column = high << 2 | low
    bg, ba, row = mop(column, bg, ba, row, widths=(2, 2, 16))
    return place(column=column, bg=bg, ba=ba, row=row)


def ddr4_pcbgco(address: int) -> dict[str, int]:
    _, bg, column, ba, row = cut(address, 6, 2, 7, 2, 16)
    flip = parity(row & 0x5555) | parity(row & 0xAAAA) << 1
    return place(bg=bg, column=column, ba=ba ^ flip, row=row)


def hbm3_robaracoch(address: int) -> dict[str, int]:
    """5-9 col | 10 pc | 11 sid | 12-13 BG | 14-15 BA | 16-29 row."""
    _, column, pc, sid, bg, ba, row = cut(address, 5, 5, 1, 1, 2, 2, 14)
    return place(column=column, pc=pc, sid=sid, bg=bg, ba=ba, row=row)


def hbm3_chrabaroco(address: int) -> dict[str, int]:
    _, column, row, ba, bg, sid, pc = cut(address, 5, 5, 14, 2, 2, 1, 1)
    return place(column=column, row=row, ba=ba, bg=bg, sid=sid, pc=pc)


def hbm3_mop(address: int) -> dict[str, int]:
    _, low, pc, sid, bg, ba, high, row = cut(address, 5, 2, 1, 1, 2, 2, 3, 14)
    column = high << 2 | low
    pc, sid, bg, ba, row = mop(column, pc, sid, bg, ba, row, widths=(1, 1, 2, 2, 14))
    return place(column=column, pc=pc, sid=sid, bg=bg, ba=ba, row=row)


def hbm3_pcbgco(address: int) -> dict[str, int]:
    """SID between BA and row."""
    _, pc, bg, column, ba, sid, row = cut(address, 5, 1, 2, 5, 2, 1, 14)
    flip = parity(row & 0x5555) | parity(row & 0xAAAA) << 1
    return place(pc=pc, bg=bg, column=column, ba=ba ^ flip, sid=sid, row=row)


@pytest.mark.parametrize(
    ("preset", "channels", "mapping", "decode"),
    [
        ("hbm2", 1, "RoBaRaCoCh", hbm2_robaracoch),
        ("hbm2", 1, "ChRaBaRoCo", hbm2_chrabaroco),
        ("hbm2", 1, "MOP4CLXOR", hbm2_mop),
        ("hbm2", 1, "PcBgCo", hbm2_pcbgco),
        ("hbm2", 16, "RoBaRaCoCh", in_channel(hbm2_robaracoch)),
        ("hbm2", 16, "ChRaBaRoCo", hbm2_chrabaroco_16),
        ("hbm2", 16, "MOP4CLXOR", in_channel(hbm2_mop)),
        ("hbm2", 16, "PcBgCo", hbm2_pcbgco_16),
        ("ddr4-3200", 1, "RoBaRaCoCh", ddr4_robaracoch),
        ("ddr4-3200", 1, "ChRaBaRoCo", ddr4_chrabaroco),
        ("ddr4-3200", 1, "MOP4CLXOR", ddr4_mop),
        ("ddr4-3200", 1, "PcBgCo", ddr4_pcbgco),
        ("hbm3", 1, "RoBaRaCoCh", hbm3_robaracoch),
        ("hbm3", 1, "ChRaBaRoCo", hbm3_chrabaroco),
        ("hbm3", 1, "MOP4CLXOR", hbm3_mop),
        ("hbm3", 1, "PcBgCo", hbm3_pcbgco),
    ],
)
def test_named_mappings_decode_as_documented(
    preset: str, channels: int, mapping: str, decode: Callable[[int], dict[str, int]]
) -> None:
    device = load_device(preset)
    places = address_map(parse_mapping(mapping, device, channels), device, channels)
    bits = bits_of(device, channels)
    random = np.random.default_rng(11).integers(0, places.address_limit, 300).tolist()
    ends = [0, places.address_limit - 1, *(1 << bit for bit in range(places.address_bits))]
    for address in (*random, *ends):
        want = 0
        for name, value in decode(address).items():
            assert value < 1 << bits[name]
            want = want << bits[name] | value
        assert place_of(places.table, address) == want, hex(address)


def test_reads_of_one_queued_write_are_all_forwarded_however_many() -> None:
    """`run` and `send` make room for them alike."""
    stream = requests([0] * 3001, write=[True] + [False] * 3000)
    whole, memory = DramSystem("hbm2").run([stream]), DramSystem("hbm2")
    assert all(
        memory.send(int(request) >> 1, write=bool(request & 1), tag=index) for index, request in enumerate(stream)
    )
    while memory.outstanding:
        memory.tick(memory.next_event())
    assert sorted(memory.completions()) == list(range(3001))
    assert memory.now == whole.ticks
    assert memory.result().latency_max == whole.latency_max == 1


def test_a_long_wait_between_requests_is_not_taken_for_a_stuck_controller() -> None:
    result = DramSystem("hbm2").run([requests([0, 64, 1 << 20])], Injection(period=500_000))
    assert result.reads == 3
    assert result.ticks == 1_000_000 + 32


@pytest.mark.parametrize("address", [1 << 31, 1 << 40, (1 << 48) + 32, -64])
def test_addresses_beyond_the_device_are_refused(address: int) -> None:
    memory = DramSystem("hbm2")
    with pytest.raises(StreamError, match="beyond the device"):
        memory.run([requests([0, address])])
    with pytest.raises(StreamError, match="beyond the device"):
        memory.send(address)


def test_arguments_that_are_no_requests_are_refused() -> None:
    memory = DramSystem("hbm2")
    assert memory.send(0, write=7)  # truth is enough  # type: ignore[arg-type]
    with pytest.raises(StreamError, match="negative"):
        memory.send(64, tag=-1)
    with pytest.raises(StreamError, match="integers"):
        requests([0.5])
    with pytest.raises(StreamError, match="integers"):
        requests([[0, 32]])
    assert requests([0, 64], write=7).tolist() == [1, 129]


def test_an_idle_memory_without_refresh_stays_where_it_is() -> None:
    memory = DramSystem("hbm2-spatten")
    memory.tick(memory.next_event())
    before = memory.now
    memory.tick(memory.next_event())
    assert memory.next_event() == NEVER
    assert memory.now == before
    assert memory.send(0)


def test_standby_grows_with_ranks() -> None:
    stream = [requests([0, 64])]
    one, two = (DramSystem(load_device("ddr4-3200", [f"organisation.ranks={n}"])).run(stream) for n in (1, 2))
    assert two.energy_joules(standby=True)["standby"] == 2 * one.energy_joules(standby=True)["standby"]
