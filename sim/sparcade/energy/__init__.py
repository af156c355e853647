"""Energy, power and area: constants with range, node and source, formulas over the counters of a run."""

from sparcade.energy.area import area_mm2
from sparcade.energy.estimate import Estimate, total
from sparcade.energy.model import (
    BLOCKS,
    PARTS,
    BlockPower,
    block_power,
    elapsed_seconds,
    energy_estimates,
    energy_joules,
    energy_range,
)
from sparcade.energy.profile import Constant, EnergyProfile, load_profile
from sparcade.energy.watts import WINDOW_CYCLES, Power, power

__all__ = [
    "BLOCKS",
    "PARTS",
    "WINDOW_CYCLES",
    "BlockPower",
    "Constant",
    "EnergyProfile",
    "Estimate",
    "Power",
    "area_mm2",
    "block_power",
    "elapsed_seconds",
    "energy_estimates",
    "energy_joules",
    "energy_range",
    "load_profile",
    "power",
    "total",
]
