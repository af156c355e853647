"""Area of every block of the paper's Fig. 13, from the parameters of an arch."""

from __future__ import annotations

import math

from sparcade.arch import Arch
from sparcade.energy.estimate import Estimate, total
from sparcade.energy.model import BLOCKS, WORD_BITS, buffer_memory
from sparcade.energy.profile import EnergyProfile
from sparcade.energy.sram import evaluate
from sparcade.topk.params import IMPORTANCE_BITS

#: Bits of an entry of an address FIFO, and of a score in the softmax FIFO.
ADDRESS_BITS = 64
SOFTMAX_BITS = 32
_UM2 = 1e-6


def area_mm2(arch: Arch, profile: EnergyProfile) -> dict[str, Estimate]:
    """Area by block [mm2], in the order of `BLOCKS`; docs/energy.md has the formulas."""
    area = profile.area
    beat = arch.max_scores_per_cycle
    data_bits = arch.dram.transaction_bytes * 8
    multipliers = area.multiplier * (arch.multipliers * _UM2)

    def fifo(bits: float) -> Estimate:
        return area.fifo * (bits * _UM2)

    ports, channels = arch.fetch_ports, arch.dram.channels
    crossings = ports * channels * (data_bits**2 + ADDRESS_BITS**2)
    blocks = {
        "qkv_fetcher": fifo(ports * (arch.data_fifo * data_bits + arch.address_fifo * ADDRESS_BITS))
        + area.crossing * (crossings * _UM2),
        "qk": multipliers + evaluate(buffer_memory(arch.key_sram, arch), **profile.sram.terms("area")),
        "softmax": area.softmax_lane * (beat * _UM2) + fifo(arch.softmax.fifo_beats * beat * SOFTMAX_BITS),
        "topk": total(_engine(arch, profile, bits) for bits in _score_bits(arch)),
        "pv": multipliers
        + evaluate(buffer_memory(arch.value_sram, arch), **profile.sram.terms("area"))
        + fifo(arch.probability_fifo * beat * WORD_BITS),
        "others": fifo(arch.topk.capacity * IMPORTANCE_BITS + arch.reorder_beats * beat * WORD_BITS),
    }
    return {block: blocks[block] * getattr(area, block) for block in BLOCKS}


def _score_bits(arch: Arch) -> list[int]:
    """Width of the scores of each top-k engine: local V's, and the cascade's."""
    return [arch.topk.score_bits, *([IMPORTANCE_BITS] if arch.cascade_engine else [])]


def _engine(arch: Arch, profile: EnergyProfile, score_bits: int) -> Estimate:
    """A top-k engine [mm2]: logic as our RTL synthesises; memories by the bits it holds (lists, input, delay)."""
    topk, area = arch.topk, profile.area
    logic = area.topk_bit * (score_bits + topk.index_bits)
    logic += area.topk_lane * (score_bits * topk.lanes * math.log2(2 * topk.lanes))
    return (logic + area.fifo * (topk.capacity * (4 * score_bits + topk.index_bits))) * _UM2
