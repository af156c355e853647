"""A3 (Ham et al., HPCA 2020): exact attention in three pipelined modules, or with a greedy candidate search before it.

What is known of it, and from where, stands in docs/baselines.md. The tensors of a trace give the real numbers of
candidates C and of kept rows K' of every query; without tensors only ratios that the caller states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sparcade.baselines.candidates.greedy import find_candidates
from sparcade.baselines.normalisation import Normalisation
from sparcade.baselines.record import Part, closed_form_parts
from sparcade.baselines.tensors import HeadOutputs, HeadTensors, each_head
from sparcade.baselines.work import DenseWork
from sparcade.errors import ConfigError
from sparcade.numerics import quantize
from sparcade.trace import AttentionTrace

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

#: Cycles of a module beyond its rows: n + 9 between two queries, 3 n + 27 for one.
STAGE_OVERHEAD = 9
#: Candidates whose score is held against the threshold in a cycle.
POST_SCORE_ROWS = 16
#: Modules of the approximate pipeline: search, dot product, post-score, exponent, output.
_APPROXIMATE_STAGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class A3:
    """One version of A3."""

    name: str
    #: M of the search: at most 1, a share of the keys that a query sees; above, a number. None: exact, no search.
    iterations: Fraction | None = None
    threshold: float = 0.0  #: T: a candidate stays when its weight is at least this share of the largest
    integer_bits: int = 4  #: of Q, K and V, beside the sign
    fraction_bits: int | None = 4  #: None: float64
    #: "insert": in decode, sorted K is read from DRAM and what moves in it written back. "free": as A3 counts it.
    sorting: Literal["insert", "free"] = "insert"

    def __post_init__(self) -> None:
        if (self.iterations is not None and self.iterations <= 0) or not 0 <= self.threshold <= 1:
            raise ConfigError(
                "A3 has no such setting",
                where=f"--a3 {self.name}",
                expected="M:T with M above 0 (up to 1 a share of the keys, above a number) and T from 0 to 1",
                got=f"M = {self.iterations}, T = {self.threshold!r}",
                remedy="1/2:0.05 is the conservative setting, 1/8:0.1 the aggressive one",
            )

    def searched(self, visible: Ints) -> Ints:
        """Iterations of the search for queries that see so many keys; at least 1."""
        if self.iterations is None:
            return np.zeros_like(visible)
        if self.iterations <= 1:
            return np.maximum(1, visible * self.iterations.numerator // self.iterations.denominator)
        return np.full_like(visible, max(1, int(self.iterations)))


BASE = A3(name="a3-base")
CONSERVATIVE = A3(name="a3-conservative", iterations=Fraction(1, 2), threshold=0.05)
AGGRESSIVE = A3(name="a3-aggressive", iterations=Fraction(1, 8), threshold=0.10)


@dataclass(frozen=True, slots=True, kw_only=True)
class A3Counts:
    """Rows that each query works on."""

    config: A3
    source: str  #: "exact: every key", "from tensors" or "given ratios"
    candidates: Ints  #: [layers, heads, N] C
    kept: Ints  #: [layers, heads, N] K'
    saturated: int = 0  #: elements of Q, K and V that the fixed point clipped
    outputs: HeadOutputs | None = None

    def details(self, work: DenseWork, normalisation: Normalisation) -> dict[str, Any]:
        """What is particular to the design."""
        keys = int(work.layers * work.heads * work.visible.sum())
        config = self.config
        found: dict[str, Any] = {
            "units": _units(work, normalisation)[0],
            "buffer_bytes_per_unit": 2 * _bytes(int(work.context.max()) * work.head_dim * normalisation.word_bits),
            "saturated_elements": self.saturated,
        }
        if config.iterations is None:
            return found
        entry_bits = _entry_bits(work, normalisation)
        return found | {
            "iterations": str(config.iterations),
            "threshold": config.threshold,
            "candidates_share": round(float(self.candidates.sum() / keys), 9),
            "kept_share": round(float(self.kept.sum() / keys), 9),
            "sorted_buffer_bytes_per_unit": _bytes(int(work.context.max()) * work.head_dim * entry_bits),
            "sort_compares": int(work.layers * _sort_compares(work).sum()),
            "search_multiplications": int(2 * work.layers * work.heads * config.searched(work.visible).sum()),
            "sorted_dram_bytes": int(work.layers * _sorted_bytes(work, self.config, normalisation).sum()),
        }


def count(trace: AttentionTrace, work: DenseWork, config: A3) -> A3Counts:
    """Run A3 on the tensors of a trace: C and K' of every query, and the outputs.

    Q, K and V are rounded to the fixed point; scores are exact, `scaling` is applied to them. Exponent and division are
    float64, where A3 has tables: the error of the outputs is that of the inputs' width, and of what was left out.
    """
    shape = (work.layers, work.heads, len(work.visible))
    candidates, kept = np.empty(shape, np.int64), np.empty(shape, np.int64)
    outputs, saturated = HeadOutputs(trace), 0
    for head in each_head(trace):
        q, k, v, clipped = _words(head, config)
        saturated += clipped
        seen = np.arange(len(k)) < head.visible[:, None]
        chosen = seen
        if config.iterations is not None:
            chosen = find_candidates(q, k, head.visible, config.searched(head.visible))
        scores = np.where(chosen, trace.manifest.model.scaling * (q @ k.T), -np.inf)
        scores -= scores.max(axis=1, keepdims=True)
        stays = chosen & (scores >= (math.log(config.threshold) if config.threshold else -np.inf))
        weights = np.where(stays, np.exp(scores), 0.0)
        outputs.add(head, weights / weights.sum(axis=1, keepdims=True) @ v)
        place = (head.layer, head.head, head.queries)
        candidates[place] = np.count_nonzero(chosen, axis=1)
        kept[place] = np.count_nonzero(stays, axis=1)
    return A3Counts(
        config=config,
        source="exact: every key" if config.iterations is None else "from tensors",
        candidates=candidates,
        kept=kept,
        saturated=saturated,
        outputs=outputs,
    )


def _words(head: HeadTensors, config: A3) -> tuple[Floats, Floats, Floats, int]:
    """Q, K, V as the fixed point holds them, in float64 (exact), and how many elements were clipped."""
    if config.fraction_bits is None:
        return head.q, head.k, head.v, 0
    step, bits = 2.0**-config.fraction_bits, 1 + config.integer_bits + config.fraction_bits
    words, clipped = zip(*(quantize(tensor, step, bits) for tensor in (head.q, head.k, head.v)), strict=True)
    q, k, v = (np.asarray(part * step, np.float64) for part in words)
    return q, k, v, sum(clipped)


def exact(work: DenseWork, config: A3 = BASE) -> A3Counts:
    """The exact version without tensors: every query works on every key it sees."""
    every = np.broadcast_to(work.visible, (work.layers, work.heads, len(work.visible)))
    return A3Counts(config=config, source="exact: every key", candidates=every, kept=every)


def from_ratios(work: DenseWork, config: A3, candidates: Fraction, kept: Fraction) -> A3Counts:
    """Without tensors: every query has the same C/n and K'/n of the keys it sees, rounded down, at least one row."""

    def rows(share: Fraction) -> Ints:
        counts = np.maximum(1, work.visible * share.numerator // share.denominator)
        return np.broadcast_to(counts, (work.layers, work.heads, len(counts)))

    source = f"given ratios: C/n = {candidates}, K'/n = {kept}"
    return A3Counts(config=config, source=source, candidates=rows(candidates), kept=rows(kept))


def evaluate(work: DenseWork, counts: A3Counts, normalisation: Normalisation) -> dict[str, Part]:
    """Cycles, MACs and DRAM bytes of as many A3 units as the multipliers give."""
    config = counts.config
    searched = config.searched(work.visible)
    macs = work.head_dim * (counts.candidates + counts.kept)
    dram_bytes = work.dram_bytes(normalisation.word_bits)
    if config.iterations is not None:
        macs = macs + 2 * searched
        dram_bytes = dram_bytes + _sorted_bytes(work, config, normalisation)
    return closed_form_parts(
        work,
        normalisation,
        compute=layer_cycles(work, counts, normalisation),
        macs=work.per_step(macs.sum(axis=1)),
        dram_bytes=dram_bytes,
        softmax_elements=work.per_step(counts.kept.sum(axis=1)),
    )


def layer_cycles(work: DenseWork, counts: A3Counts, normalisation: Normalisation) -> Ints:
    """[layers, S] cycles of each layer of each step when no data are waited for.

    A unit has 2 D multipliers and works on one query per module. The queries of all heads are spread evenly over the
    units, the best that any schedule can do: max(sum of the slowest modules / units, the longest) and one fill.
    """
    units, dwell = _units(work, normalisation)
    candidates, kept = dwell * counts.candidates, dwell * counts.kept
    if counts.config.iterations is None:
        slowest = candidates + STAGE_OVERHEAD
        latency = 3 * slowest
    else:
        searched = counts.config.searched(work.visible)
        slowest = np.maximum(np.maximum(candidates, kept), searched) + STAGE_OVERHEAD
        post_score = -(-counts.candidates // POST_SCORE_ROWS)
        latency = searched + candidates + post_score + 2 * kept + _APPROXIMATE_STAGES * STAGE_OVERHEAD
    spread = -(-work.per_step(slowest.sum(axis=1)) // units)
    longest = work.longest(slowest.max(axis=1))
    cycles: Ints = np.maximum(spread, longest) + work.longest((latency - slowest).max(axis=1))
    return cycles


def _units(work: DenseWork, normalisation: Normalisation) -> tuple[int, int]:
    """A3 units that the multipliers make, and cycles a row takes in one (above 1 when they do not make one)."""
    whole = 2 * work.head_dim
    return max(1, normalisation.multipliers // whole), -(-whole // normalisation.multipliers)


def _entry_bits(work: DenseWork, normalisation: Normalisation) -> int:
    """Bits of an entry of a sorted column: the value and its row."""
    return normalisation.word_bits + max(1, int(work.context.max() - 1).bit_length())


def _sorted_bytes(work: DenseWork, config: A3, normalisation: Normalisation) -> Ints:
    """[S] DRAM bytes of the sorted keys of one layer.

    A prompt's are sorted on chip, and written once when tokens follow. A generated token reads them, inserts its key,
    and writes back what moves: half of every column on average.
    """
    if config.sorting == "free":
        return np.zeros_like(work.context)
    generates = np.isin(work.sequence, work.sequence[work.step > 0])
    written = np.where(work.step == 0, np.where(generates, work.context, 0), -(-work.context // 2))
    read = np.where(work.step == 0, 0, work.context)
    moved: Ints = _bytes(work.kv_heads * work.head_dim * (read + written) * _entry_bits(work, normalisation))
    return moved


def _sort_compares(work: DenseWork) -> Ints:
    """[S] comparisons that sorting the keys of one layer takes: n log2 n a column, log2 n for a key inserted."""
    depth = np.ceil(np.log2(np.maximum(work.visible, 2))).astype(np.int64)
    return work.kv_heads * work.head_dim * work.per_step(depth)


def _bytes(bits: Any) -> Any:
    return -(-bits // 8)
