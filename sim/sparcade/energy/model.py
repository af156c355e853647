"""Energy of a run: formulas over its counters. They never influence timing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparcade.accelerator.result import KINDS, bytes_moved
from sparcade.arch import Arch
from sparcade.config import build, read_toml
from sparcade.dram.commands import Command
from sparcade.dram.power import command_energy

_WORD_BITS = 12
_PJ = 1e-12
#: Parts of the energy, in the order they are printed.
PARTS = ("dram", "fetch", "key_sram", "value_sram", "qk", "softmax", "topk", "pv", "importance", "leakage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One energy constant with its unit and source."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyProfile:
    """Constants of one technology."""

    name: str
    node: str
    mac: Constant  #: [pJ/MAC]
    softmax: Constant  #: [pJ/element]
    sram_read: Constant  #: [pJ/bit]
    sram_write: Constant  #: [pJ/bit]
    fetch: Constant  #: [pJ/bit] FIFOs and crossbars, per bit moved
    topk: Constant  #: [pJ/element] per element of a pass
    importance: Constant  #: [pJ/update]
    leakage: Constant  #: [mW/KiB] of buffer SRAM


def load_profile(name: str = "first-principles") -> EnergyProfile:
    """A bundled profile of constants."""
    path = Path(__file__).parent / "profiles" / f"{name}.toml"
    return build(EnergyProfile, read_toml(path), where=path.name)


def energy_joules(counters: dict[str, int], *, arch: Arch, profile: EnergyProfile) -> dict[str, float]:
    """Energy by part [J] of any sum of counters (a run, a layer, a phase); linear, so layers add up to the run.

    SRAM reads are charged per word that takes part in a MAC, writes per line written.
    """
    line_bits = arch.multipliers * _WORD_BITS
    moved_bits = bytes_moved(counters, arch, KINDS) * 8
    seconds = counters["cycles"] / (arch.clock_ghz * 1e9)
    buffer_kib = (arch.key_sram.lines + arch.value_sram.lines) * line_bits / 8192

    def sram(buffer: str, macs: str) -> float:
        read = counters[macs] * _WORD_BITS * profile.sram_read.value
        return read + counters[f"{buffer}_writes"] * line_bits * profile.sram_write.value

    picojoules = {
        "dram": _dram_joules(counters, arch, seconds) / _PJ,
        "fetch": moved_bits * profile.fetch.value,
        "key_sram": sram("key_sram", "macs_qk"),
        "value_sram": sram("value_sram", "macs_pv"),
        "qk": counters["macs_qk"] * profile.mac.value,
        "softmax": counters["softmax_elements"] * profile.softmax.value,
        "topk": counters["topk_elements"] * profile.topk.value,
        "pv": counters["macs_pv"] * profile.mac.value,
        "importance": counters["importance_updates"] * profile.importance.value,
        "leakage": profile.leakage.value * buffer_kib * 1e-3 * seconds / _PJ,
    }
    return {part: picojoules[part] * _PJ for part in PARTS}


def _dram_joules(counters: dict[str, int], arch: Arch, seconds: float) -> float:
    """DRAM energy [J]: counted commands on a device; flat per bit in the ideal memory."""
    dram = arch.dram
    if dram.kind == "ideal":
        return bytes_moved(counters, arch, KINDS) * 8 * dram.ideal.energy_pj_per_bit * _PJ
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
    return sum(parts.values())
