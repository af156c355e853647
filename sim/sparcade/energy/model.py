"""Energy of a run: formulas over its counters, linear in them. They never influence timing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sparcade.accelerator.result import KINDS, bytes_moved
from sparcade.arch import Arch, Sram
from sparcade.dram.commands import Command
from sparcade.dram.power import command_energy
from sparcade.energy.estimate import NOTHING, Estimate
from sparcade.energy.profile import EnergyProfile
from sparcade.energy.sram import Memory, evaluate

WORD_BITS = 12
#: Parts of the energy, in the order they are printed.
PARTS = (
    "dram",
    "fetch",
    "key_sram",
    "value_sram",
    "qk",
    "softmax",
    "topk",
    "pv",
    "importance",
    "leakage",
    "control",
)
#: On-chip blocks of the paper's Fig. 13, with the FIFOs and SRAM in each.
BLOCKS = ("qkv_fetcher", "qk", "softmax", "topk", "pv", "others")
#: Split of the paper's Table II.
Kind = Literal["logic", "sram", "dram"]
_SPLIT: tuple[Kind, ...] = ("logic", "sram", "dram")
_PJ = 1e-12
_MW = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPower:
    """Average power [W] in the paper's two divisions; the blocks sum to logic and SRAM together."""

    blocks: dict[str, Estimate]  #: by `BLOCKS`, on chip
    kinds: dict[str, Estimate]  #: "logic", "sram", "dram"


def energy_joules(counters: dict[str, int], *, arch: Arch, profile: EnergyProfile) -> dict[str, float]:
    """Energy by part [J] of any sum of counters (a run, a layer, a phase); linear, so layers add up to the run."""
    return {part: energy.value for part, energy in energy_estimates(counters, arch=arch, profile=profile).items()}


def energy_range(counters: dict[str, int], *, arch: Arch, profile: EnergyProfile) -> dict[str, tuple[float, float]]:
    """The least and the most of each part of `energy_joules` [J]: all constants low, all high."""
    estimates = energy_estimates(counters, arch=arch, profile=profile)
    return {part: (energy.low, energy.high) for part, energy in estimates.items()}


def energy_estimates(counters: dict[str, int], *, arch: Arch, profile: EnergyProfile) -> dict[str, Estimate]:
    """Energy by part [J] with its range; counters may be arrays, for all rows of a run at once."""
    parts = dict.fromkeys(PARTS, NOTHING)
    for part, _, _, energy in _terms(counters, arch, profile):
        parts[part] += energy
    return parts


def block_power(counters: dict[str, int], *, arch: Arch, profile: EnergyProfile) -> BlockPower:
    """Average power by block of Fig. 13, and by logic, SRAM and DRAM as in Table II."""
    blocks = dict.fromkeys(BLOCKS, NOTHING)
    kinds: dict[str, Estimate] = dict.fromkeys(_SPLIT, NOTHING)
    seconds = elapsed_seconds(counters, arch)
    for _, block, kind, energy in _terms(counters, arch, profile):
        kinds[kind] += energy / seconds
        if kind != "dram":
            blocks[block] += energy / seconds
    return BlockPower(blocks=blocks, kinds=kinds)


def buffer_memory(sram: Sram, arch: Arch) -> Memory:
    """The geometry of a vector buffer: lines of one 12-bit word per multiplier, over its banks."""
    return Memory(words=sram.lines, bits=arch.multipliers * WORD_BITS, banks=sram.banks)


def elapsed_seconds(counters: dict[str, int], arch: Arch) -> float:
    """Elapsed time of counted cycles [s]."""
    return counters["cycles"] / (arch.clock_ghz * 1e9)


def _terms(counters: dict[str, int], arch: Arch, profile: EnergyProfile) -> Iterator[tuple[str, str, Kind, Estimate]]:
    """(part, block, kind, energy [J]) of everything that costs energy: the one place that says so."""
    constants = profile.energy
    seconds = elapsed_seconds(counters, arch)
    moved_bits = bytes_moved(counters, arch, KINDS) * 8
    yield "dram", "dram", "dram", _dram(counters, arch, profile, seconds)
    yield "fetch", "qkv_fetcher", "sram", constants.fifo * (moved_bits * _PJ)
    yield "fetch", "qkv_fetcher", "logic", constants.crossbar * (moved_bits * _PJ)
    for buffer, block, sram in (("key", "qk", arch.key_sram), ("value", "pv", arch.value_sram)):
        part, macs = f"{buffer}_sram", counters[f"macs_{block}"]
        memory = buffer_memory(sram, arch)
        lines_read = macs / arch.multipliers  # banks without a word that takes part are not enabled
        yield part, block, "sram", evaluate(memory, **profile.sram.terms("read")) * (lines_read * _PJ)
        yield part, block, "sram", evaluate(memory, **profile.sram.terms("write")) * (counters[f"{part}_writes"] * _PJ)
        yield block, block, "logic", constants.mac * (macs * _PJ)
        yield "leakage", block, "sram", evaluate(memory, **profile.sram.terms("leakage")) * (seconds * _MW)
        yield "leakage", block, "logic", constants.logic_leakage * (arch.multipliers * seconds * _MW)
    for part, count in (("softmax", "softmax_elements"), ("topk", "topk_elements")):
        yield part, part, "logic", getattr(constants, part) * (counters[count] * _PJ)
        yield part, part, "sram", getattr(constants, f"{part}_fifo") * (counters[count] * _PJ)
    updates = counters["importance_updates"] * _PJ
    yield "importance", "others", "logic", constants.importance * updates
    yield "importance", "others", "sram", constants.importance_sram * updates
    yield "control", "others", "logic", constants.control * seconds
    yield "control", "others", "sram", constants.control_sram * seconds


def _dram(counters: dict[str, int], arch: Arch, profile: EnergyProfile, seconds: float) -> Estimate:
    """DRAM energy [J]: counted commands on a device; flat per bit in the ideal memory."""
    dram = arch.dram
    if dram.kind == "ideal":
        bits = bytes_moved(counters, arch, KINDS) * 8
        return profile.dram.ideal * (bits * dram.ideal.energy_pj_per_bit * _PJ)
    reads = sum(counters[f"tx_{kind}"] for kind in KINDS if kind != "out")
    commands = dict.fromkeys(Command, 0) | {
        Command.ACT: counters["dram_activations"],
        Command.RD: reads - counters["dram_forwarded"],
        Command.WR: counters["tx_out"] - counters["dram_coalesced"],
        Command.REFAB: counters["dram_refreshes"],
        Command.REFPB: counters["dram_bank_refreshes"],
    }
    organisation = dram.device.organisation
    parts = command_energy(
        dram.device.terms,
        commands,
        transaction_bits=8 * organisation.transaction_bytes,
        upper_banks=organisation.upper_banks,
        toggle_rate=dram.toggle_rate,
        standby_seconds=seconds * dram.channels if dram.standby else 0.0,
    )
    accesses = profile.dram.factor(dram.device.protocol) * (parts["activation"] + parts["read"] + parts["write"])
    return accesses + profile.dram.background * (parts["refresh"] + parts["standby"])
