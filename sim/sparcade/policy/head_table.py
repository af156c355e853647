"""`HeadTable`: one number per layer and head, from a text file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparcade.errors import ConfigError

_REMEDY = "write a line per layer, its numbers split by blanks, tabs or commas"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTable:
    """Rows are layers, columns are heads."""

    rows: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        widths = sorted({len(row) for row in self.rows})
        if len(widths) != 1 or widths[0] == 0 or not np.isfinite(self.array).all():
            raise ConfigError(
                "the table is no table of finite numbers",
                where="rows",
                expected="rows of one length, a number per head",
                got=f"{len(self.rows)} rows of lengths {widths}" if len(widths) != 1 else "infinity or NaN",
                remedy=_REMEDY,
            )

    @classmethod
    def preset(cls, name: str) -> HeadTable:
        """Read a text file: a line per layer, numbers split by blanks, tabs or commas; '#' begins a comment.

        Raises
        ------
        ConfigError
            When there is no such file, or a field is no number.
        """
        try:
            lines = [line.partition("#")[0].strip() for line in Path(name).read_text(encoding="utf-8").splitlines()]
            rows = tuple(tuple(map(float, re.split(r"[\s,]+", line))) for line in lines if line)
        except (OSError, ValueError) as error:
            raise ConfigError(
                "there is no table of heads in the file",
                where=name,
                expected="a text file with a number per layer and head",
                got=getattr(error, "strerror", None) or str(error),
                remedy=_REMEDY,
            ) from None
        return cls(rows=rows)

    @property
    def array(self) -> npt.NDArray[np.float64]:
        """[layers, heads]."""
        return np.array(self.rows, np.float64)

    def of(self, layers: int, heads: int, *, what: str) -> npt.NDArray[np.float64]:
        """[layers, heads]; a `ConfigError` for a model of another shape, naming the setting `what`."""
        if self.array.shape != (layers, heads):
            raise ConfigError(
                "the table is that of another model",
                where=what,
                expected=f"{layers} layers x {heads} heads",
                got=f"{len(self.rows)} x {len(self.rows[0])}",
                remedy="give the table of this model (of its KV heads for DuoAttention)",
            )
        return self.array


def best(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.bool_]:
    """True for the `count` largest of an array of any shape, ties to the first in order."""
    chosen = np.zeros(scores.size, np.bool_)
    chosen[np.argsort(-scores, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(scores.shape)
