"""DRAM: device presets, address mapping, cycle-exact controllers, energy; and the `ideal` memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparcade.dram.device import Device, load_device
    from sparcade.dram.inject import Injection
    from sparcade.dram.result import DramResult
    from sparcade.dram.stream import read_stream
    from sparcade.dram.system import DramSystem, requests

__all__ = ["Device", "DramResult", "DramSystem", "Injection", "load_device", "read_stream", "requests"]

_HOMES = {
    "device": ("Device", "load_device"),
    "inject": ("Injection",),
    "result": ("DramResult",),
    "stream": ("read_stream",),
    "system": ("DramSystem", "requests"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"sparcade.dram.{module}"), name)
    raise AttributeError(f"module 'sparcade.dram' has no attribute {name!r}")
