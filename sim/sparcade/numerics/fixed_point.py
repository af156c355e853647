"""Symmetric linear fixed point: scales, saturating quantization, MSB and LSB planes (SpAtten section III-D)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparcade.errors import ConfigError

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.int32]

#: Width that means "not quantized": 32-bit float words.
FLOAT_BITS = 32
#: Probabilities and Q are 12-bit words on the datapath.
PROBABILITY_BITS = 12
QUERY_BITS = 12
ONE = 1 << PROBABILITY_BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFormat:
    """How one row's K (and V) words are stored and fetched."""

    msb_bits: int  #: width of the plane that is always fetched
    lsb_bits: int = 0  #: width of the plane fetched only on an LSB refetch (K only)
    threshold: float = 0.0  #: refetch when the row's largest probability is strictly below

    def __post_init__(self) -> None:
        single = self.lsb_bits == 0 and self.msb_bits in (4, 6, 8, 10, 12, FLOAT_BITS)
        double = self.lsb_bits == 4 and self.msb_bits in (4, 6, 8)
        if not single and not double:
            raise ConfigError(
                "the datapath has no such key format",
                where="bits",
                expected="one plane of 4, 6, 8, 10, 12 or 32 (float) bits, or an MSB plane of 4, 6 or 8 + 4 LSB bits",
                got=f"{self.msb_bits} + {self.lsb_bits} bits",
                remedy="use 8 + 4, or 12 bits in one plane",
            )
        if not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(
                "the LSB threshold is outside [0, 1]",
                where="threshold",
                expected="a probability",
                got=repr(self.threshold),
                remedy="use 0.1, the paper's value",
            )

    @property
    def key_bits(self) -> int:
        """Width of the full K word."""
        return self.msb_bits + self.lsb_bits

    @property
    def value_bits(self) -> int:
        """Width of the V word: one plane, as wide as the MSB plane of K."""
        return self.msb_bits

    @property
    def query_bits(self) -> int:
        """Width of the Q word."""
        return FLOAT_BITS if self.is_float else QUERY_BITS

    @property
    def is_float(self) -> bool:
        """True where nothing is quantized."""
        return self.msb_bits == FLOAT_BITS

    @property
    def threshold_word(self) -> int:
        """The threshold as a 12-bit integer (0.1 -> 410)."""
        return int(np.floor(self.threshold * ONE + 0.5))


def scale_of(prompt: npt.NDArray[np.floating], bits: int) -> float:
    """Size of one step: the largest magnitude of the prompt over 2^(bits-1) - 1; 1.0 for an all-zero tensor."""
    largest = float(np.max(np.abs(prompt), initial=0.0))
    return largest / ((1 << (bits - 1)) - 1) if largest > 0 else 1.0


def quantize(values: npt.NDArray[np.floating], scale: float | Floats, bits: int) -> tuple[Words, int]:
    """Round to the nearest step (halves up), saturate; returns the words and how many saturated.

    scale : one for all values, or an array that broadcasts to them.
    """
    limit = (1 << (bits - 1)) - 1
    words = np.floor(values.astype(np.float64) / scale + 0.5)
    saturated = int(np.count_nonzero(np.abs(words) > limit))
    return np.clip(words, -limit, limit).astype(np.int32), saturated


def msb_plane(words: Words, lsb_bits: int) -> Words:
    """The MSB plane, left-aligned: the arithmetic right shift of the full word, shifted back."""
    return ((words >> lsb_bits) << lsb_bits).astype(np.int32)
