"""A sweep: blocks in shapes that differ in their lanes and in the bits of their scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sparcade.topk import TopKParams
from sparcade_rtl.synth.blocks import build_block
from sparcade_rtl.synth.library import Library
from sparcade_rtl.synth.synthesis import Synthesis, synthesise
from sparcade_rtl.synth.timing import Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A block in a shape, and what it is made of."""

    block: str
    params: TopKParams
    synthesis: Synthesis


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Which blocks to synthesise, in which shapes, and for what."""

    blocks: tuple[str, ...]
    lanes: tuple[int, ...]
    score_bits: tuple[int, ...]
    shape: TopKParams  #: all but lanes and score bits
    library: Library | None
    conditions: Conditions

    def rows(self) -> Iterator[Row]:
        """Synthesise, block by block, the lanes innermost."""
        for block in self.blocks:
            for bits in self.score_bits:
                for lanes in self.lanes:
                    params = replace(self.shape, lanes=lanes, score_bits=bits)
                    synthesis = synthesise(build_block(block, params), self.library, self.conditions)
                    yield Row(block=block, params=params, synthesis=synthesis)
