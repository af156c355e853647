"""Record arrays for kernels: numba and NumPy both read the fields as attributes."""

from __future__ import annotations

from typing import Any

import numpy as np

Table = Any  # a record array
Record = Any  # one element of a record array


def zeros(size: int, dtype: np.dtype[Any]) -> Table:
    """A record array of zeros."""
    return np.zeros(size, dtype).view(np.recarray)


def records(dtype: np.dtype[Any], **columns: Any) -> Table:
    """A record array of named columns."""
    table = zeros(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        table[name] = values
    return table


def record(dtype: np.dtype[Any], **values: int) -> Record:
    """One record of named values."""
    return records(dtype, **{name: [value] for name, value in values.items()})[0]
