"""Metrics measured elsewhere, such as the accuracy of a closed-loop evaluation: a CSV file joined to the points.

Columns that are names of a point (workload, policy, policy.tokens.end, ...) say which points a row is for; the others
are its metrics. Accuracy does not depend on the arch, so axes of the arch need no column.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade._files import file_hash
from sparcade.errors import ConfigError
from sparcade.sweep.expression import number

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFile:
    """Rows by the values of `names`."""

    path: Path
    names: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: dict[tuple[Any, ...], dict[str, float | None]]  #: None: an empty cell
    digest: str  #: SHA-256 of the file

    def at(self, values: Mapping[str, Any]) -> dict[str, float | None]:
        """Metrics of a point.

        Raises
        ------
        ConfigError
            When the file has no row for it.
        """
        asked = tuple(number(values[name]) for name in self.names)
        if asked not in self.rows:
            raise ConfigError(
                "the metric file has no row for a point",
                where=str(self.path),
                expected=f"a row for each point: {', '.join(self.names) or 'one row'}",
                got="none with " + ", ".join(f"{name} = {values[name]}" for name in self.names),
                remedy="measure that point too, or take its values out of the sweep",
            )
        return self.rows[asked]


def load_metric_file(path: Path, *, varied: Sequence[str], known: Sequence[str], taken: Sequence[str]) -> MetricFile:
    """Read and check the file.

    Parameters
    ----------
    varied : names of points that the metrics may depend on: they need a column each.
    known : all names of points; a column of another name with a dot is an axis that the sweep does not have.
    taken : names that a metric can't have.

    Raises
    ------
    ConfigError
        With file and line, for a missing, unknown or doubled column, a doubled row, or a cell that is no number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _error(path, "can't be read", "a CSV file (UTF-8)", str(error), "check the path") from None
    lines = [line for line in csv.reader(text.splitlines()) if line]
    header = lines[0] if lines else []
    if len(lines) < 2 or len(set(header)) < len(header):
        raise _error(
            path, "has no rows, or a column twice", "a header and a row for each point", repr(header), "mend it"
        )
    for name in varied:
        if name not in header:
            raise _error(
                path, "does not tell the points of this sweep apart", f"a column {name!r}: the sweep varies it",
                ", ".join(header), "measure each of its values, or fix it under [set]",
            )  # fmt: skip
    names = tuple(name for name in header if name in known)
    metrics = tuple(name for name in header if name not in known)
    for name in metrics:
        if not _NAME.fullmatch(name) or name in taken:
            raise _error(
                path, f"has a column {name!r} that can't be a metric",
                "names of axes of this sweep, and metrics with a name of their own of letters, digits and _",
                repr(name), "rename or drop the column, or make it an axis",
            )  # fmt: skip
    rows: dict[tuple[Any, ...], dict[str, float | None]] = {}
    for place, line in enumerate(lines[1:], 2):
        cells = dict(zip(header, line, strict=False))
        if len(cells) < len(header) or len(line) > len(header):
            raise _error(path, f"has a torn row {place}", f"{len(header)} cells", f"{len(line)}", "mend the line")
        key = tuple(number(cells[name]) for name in names)
        if key in rows:
            raise _error(path, f"has row {place} twice", "a row for each point", ", ".join(line), "drop one")
        rows[key] = {name: _metric(path, place, name, cells[name]) for name in metrics}
    return MetricFile(path=path, names=names, metrics=metrics, rows=rows, digest=file_hash(path))


def _metric(path: Path, row: int, name: str, cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _error(
            path, f"has no number for {name} in row {row}", "a finite number, or nothing", repr(cell), "mend the cell"
        )
    return value


def _error(path: Path, what: str, expected: str, got: str, remedy: str) -> ConfigError:
    return ConfigError(f"the metric file {what}", where=str(path), expected=expected, got=got, remedy=remedy)
