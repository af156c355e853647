"""MnnFast (Jang et al., ISCA 2019): zero skipping. V vectors whose probability is below a threshold are not multiplied.

Nothing is saved in DRAM, nor in Q x K. The lazy softmax divides by the sum over all keys, skipped ones included.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sparcade.baselines.normalisation import Normalisation
from sparcade.baselines.record import Part, closed_form_parts
from sparcade.baselines.tensors import HeadOutputs, each_head, probabilities, weighed
from sparcade.baselines.work import DenseWork
from sparcade.errors import ConfigError
from sparcade.trace import AttentionTrace

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Form = Literal["scores first", "streaming"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MnnFast:
    """How MnnFast is modelled."""

    threshold: float = 0.1  #: of the probability; 0 skips nothing
    #: "scores first": the row's exact sum is known before any V. "streaming": chunk by chunk along the keys, and a
    #: probability is estimated with the sum so far, which is never larger; so it skips no vector the other form keeps.
    form: Form = "scores first"
    chunk: int = 64  #: keys of a chunk

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or self.chunk < 1:
            raise ConfigError(
                "MnnFast has no such setting",
                where="--mnnfast-threshold",
                expected="a probability, 0 to 1, and chunks of at least one key",
                got=f"threshold {self.threshold!r}, chunk {self.chunk!r}",
                remedy="0.1 is the authors' threshold",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCounts:
    """V vectors that each query multiplies."""

    config: MnnFast
    source: str  #: "from tensors" or "given ratio"
    kept: Ints  #: [layers, heads, N]
    outputs: HeadOutputs | None = None

    def details(self, work: DenseWork) -> dict[str, Any]:
        """What is particular to the design."""
        return {
            "form": self.config.form,
            "threshold": self.config.threshold,
            "values_kept_share": round(float(self.kept.sum() / (work.layers * work.heads * work.visible.sum())), 9),
        }


def count(trace: AttentionTrace, work: DenseWork, config: MnnFast) -> ValueCounts:
    """Run zero skipping on the tensors of a trace."""
    kept = np.zeros((work.layers, work.heads, len(work.visible)), np.int64)
    outputs = HeadOutputs(trace)
    for head in each_head(trace):
        weights = probabilities(head, trace.manifest.model.scaling)
        passed = estimates(weights, config) >= config.threshold
        passed &= np.arange(len(head.k)) < head.visible[:, None]
        kept[head.layer, head.head, head.queries] = np.count_nonzero(passed, axis=1)
        outputs.add(head, weighed(weights, head, passed))
    return ValueCounts(config=config, source="from tensors", kept=kept, outputs=outputs)


def estimates(weights: Floats, config: MnnFast) -> Floats:
    """[T, n] what is held against the threshold: the probabilities, or those by the sum up to their chunk's end."""
    if config.form == "scores first":
        return weights
    ends = np.minimum((np.arange(weights.shape[1]) // config.chunk + 1) * config.chunk, weights.shape[1]) - 1
    so_far = np.add.accumulate(weights, axis=1)[:, ends]
    return np.divide(weights, so_far, out=np.zeros_like(weights), where=so_far > 0)


def from_ratio(work: DenseWork, config: MnnFast, kept: Fraction) -> ValueCounts:
    """Without tensors: every query keeps the same share of the values it sees, rounded down."""
    counts = work.visible * kept.numerator // kept.denominator
    shape = (work.layers, work.heads, len(counts))
    return ValueCounts(config=config, source=f"given ratio: kept/n = {kept}", kept=np.broadcast_to(counts, shape))


def evaluate(work: DenseWork, counts: ValueCounts, normalisation: Normalisation) -> dict[str, Part]:
    """All multipliers serve Q x K and prob x V in turn, so that what is skipped saves time: the best case for it."""
    kept = work.per_step(counts.kept.sum(axis=1))
    macs = work.head_dim * (work.heads * work.keys_seen + kept)
    return closed_form_parts(
        work,
        normalisation,
        compute=-(-macs // normalisation.multipliers),
        macs=macs,
        dram_bytes=work.dram_bytes(normalisation.word_bits),
        softmax_elements=work.softmax_elements,
    )
