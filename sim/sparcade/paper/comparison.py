"""A published number beside ours, and the class that says what the comparison is worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sparcade.errors import InvariantError
from sparcade.paper.published import Number


class Kind(StrEnum):
    """Classes, from the strongest to the weakest claim."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    CALIBRATED = "calibrated"
    ASSUMED = "assumed input"
    NOT = "not reproducible"
    LEFT_OUT = "left out"


MEANINGS = {
    Kind.REPRODUCED: "from our own runs, within the stated tolerance, and nothing in it was chosen to meet the number",
    Kind.DIFFERS: "from our own runs, outside the tolerance; the comment says why",
    Kind.CALIBRATED: "within the tolerance, but a constant or a choice in it was set to meet a published number: never "
    "counts as reproduced",
    Kind.ASSUMED: "taken from the paper, or a ratio with a number of the paper in it (its GPU, its CPU)",
    Kind.NOT: "no run of ours can say it: what it rests on was not published, or is no accelerator",
    Kind.LEFT_OUT: "needs a run that --quick leaves out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison."""

    figure: str
    name: str
    unit: str
    kind: Kind
    certainty: str = ""  #: of the paper's value
    paper: float | str | None = None
    ours: float | str | None = None
    low: float | None = None  #: range of ours, where constants have one
    high: float | None = None
    tolerance: float | None = None  #: relative
    comment: str = ""
    counted: bool = True  #: False for a second look at a number that another row classes, or one without paper's value

    @property
    def ratio(self) -> float | None:
        """Ours over the paper's."""
        if not isinstance(self.paper, float | int) or not isinstance(self.ours, float | int) or not self.paper:
            return None
        return self.ours / self.paper

    @property
    def holds(self) -> bool | None:
        """Whether ours is within the tolerance; None without one or the other."""
        if self.ratio is None or self.tolerance is None:
            return None
        return abs(self.ratio - 1) <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The comparisons of one figure or table of the paper."""

    key: str  #: name of its files
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  #: what the reader must know first
    draw: partial[Figure] | None = None  #: the picture

    def frame(self) -> pd.DataFrame:
        """The rows as printed: six digits."""
        return pd.DataFrame([_printed(row) for row in self.rows])


def measured(
    number: Number,
    ours: float | None,
    *,
    tolerance: float,
    reason: str = "",
    name: str | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Row:
    """A number from our runs alone: reproduced within the tolerance, differs outside. None: the run was left out.

    reason : why it differs; required where it does, shown in both cases.
    """
    kind = Kind.LEFT_OUT
    if ours is not None:
        kind = Kind.REPRODUCED if abs(ours / number.amount - 1) <= tolerance else Kind.DIFFERS
    if kind is Kind.DIFFERS and not reason:
        raise InvariantError(f"{number.figure}, {number.name}: ours is {ours:.6g}, and there is no reason why")
    return _row(number, kind, ours, reason, name=name, tolerance=tolerance, low=low, high=high)


def chosen(number: Number, ours: float | None, *, tolerance: float, why: str, **more: Any) -> Row:
    """A number with a choice in it that was set to meet a published one: calibrated within the tolerance, else differs.

    why : what was chosen, and why it differs where it does.
    """
    row = measured(number, ours, tolerance=tolerance, reason=why, **more)
    return replace(row, kind=Kind.CALIBRATED) if row.kind is Kind.REPRODUCED else row


def calibrated(number: Number, ours: float | None, why: str, **more: Any) -> Row:
    """A number with a constant or choice in it that was set to meet a published one."""
    return _row(number, Kind.LEFT_OUT if ours is None else Kind.CALIBRATED, ours, why, **more)


def assumed(number: Number, ours: float | str | None, why: str, **more: Any) -> Row:
    """A number of the paper that we take over, or a ratio that holds one."""
    return _row(number, Kind.LEFT_OUT if ours is None else Kind.ASSUMED, ours, why, **more)


def beyond(number: Number, why: str, ours: float | None = None, **more: Any) -> Row:
    """A number that no run of ours can say; `ours` is something beside it."""
    return _row(number, Kind.NOT, ours, why, **more)


def _row(number: Number, kind: Kind, ours: float | str | None, comment: str, **more: Any) -> Row:
    name = more.pop("name", None) or number.name
    return Row(
        figure=number.figure,
        name=name,
        unit=number.unit,
        kind=kind,
        certainty=number.certainty,
        paper=number.value,
        ours=ours,
        comment=comment,
        **more,
    )


def beside(figure: str, name: str, unit: str, ours: float | None, comment: str, paper: float | None = None) -> Row:
    """A number of ours without one of the paper, for the reader; not counted."""
    kind = Kind.LEFT_OUT if ours is None else Kind.NOT
    return Row(figure=figure, name=name, unit=unit, kind=kind, paper=paper, ours=ours, comment=comment, counted=False)


def counts(rows: Iterable[Row]) -> dict[Kind, int]:
    """How many counted rows each class has."""
    found = dict.fromkeys(Kind, 0)
    for row in rows:
        found[row.kind] += row.counted
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """Arithmetic mean; None if a value is missing."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def geomean(values: Sequence[float | None]) -> float | None:
    """Geometric mean; None if a value is missing."""
    logarithm = mean([None if value is None else math.log(value) for value in values])
    return None if logarithm is None else math.exp(logarithm)


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b; None if one is missing."""
    return None if a is None or b is None else a / b


def digits(value: float | str | None) -> str:
    """A value as printed: six digits, nothing for None."""
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _printed(row: Row) -> dict[str, str]:
    return {
        "figure": row.figure,
        "name": row.name,
        "unit": row.unit,
        "paper": digits(row.paper),
        "certainty": row.certainty,
        "ours": digits(row.ours),
        "low": digits(row.low),
        "high": digits(row.high),
        "ratio": "" if row.ratio is None else f"{row.ratio:.4g}",
        "tolerance": "" if row.tolerance is None else f"{row.tolerance:.3g}",
        "class": row.kind.value,
        "counted": "yes" if row.counted else "no",
        "comment": row.comment,
    }
