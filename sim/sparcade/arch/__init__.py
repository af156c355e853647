"""Hardware parameters: frozen dataclasses and TOML presets with sources."""

from sparcade.arch.parameters import Arch, Dram, Softmax, Sram, load_arch

__all__ = ["Arch", "Dram", "Softmax", "Sram", "load_arch"]
