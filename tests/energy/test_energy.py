"""Energy, power and area: sums, linearity, ranges, a literal computation, and what the parameters move."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from sparcade.accelerator.counters import COUNTERS, Count
from sparcade.accelerator.result import RunResult
from sparcade.arch import Arch, load_arch
from sparcade.energy import (
    BLOCKS,
    PARTS,
    Estimate,
    area_mm2,
    block_power,
    energy_estimates,
    energy_joules,
    energy_range,
    load_profile,
    power,
    total,
)
from sparcade.errors import ConfigError
from sparcade.workload import generate

PROFILES = ("first-principles", "spatten40nm-calibrated")
#: mm2, Fig. 13.
FIG_13 = {"qkv_fetcher": 2.649, "qk": 7.123, "softmax": 0.791, "topk": 0.498, "pv": 7.222, "others": 0.43}


def counters(**values: int) -> dict[str, int]:
    return {counter.name: 0 for counter in COUNTERS.values()} | values


def busy(seed: int) -> dict[str, int]:
    """Counters with every field set."""
    drawn = np.random.default_rng(seed).integers(1_000, 100_000, len(COUNTERS))
    some = dict(zip((counter.name for counter in COUNTERS.values()), map(int, drawn), strict=True))
    return some | {"dram_forwarded": 3, "dram_coalesced": 5}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("settings", [[], ["dram.kind=ideal"], ["dram.device=ddr4-3200", "dram.standby=true"]])
def test_parts_blocks_and_kinds_are_the_same_energy(name: str, settings: list[str]) -> None:
    arch, profile, work = load_arch("spatten", settings), load_profile(name), busy(1)
    parts = energy_estimates(work, arch=arch, profile=profile)
    assert tuple(parts) == PARTS
    assert {part: joules.value for part, joules in parts.items()} == energy_joules(work, arch=arch, profile=profile)
    assert {part: (joules.low, joules.high) for part, joules in parts.items()} == energy_range(
        work, arch=arch, profile=profile
    )
    watts = block_power(work, arch=arch, profile=profile)
    assert tuple(watts.blocks) == BLOCKS
    seconds = work["cycles"] * 1e-9
    for end in ("value", "low", "high"):
        whole = sum(getattr(joules, end) for joules in parts.values())
        on_chip = sum(getattr(block, end) for block in watts.blocks.values())
        kinds = {kind: getattr(estimate, end) for kind, estimate in watts.kinds.items()}
        assert sum(kinds.values()) * seconds == pytest.approx(whole, rel=1e-12)
        assert on_chip == pytest.approx(kinds["logic"] + kinds["sram"], rel=1e-12)
        assert kinds["dram"] * seconds == pytest.approx(getattr(parts["dram"], end), rel=1e-12)


@pytest.mark.parametrize("name", PROFILES)
def test_energy_is_linear_in_the_counters(name: str) -> None:
    arch, profile = load_arch("spatten", ["dram.standby=true"]), load_profile(name)
    one, other = busy(2), busy(3)
    summed = {key: 2 * one[key] + 3 * other[key] for key in one}
    a, b, c = (energy_estimates(work, arch=arch, profile=profile) for work in (one, other, summed))
    for part in PARTS:
        for end in ("value", "low", "high"):
            assert getattr(c[part], end) == pytest.approx(2 * getattr(a[part], end) + 3 * getattr(b[part], end))


@pytest.mark.parametrize("name", PROFILES)
def test_low_value_high(name: str) -> None:
    arch, profile, work = load_arch("spatten"), load_profile(name), busy(4)
    moved = profile.at_node(28, 0.8)
    for constants in (profile, moved):
        estimates: list[Estimate] = [
            *energy_estimates(work, arch=arch, profile=constants).values(),
            *area_mm2(arch, constants).values(),
            *block_power(work, arch=arch, profile=constants).blocks.values(),
        ]
        assert all(0 <= each.low <= each.value <= each.high for each in estimates)


def test_a_run_by_hand() -> None:
    """Every formula once, written out with the numbers of first-principles."""
    arch = load_arch("spatten", ["multipliers=64", "key_sram.lines=128", "value_sram.lines=64", "key_sram.banks=3"])
    work = counters(
        cycles=2_000,
        tx_q=1,
        tx_k_msb=10,
        tx_v=5,
        tx_out=4,
        dram_activations=2,
        dram_forwarded=1,
        dram_coalesced=1,
        dram_refreshes=3,
        key_sram_writes=7,
        value_sram_writes=3,
        macs_qk=640,
        macs_pv=320,
        softmax_elements=11,
        topk_elements=13,
        importance_updates=17,
    )
    energy = energy_joules(work, arch=arch, profile=load_profile())
    pico = {part: joules * 1e12 for part, joules in energy.items()}
    assert pico["dram"] == pytest.approx(2 * 909 + (15 + 3) * 256 * 3.48 + 3 * 30400)
    assert pico["fetch"] == pytest.approx(20 * 256 * (0.042 + 0.20))
    # 128 lines of 768 bits over 3 banks: 4 KiB of 256 bits; 64 lines over 12: 0.5 KiB of 64 bits
    read = 3 * (0.7944 * 2 + 0.00436 * 256 * 2 + 3.824e-5 * 256**2)
    write = 3 * (0.6466 * 2 + 0.0218 * 256 * 2)
    assert pico["key_sram"] == pytest.approx(10 * read + 7 * write)
    root = math.sqrt(0.5)
    read = 12 * (0.7944 * root + 0.00436 * 64 * root + 3.824e-5 * 64**2)
    write = 12 * (0.6466 * root + 0.0218 * 64 * root)
    assert pico["value_sram"] == pytest.approx(5 * read + 3 * write)
    assert pico["qk"] == pytest.approx(640 * 0.934)
    assert pico["pv"] == pytest.approx(320 * 0.934)
    assert pico["softmax"] == pytest.approx(11 * (48.7 + 1.34))
    assert pico["topk"] == pytest.approx(13 * (3.07 + 1.01))
    assert pico["importance"] == pytest.approx(17 * (0.086 + 3.03))
    assert pico["leakage"] == pytest.approx((0.7616 * 18 + 0.0128 * 128) * 1e-3 * 2_000e-9 * 1e12)
    assert pico["control"] == 0


def test_banks_and_geometry_move_the_buffers_only() -> None:
    profile, work = load_profile(), busy(5)
    base = energy_joules(work, arch=load_arch("spatten"), profile=profile)
    for banks in (1, 2, 6, 24):
        one = energy_joules(work, arch=load_arch("spatten", [f"key_sram.banks={banks}"]), profile=profile)
        assert {part for part in PARTS if one[part] != base[part]} == {"key_sram"}
        assert (one["key_sram"] > base["key_sram"]) == (banks < 12)
    long = energy_joules(work, arch=load_arch("spatten", ["key_sram.lines=1024"]), profile=profile)
    assert {part for part in PARTS if long[part] > base[part]} == {"key_sram", "leakage"}
    with pytest.raises(ConfigError, match=r"key_sram\.banks"):
        load_arch("spatten", ["key_sram.banks=7"])


@pytest.mark.parametrize(
    ("setting", "grown"),
    [
        ("multipliers=1024", {"qk", "pv"}),
        ("key_sram.lines=512", {"qk"}),
        ("value_sram.lines=512", {"pv"}),
        ("dram.channels=32", {"qkv_fetcher"}),
        ("fetch_ports=64", {"qkv_fetcher"}),
        ("data_fifo=128", {"qkv_fetcher"}),
        ("address_fifo=128", {"qkv_fetcher"}),
        ("max_scores_per_cycle=16", {"softmax", "pv", "others"}),
        ("softmax.fifo_beats=256", {"softmax"}),
        ("topk.lanes=32", {"topk"}),
        ("topk.capacity=2048", {"topk", "others"}),
        ("probability_fifo=128", {"pv"}),
        ("reorder_beats=8192", {"others"}),
    ],
)
@pytest.mark.parametrize("name", PROFILES)
def test_area_grows_with_each_parameter(name: str, setting: str, grown: set[str]) -> None:
    profile = load_profile(name)
    base, larger = (area_mm2(load_arch("spatten", settings), profile) for settings in ([], [setting]))
    for end in ("value", "low", "high"):
        assert {block for block in BLOCKS if getattr(larger[block], end) > getattr(base[block], end)} == grown
        assert all(getattr(larger[block], end) >= getattr(base[block], end) for block in BLOCKS)


def test_calibrated_area_is_fig_13_and_first_principles_is_not_fitted() -> None:
    arch = load_arch("spatten")
    calibrated = area_mm2(arch, load_profile("spatten40nm-calibrated"))
    assert {block: calibrated[block].value for block in BLOCKS} == pytest.approx(FIG_13, rel=1e-3)
    assert total(calibrated.values()).value == pytest.approx(18.71, rel=1e-3)
    assert {constant.tag for constant in load_profile().constants.values()} <= {"measured", "published", "derived"}


def test_calibrated_power_is_table_ii_at_the_activity_it_was_solved_for() -> None:
    """324 of 512 lanes busy in Q x K, half of that in prob x V, the other blocks at their published power."""
    cycles = 1_000_000
    work = counters(
        cycles=cycles,
        macs_qk=324 * cycles,
        macs_pv=162 * cycles,
        softmax_elements=round(0.50 / 99e-12 * cycles * 1e-9),
        topk_elements=round(0.08 / 2.5e-12 * cycles * 1e-9),
        tx_k_msb=round(0.24 / 0.20e-12 / 256 * cycles * 1e-9),
    )
    watts = block_power(work, arch=load_arch("spatten"), profile=load_profile("spatten40nm-calibrated"))
    published = {"qkv_fetcher": 0.24, "qk": 1.13, "softmax": 0.50, "topk": 0.08, "pv": 0.53, "others": 0.12}
    assert {name: block.value for name, block in watts.blocks.items()} == pytest.approx(published, rel=0.07)
    assert watts.kinds["logic"].value == pytest.approx(1.36, rel=0.02)
    assert watts.kinds["sram"].value == pytest.approx(1.24, rel=0.05)


@pytest.fixture(scope="module")
def run() -> RunResult:
    """A run whose counts are drawn: 300 rows, some of no length."""
    work, random = generate("bert-base-cola", 0), np.random.default_rng(0)
    counts = random.integers(0, 1_000, (300, len(Count)))
    counts[:, Count.CYCLES] = random.integers(0, 40, 300) * (random.random(300) > 0.3)
    counts[:, [Count.DRAM_FORWARDED, Count.DRAM_COALESCED]] = 0
    return RunResult(workload=work, arch=load_arch("spatten"), counts=counts)


@pytest.mark.parametrize("window", [1, 7, 100, 1_000, 10**9])
def test_the_windows_of_power_divide_the_run(run: RunResult, window: int) -> None:
    profile = load_profile()
    found = power(run, profile, window)
    seconds = np.diff(found.edges) * 1e-9
    energy = sum(energy_joules(run.total(), arch=run.arch, profile=profile).values())
    assert (seconds > 0).all()
    assert (found.watts * seconds).sum() == pytest.approx(energy)
    assert found.average.value == pytest.approx(energy / (run.cycles * 1e-9))
    assert found.peak.value >= found.average.value * (1 - 1e-9)
    assert found.peak.low <= found.peak.value <= found.peak.high
    assert found.average.low <= found.average.value <= found.average.high
    at = found.edges.tolist().index(found.peak_at_cycle)
    assert found.watts[at] == found.watts.max() == found.peak.value


def test_the_power_of_a_window_by_hand(run: RunResult) -> None:
    """Three rows of 10, 0 and 30 cycles, with 100, 50 and 60 softmax elements; windows of 20 cycles."""
    counts = np.zeros((3, len(Count)), dtype=np.int64)
    counts[:, Count.CYCLES] = 10, 0, 30
    counts[:, Count.SOFTMAX_ELEMENTS] = 100, 50, 60
    profile = load_profile()
    found = power(dataclasses.replace(run, counts=counts), profile, 20)
    element = (48.7 + 1.34) * 1e-12
    leakage = (0.7616 * 384 + 0.0128 * 1024) * 1e-3
    first, second = (150 + 60 / 3) * element / 20e-9, 60 * 2 / 3 * element / 20e-9
    assert found.watts == pytest.approx([first + leakage, second + leakage])
    assert found.peak_at_cycle == 0
    with pytest.raises(ConfigError, match="window"):
        power(run, profile, 0)


def test_a_constant_moves_its_own_part() -> None:
    arch, profile, work = load_arch("spatten"), load_profile(), busy(6)
    base = energy_joules(work, arch=arch, profile=profile)
    for name, part in (("mac", {"qk", "pv"}), ("softmax", {"softmax"}), ("topk_fifo", {"topk"}), ("fifo", {"fetch"})):
        constant = getattr(profile.energy, name)
        doubled = dataclasses.replace(constant, value=2 * constant.value, high=2 * constant.high)
        group: Any = dataclasses.replace(profile.energy, **{name: doubled})
        moved = energy_joules(work, arch=arch, profile=dataclasses.replace(profile, energy=group))
        assert {each for each in PARTS if moved[each] != base[each]} == part


def test_the_geometry_of_every_bundled_buffer_is_within_the_fit() -> None:
    from sparcade._presets import preset_names
    from sparcade.energy.model import buffer_memory

    archs: list[Arch] = [load_arch(name) for name in preset_names("arch")]
    assert all(buffer_memory(sram, arch).is_fitted for arch in archs for sram in (arch.key_sram, arch.value_sram))
