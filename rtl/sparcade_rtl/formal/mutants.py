"""Planted faults, by name: each is an edit of a source file, and must be found by proof and by simulation."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A fault: in `module`, `old` (which occurs once) becomes `new`. `proof` is the one that must fail."""

    module: str
    old: str
    new: str
    proof: str


MUTANTS = {
    "carry lost": Mutant(
        module="prefix_sum", proof="prefix sum", old="if lane >= step else", new="if lane > step else"
    ),
    "lanes swapped": Mutant(
        module="zero_eliminator", proof="zero eliminator", old="self.o.p.lanes[lane].eq(value)",
        new="self.o.p.lanes[lane ^ 1].eq(value)",
    ),
    "row count off by one": Mutant(
        module="zero_eliminator", proof="zero eliminator", old="self.o.p.count.eq(count)",
        new="self.o.p.count.eq(count - 1)",
    ),
    "row lost under a stall": Mutant(
        module="zero_eliminator", proof="zero eliminator", old="moves.eq(~self.o.valid | self.o.ready)",
        new="moves.eq(1)",
    ),
    "last row lost": Mutant(
        module="packer", proof="packer", old="flushing.eq(self.i.p.last & over)", new="flushing.eq(0)"
    ),
    "early done": Mutant(
        module="packer", proof="packer", old="self.o.p.last.eq(self.i.p.last & ~over)",
        new="self.o.p.last.eq(self.i.p.last)",
    ),
    "payload changes under a stall": Mutant(
        module="packer", proof="packer", old="free.eq(~self.o.valid | self.o.ready)", new="free.eq(1)"
    ),
    "one tie too many": Mutant(
        module="top_k_filter", proof="filter", old="rank[place] < budget", new="rank[place] <= budget"
    ),
    "row overwritten": Mutant(
        module="list_buffer", proof="list buffer", old="(~stores | (used != depth))", new="1"
    ),
    "row read twice": Mutant(
        module="list_buffer", proof="list buffer", old="unread.eq(unread + closes - reads)]",
        new="unread.eq(unread + closes)]",
    ),
    "row before its last beat": Mutant(
        module="list_buffer", proof="list buffer read again", old="(part == parts - 1)))", new="(part == 0)))"
    ),
    "ties forgotten between beats": Mutant(
        module="top_k_filter", proof="filter", old="budget - total, 0", new="budget, 0"
    ),
    "stops a pass early": Mutant(
        module="quick_select", proof="quick-select", old="lower.eq(short_below[-1])",
        new="lower.eq(short_below[-1] & (short_below != (1 << len(short_below)) - 1))",
    ),
    "other side searched": Mutant(
        module="quick_select", proof="quick-select", old="low.eq(pivot), source.eq(1)",
        new="low.eq(pivot), source.eq(2)",
    ),
    "digit off by one": Mutant(
        module="radix_select", proof="radix-select", old="in enumerate(is_digit))",
        new="in enumerate([*is_digit[1:], is_digit[0]]))",
    ),
    "counts those settled before": Mutant(
        module="radix_select", proof="radix-select", old="(((word ^ prefix) & known) == 0) & valid",
        new="valid",
    ),
    "list given up before its last pass": Mutant(
        module="radix_select", proof="radix-select", old="lists.release.eq(digit == 0)",
        new="lists.release.eq(1)",
    ),
    "padding kept": Mutant(
        module="top_k_filter", proof="filter", old="greater & (place < left)", new="greater & (place <= left)"
    ),
}  # fmt: skip


@contextmanager
def planted(name: str) -> Iterator[str]:
    """Yield the name of a package like `sparcade_rtl` with the fault in it, importable inside the block."""
    mutant = MUTANTS[name]
    alias = "sparcade_rtl_" + "".join(letter if letter.isalnum() else "_" for letter in name)
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / alias
        package.mkdir()
        for source in sorted(HERE.glob("*.py")):
            text = source.read_text().replace("sparcade_rtl", alias)
            if source.stem == mutant.module:
                assert text.count(mutant.old) == 1, f"{name}: {mutant.old!r} occurs {text.count(mutant.old)} times"
                text = text.replace(mutant.old, mutant.new)
            (package / source.name).write_text(text)
        sys.path.insert(0, scratch)
        importlib.invalidate_caches()
        try:
            yield alias
        finally:
            sys.path.remove(scratch)
            for module in [each for each in sys.modules if each.split(".")[0] == alias]:
                del sys.modules[module]
