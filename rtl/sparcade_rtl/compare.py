"""Comparison of two numbers in a tree, so that its depth grows with the logarithm of their bits."""

from __future__ import annotations

from amaranth.hdl import Value

#: Bits compared at the leaves of the tree.
CHUNK = 4


def compare(a: Value, b: Value) -> tuple[Value, Value]:
    """(a > b, a == b) of two unsigned numbers of the same width: the upper halves decide unless they are equal."""
    bits = len(a)
    if bits <= CHUNK:
        return a > b, a == b
    half = bits // 2
    upper_greater, upper_equal = compare(a[half:], b[half:])
    lower_greater, lower_equal = compare(a[:half], b[:half])
    return upper_greater | (upper_equal & lower_greater), upper_equal & lower_equal
