"""Hardware parameters: frozen dataclasses and TOML presets with sources."""

from sparcade.arch.parameters import Arch, Dram, Ideal, Softmax, Sram, load_arch

__all__ = ["Arch", "Dram", "Ideal", "Softmax", "Sram", "load_arch"]
