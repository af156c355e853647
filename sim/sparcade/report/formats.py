"""A report as one file: page, short text, table or picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from matplotlib.figure import Figure

from sparcade._files import canonical_json
from sparcade.errors import ConfigError
from sparcade.report.html import shown
from sparcade.report.svg import save_png

#: Rows of a table in a short text, at most.
_MOST_ROWS = 60


class Report(Protocol):
    """What every kind of report can do."""

    def page(self) -> str:
        """A self-contained HTML page."""

    def table(self) -> pd.DataFrame:
        """Its main table, whole."""

    def values(self) -> Any:
        """Everything, as plain values for JSON."""

    def brief(self) -> dict[str, pd.DataFrame]:
        """The tables of a short text by title, each cut to 60 rows there."""

    def picture(self) -> Figure | None:
        """Its main picture, None where there is none."""


def write_format(report: Report, name: str, path: Path) -> None:
    """Write a report in a format (`FORMATS`).

    Raises
    ------
    ConfigError
        When there is no picture of it, or no pyarrow for Parquet.
    """
    FORMATS[name](report, path)


def markdown(report: Report) -> str:
    """Tables as GitHub shows them."""
    parts = []
    for title, frame in report.brief().items():
        parts.append(f"## {_one_line(title)}\n")
        columns = [_one_line(str(name)) for name in frame.columns]
        parts.append("| " + " | ".join(columns) + " |")
        parts.append("|" + " --- |" * len(columns))
        for row in frame.head(_MOST_ROWS).itertuples(index=False):
            parts.append("| " + " | ".join(_one_line(shown(value)) for value in row) + " |")
        if len(frame) > _MOST_ROWS:
            parts.append(f"\nThe first {_MOST_ROWS} of {len(frame):,} rows.")
        parts.append("")
    return "\n".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _html(report: Report, path: Path) -> None:
    path.write_text(report.page(), encoding="utf-8")


def _markdown(report: Report, path: Path) -> None:
    path.write_text(markdown(report), encoding="utf-8")


def _csv(report: Report, path: Path) -> None:
    path.write_text(report.table().to_csv(index=False, lineterminator="\n"), encoding="utf-8")


def _json(report: Report, path: Path) -> None:
    path.write_text(canonical_json(report.values()), encoding="utf-8")


def frame_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values; missing ones are None."""
    records = frame.astype(object).to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in records]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def _parquet(report: Report, path: Path) -> None:
    if find_spec("pyarrow") is None:
        raise ConfigError(
            "Parquet needs the package pyarrow",
            where="--format parquet",
            expected="the extra 'sweep'",
            got="an installation without it",
            remedy="pip install 'sparcade[sweep]', or --format csv",
        )
    report.table().to_parquet(path, engine="pyarrow", index=False, compression="zstd")


def _png(report: Report, path: Path) -> None:
    figure = report.picture()
    if figure is None:
        raise ConfigError(
            "there is no picture of this",
            where="--format png",
            expected="an axis, or a point with a value of an objective",
            got="neither",
            remedy="--format html",
        )
    save_png(figure, path)


#: Formats by name.
FORMATS: dict[str, Callable[[Report, Path], None]] = {
    "html": _html,
    "md": _markdown,
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
    "png": _png,
}
