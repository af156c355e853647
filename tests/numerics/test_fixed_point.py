"""Fixed point against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparcade.errors import ConfigError
from sparcade.numerics import KeyFormat, msb_plane, quantize, scale_of

values = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20)


@given(values, st.sampled_from([4, 6, 8, 10, 12]))
def test_prompt_values_never_saturate_and_err_by_half_a_step(numbers: list[float], bits: int) -> None:
    tensor = np.array(numbers, np.float32)
    scale = scale_of(tensor, bits)
    words, saturated = quantize(tensor, scale, bits)
    assert saturated == 0
    assert np.abs(words).max() <= 2 ** (bits - 1) - 1
    assert np.abs(words * scale - tensor).max() <= scale / 2 * (1 + 1e-12)


def test_decode_values_saturate_and_are_counted() -> None:
    words, saturated = quantize(np.array([2.0, -3.0, 0.5]), 1.0 / 127, 8)
    assert words.tolist() == [127, -127, 64]
    assert saturated == 2


def test_an_all_zero_tensor_has_scale_one() -> None:
    assert scale_of(np.zeros(3), 12) == 1.0


@given(st.integers(-2047, 2047))
def test_the_msb_plane_is_the_arithmetic_right_shift_left_aligned(word: int) -> None:
    plane = int(msb_plane(np.array([word], np.int32), 4)[0])
    assert plane % 16 == 0
    assert 0 <= word - plane <= 15


def test_the_threshold_is_a_12_bit_integer() -> None:
    assert KeyFormat(msb_bits=8, lsb_bits=4, threshold=0.1).threshold_word == 410


@pytest.mark.parametrize(("msb", "lsb"), [(10, 4), (12, 4), (5, 0), (8, 2), (0, 0), (16, 0)])
def test_formats_outside_the_datapath_are_refused(msb: int, lsb: int) -> None:
    with pytest.raises(ConfigError, match="no such key format"):
        KeyFormat(msb_bits=msb, lsb_bits=lsb)
