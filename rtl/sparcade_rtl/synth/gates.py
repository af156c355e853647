"""Area without a cell library: Yosys's simple gates in equivalents of a two-input NAND."""

from __future__ import annotations

from collections import Counter

#: Areas of OSU's 0.18 um cells over that of its NAND2X1 (24 um^2): INVX1 16, AND2X1 and OR2X1 32, XOR2X1 56, MUX2X1 48
#: (which inverts), DFFPOSX1 96. One library's ratios: another's differ by some 20 %, its flip-flop by up to 1.5 times.
NAND2_EQUIVALENTS = {
    "$_NOT_": 16 / 24,
    "$_AND_": 32 / 24,
    "$_OR_": 32 / 24,
    "$_XOR_": 56 / 24,
    "$_MUX_": 48 / 24,
    "$_DFF_P_": 96 / 24,
}


def nand2_equivalents(counts: Counter[str]) -> float:
    """Area of gates [NAND2]."""
    return sum(count * NAND2_EQUIVALENTS[kind] for kind, count in counts.items())
