"""From OSU's 0.18 um library to 40 nm, with what is not known as a range, and memories at 40 nm from CACTI.

Logic, factors of 180 nm, 1.8 V:

- area: 0.040 (Stillmaker & Baas, Integration 58 (2017): 0.76 over 19, relative to 45 nm) to 0.062 (a register bit of
  5.98 um^2 at 40 nm, Aladdin ISCA 2014, over OSU's flip-flop of 96 um^2); a geometric shrink, (40 / 180)^2, is 0.049;
- delay: 0.16 (Stillmaker & Baas: 0.92 over 5.8) to 0.22 (40 / 180);
- energy: 0.023 (Stillmaker & Baas at 0.9 V) to 0.083 (C V^2: 40 / 180, 1.1 V against 1.8 V); at their nominal voltage,
  some 1.05 V, the paper gives 0.032, which is 0.80 over 25.

40 nm is not in that paper: its factors are interpolated between 45 and 32 nm. Neither end has wires, a clock tree or
the utilisation of a floor plan; energy has no clock gating, which commercial synthesis would insert.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sparcade_rtl.synth.macros import Macro

#: SpAtten's top-k block: Fig. 13 and Table II (HPCA 2021), TSMC 40 nm at 1 GHz, with its FIFOs (CACTI). Parallelism 16,
#: two FIFOs of 1024 elements; not said whether one of its two engines or both, and of what width.
PAPER_AREA_MM2, PAPER_POWER_W, PAPER_CLOCK_GHZ = 0.498, 0.08, 1.0
#: Words are cut into macros of at most so many bits: CACTI's area and energy grow with the square of the width.
_MACRO_BITS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What a quantity is likely between."""

    low: float
    high: float

    def __mul__(self, factor: float) -> Range:
        return Range(low=self.low * factor, high=self.high * factor)

    def __add__(self, other: Range) -> Range:
        return Range(low=self.low + other.low, high=self.high + other.high)


AREA = Range(low=0.040, high=0.062)
DELAY = Range(low=0.16, high=0.22)
ENERGY = Range(low=0.023, high=0.083)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """A block at 40 nm."""

    logic_mm2: Range
    memory_mm2: Range
    clock_ghz: Range
    logic_watts: Range  #: at 1 GHz
    memory_watts: Range  #: at 1 GHz

    @property
    def area_mm2(self) -> Range:
        """Of logic and memories."""
        return self.logic_mm2 + self.memory_mm2

    @property
    def watts(self) -> Range:
        """Of logic and memories, at 1 GHz."""
        return self.logic_watts + self.memory_watts


def scale_to_40nm(
    *, area_um2: float, path_ns: float, nanojoules: float, macros: Iterable[Macro], activity: float
) -> Scaled:
    """A block of OSU's 0.18 um library at 40 nm.

    Parameters
    ----------
    area_um2, path_ns : cells, and the slowest path, at 180 nm.
    nanojoules : energy of the logic in a cycle at 180 nm.
    macros : memories, all of them.
    activity : share of the cycles in which a memory is read and written, in the low figure; the high one takes all.
    """
    macros = tuple(macros)
    return Scaled(
        logic_mm2=AREA * (area_um2 * 1e-6),
        memory_mm2=_total(memory_area_mm2(macro) for macro in macros),
        clock_ghz=Range(low=1 / (path_ns * DELAY.high), high=1 / (path_ns * DELAY.low)),
        logic_watts=ENERGY * (nanojoules * PAPER_CLOCK_GHZ),
        memory_watts=_total(memory_watts(macro, activity) for macro in macros),
    )


def memory_area_mm2(macro: Macro) -> Range:
    """Area at 40 nm: of one read-write port, to twice that, as a macro that reads and writes in a cycle needs.

    0.00246 K + 3.8e-6 w + 6.4e-8 w^2 mm^2 for K KiB in words of w bits: fitted to CACTI 7 (commit 1ffd8df, hp cells,
    2 to 256 KiB, rms error 9 %; smaller ones are extrapolated).
    """
    pieces, width, kib = _pieces(macro)
    one_port = pieces * (0.00246 * kib + 3.8e-6 * width + 6.4e-8 * width**2)
    return Range(low=one_port, high=2 * one_port)


def memory_watts(macro: Macro, activity: float) -> Range:
    """Power at 40 nm and 1 GHz: lop cells used in a share of the cycles, to hp cells read and written in every cycle.

    Fits to the same runs of CACTI: reads a sqrt(K) + b w sqrt(K) + c w^2 pJ (rms error 16 %), writes with terms of
    their own (21 %), leakage 0.104 and 0.83 mW/KiB at 350 K.
    """
    pieces, width, kib = _pieces(macro)
    root = math.sqrt(kib)
    lop = 0.398 * root + 0.00302 * width * root + 1.93e-5 * width**2
    lop += 0.17 + 0.24 * root + 0.00037 * width + 0.0108 * width * root + 1.9e-6 * width**2
    hp = 0.805 * root + 0.00438 * width * root + 3.85e-5 * width**2
    hp += 0.40 + 0.53 * root + 0.00093 * width + 0.0219 * width * root
    low, high = activity * lop + 0.104 * kib, hp + 0.83 * kib  # pJ a cycle of 1 ns are mW
    return Range(low=low, high=high) * (pieces * 1e-3)


def _pieces(macro: Macro) -> tuple[int, float, float]:
    """Macros that a memory is cut into, bits of a word of each, and KiB of each."""
    pieces = -(-macro.width // _MACRO_BITS)
    width = macro.width / pieces
    return pieces, width, width * macro.depth / 8192


def _total(ranges: Iterable[Range]) -> Range:
    return sum(ranges, Range(low=0.0, high=0.0))
