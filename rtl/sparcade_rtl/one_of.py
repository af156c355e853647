"""Selection of a value by conditions of which at most one holds: an AND and an OR deep, without a priority."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_

from amaranth.hdl import Mux, Value, ValueCastable


def one_of(choices: Iterable[tuple[Value, Value | ValueCastable]]) -> Value:
    """The value whose condition holds; 0 if none does."""
    return reduce(or_, (Mux(on, Value.cast(value), 0) for on, value in choices))
