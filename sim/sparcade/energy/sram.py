"""SRAM by capacity, word width, banks and cell type: closed forms fitted to CACTI 7, with their errors.

A bank of K KiB in words of w bits costs, at 40 nm,

    read [pJ]    = root sqrt(K) + root_width w sqrt(K) + square w^2
    write [pJ]   = root sqrt(K) + root_width w sqrt(K)
    leakage [mW] = capacity K
    area [mm2]   = capacity K + square w^2

and a memory of B banks that share its word is B of them, each with K/B and w/B. The square is the tree that carries
every bit of a word out of one array: splitting a wide word over banks saves most of it.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade.energy.estimate import Estimate, total
from sparcade.energy.scaling import interpolate

#: Cell types of CACTI: high performance, low operating power, low standby power.
CELLS = ("hp", "lop", "lstp")
#: Terms of each quantity.
TERMS = {
    "read": ("root", "root_width", "square"),
    "write": ("root", "root_width"),
    "leakage": ("capacity",),
    "area": ("capacity", "square"),
}
#: What was fitted, of one bank.
FITTED_KIB, FITTED_BITS = (1.0, 256.0), (32.0, 3072.0)
NODES = (65.0, 45.0, 40.0, 32.0, 28.0, 22.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A memory: `words` of `bits`, each word spread over `banks`."""

    words: int
    bits: int
    banks: int = 1

    @property
    def kib(self) -> float:
        """Capacity [KiB]."""
        return self.words * self.bits / 8192

    @property
    def is_fitted(self) -> bool:
        """Whether a bank is within what the forms were fitted to; else they extrapolate."""
        kib, bits = self.kib / self.banks, self.bits / self.banks
        return FITTED_KIB[0] <= kib <= FITTED_KIB[1] and FITTED_BITS[0] <= bits <= FITTED_BITS[1]


def evaluate(memory: Memory, **coefficients: Estimate) -> Estimate:
    """A form at a memory, from coefficients by the name of their term (the head of the module; `width`: per bit)."""
    kib, bits = memory.kib / memory.banks, memory.bits / memory.banks
    terms = {
        "root": kib**0.5,
        "root_width": bits * kib**0.5,
        "square": bits**2,
        "width": bits,
        "capacity": kib,
    }
    return total(coefficient * (terms[name] * memory.banks) for name, coefficient in coefficients.items())


def sram(quantity: str, memory: Memory, cell: str = "hp", nm: float = 40.0) -> Estimate:
    """Read or write energy of a word [pJ], leakage [mW] or area [mm2] of a memory, within the fit's rms error.

    Parameters
    ----------
    quantity : "read", "write", "leakage" or "area".
    cell : one of `CELLS`.
    nm : node, 65 to 22; scaled from 40 by CACTI's own factors of that cell.
    """
    form = cells()[cell][quantity]
    error = form["rms_error"]
    value = evaluate(memory, **{name: Estimate(value=form[name], low=0.0, high=0.0) for name in TERMS[quantity]}).value
    value *= node_factor(quantity, nm, cell)
    return Estimate(value=value, low=value * (1 - error), high=value * (1 + error))


def node_factor(quantity: str, nm: float, cell: str = "hp") -> float:
    """A quantity at a node over that at 40 nm."""
    return interpolate(nm, NODES, cells()[cell][quantity]["node_factors"])


@functools.cache
def cells() -> dict[str, Any]:
    """Coefficients, errors and node factors by cell type and quantity: cells.toml."""
    return tomllib.loads((Path(__file__).parent / "cells.toml").read_text(encoding="utf-8"))
