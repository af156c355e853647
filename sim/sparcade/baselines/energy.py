"""Energy of what every design has: multiplications, softmax, DRAM. Not its SRAM, FIFOs, control or leakage."""

from __future__ import annotations

from sparcade.arch import Arch
from sparcade.baselines.record import Part
from sparcade.dram.commands import Command
from sparcade.dram.power import command_energy
from sparcade.energy import EnergyProfile

#: Parts of a run's energy that the closed forms have as well.
SHARED_PARTS = ("qk", "pv", "softmax", "dram")
LABEL = "energy: MACs, softmax and DRAM only (closed forms: every DRAM row opened once per row of data)"
_PJ = 1e-12


def part_joules(part: Part, arch: Arch, profile: EnergyProfile) -> float:
    """Energy of a closed form with the constants of the profile and the DRAM of the arch [J]."""
    energy = profile.energy
    softmax = energy.softmax.value + energy.softmax_fifo.value
    compute = part.macs * energy.mac.value + part.softmax_elements * softmax
    return compute * _PJ + _dram_joules(part.dram_bytes, arch)


def _dram_joules(moved: int, arch: Arch) -> float:
    """Sequential reads; the standby and refresh that time adds are left out."""
    dram = arch.dram
    if dram.kind == "ideal":
        return moved * 8 * dram.ideal.energy_pj_per_bit * _PJ
    organisation = dram.device.organisation
    commands = dict.fromkeys(Command, 0) | {
        Command.RD: -(-moved // organisation.transaction_bytes),
        Command.ACT: -(-moved // organisation.row_bytes),
    }
    parts = command_energy(
        dram.device.terms,
        commands,
        transaction_bits=8 * organisation.transaction_bytes,
        upper_banks=organisation.upper_banks,
        toggle_rate=dram.toggle_rate,
        standby_seconds=0.0,
    )
    return sum(parts.values())
