"""The dense accelerator in closed form: no pruning, all multipliers busy or the DRAM streaming, what takes longer."""

from __future__ import annotations

from sparcade.baselines.normalisation import Normalisation
from sparcade.baselines.record import Part, closed_form_parts
from sparcade.baselines.work import DenseWork


def ideal(work: DenseWork, normalisation: Normalisation) -> dict[str, Part]:
    """max(MACs / multipliers, bytes / usable bandwidth) per layer of each step: no dense design can be faster."""
    return closed_form_parts(
        work,
        normalisation,
        compute=-(-work.macs // normalisation.multipliers),
        macs=work.macs,
        dram_bytes=work.dram_bytes(normalisation.word_bits),
        softmax_elements=work.softmax_elements,
    )
