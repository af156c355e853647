"""Energy: constants with source and node, formulas over the counters of a run."""

from sparcade.energy.model import PARTS, EnergyProfile, energy_joules, load_profile

__all__ = ["PARTS", "EnergyProfile", "energy_joules", "load_profile"]
