"""What the paper printed, drew or implies, as data of the package: SpAtten, HPCA 2021 (arXiv 2012.09852v3).

`data/numbers.csv` is one line per number; Figures 14 and 15 are tables of their own. Certainty: `printed`, a label or a
text; `raw`, data embedded in the PDF, more digits than its label; `drawn`, read from a drawing; `derived`, computed by
us from other numbers of the paper or from the released workload files.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from sparcade.errors import InvariantError

DATA = Path(__file__).parent / "data"
#: Figures that are a wide table: a line per benchmark, a column per bar.
_WIDE = {"Fig. 14": ("fig14.csv", "printed"), "Fig. 15": ("fig15.csv", "raw")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One published number."""

    figure: str  #: "Fig. 14", "Table II", "text", "derived" or "released"
    name: str
    value: float | str  #: a text where the paper prints none but a text, such as 32x16
    unit: str
    certainty: str

    @property
    def amount(self) -> float:
        """The value, of a number that is no text."""
        if isinstance(self.value, str):
            raise InvariantError(f"{self.figure}, {self.name}: {self.value!r} is no number")
        return self.value


@functools.cache
def numbers() -> dict[tuple[str, str], Number]:
    """Every number by figure and name, in the order of the files."""
    found = [
        Number(
            figure=line["figure"],
            name=line["name"],
            value=_value(line["value"]),
            unit=line["unit"],
            certainty=line["certainty"],
        )
        for line in _lines("numbers.csv")
    ]
    for figure, (file, certainty) in _WIDE.items():
        for line in _lines(file):
            benchmark = line.pop("benchmark")
            found += [
                Number(figure=figure, name=f"{benchmark}/{bar}", value=float(text), unit="x", certainty=certainty)
                for bar, text in line.items()
            ]
    return {(each.figure, each.name): each for each in found}


def number(figure: str, name: str) -> Number:
    """One number."""
    return numbers()[figure, name]


def of_figure(figure: str) -> list[Number]:
    """All numbers of a figure or table."""
    return [each for each in numbers().values() if each.figure == figure]


def _lines(file: str) -> list[dict[str, str]]:
    with (DATA / file).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
