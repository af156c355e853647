"""The table of a sweep: finished points in the order of the sweep, as Parquet (extra `sweep`) or CSV; Pareto front."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparcade._files import canonical_json, content_hash, new_file, parse_json
from sparcade.errors import ConfigError, did_you_mean
from sparcade.sweep.definition import POINT_NAMES, Sweep, load_sweep
from sparcade.sweep.metrics import METRICS
from sparcade.sweep.points import Point, number, points_of
from sparcade.sweep.replays import locked, remove_leftovers
from sparcade.sweep.store import Records, shard_sizes
from sparcade.version import MODEL_VERSION

DEFINITION = "sweep.json"
_TABLE = "points"
_STATE = "points.json"
#: Floats read as they were written: an option before pandas 3, the default since.
_EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3" else {}
_WHOLE = frozenset(
    name
    for name, unit in METRICS.items()
    if unit.startswith(("cycles", "bytes", "bits")) and not name.endswith("_joules")
)


def compact(sweep: Sweep, points: Sequence[Point], folder: Path) -> Path:
    """Write the table of the finished points, atomically; returns the file.

    One process at a time: the last to come sees what all have finished.
    """
    with locked(folder / "compact.lock"):
        remove_leftovers(folder, _TABLE)
        records = Records(folder)
        records.refresh()
        frame = _frame(sweep, points, records)
        parquet = find_spec("pyarrow") is not None
        path, other = (folder / f"{_TABLE}.{kind}" for kind in (("parquet", "csv") if parquet else ("csv", "parquet")))
        with new_file(path) as fresh:
            if parquet:
                frame.to_parquet(fresh, engine="pyarrow", index=False, compression="zstd")
            else:
                frame.to_csv(fresh, index=False, lineterminator="\n")
        with new_file(folder / _STATE) as fresh:
            state = {"table": path.name, "shards": records.sizes(), "sweep": _identity(sweep), "points": len(frame)}
            state["total"] = len(points)
            fresh.write_text(canonical_json(state), encoding="utf-8")
        other.unlink(missing_ok=True)
    return path


def read_sweep(folder: str | Path) -> pd.DataFrame:
    """The finished points of a folder: key, workload, arch, policy, axes, status, error, metrics, derived metrics.

    From the table where it holds all that the shards hold, else from the shards.

    Raises
    ------
    ConfigError
        When the folder holds no sweep.
    """
    folder = Path(folder)
    sweep = read_definition(folder)
    records = Records(folder)
    try:
        state = parse_json((folder / _STATE).read_text(encoding="utf-8"))
        if state["shards"] == shard_sizes(folder) and state["sweep"] == _identity(sweep):
            path = folder / state["table"]
            if path.suffix == ".parquet":
                return pd.read_parquet(path, engine="pyarrow")
            return _typed(pd.read_csv(path, keep_default_na=False, na_values=[""], **_EXACT))
    except (OSError, ValueError, LookupError, TypeError, ImportError):
        pass  # no table yet, or one of another machine's format: the shards have all
    records.refresh()
    return _frame(sweep, points_of(sweep), records)


def read_definition(folder: Path) -> Sweep:
    """The sweep that a folder was last run with."""
    path = folder / DEFINITION
    try:
        return load_sweep(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "this is no sweep",
            where=str(path),
            expected="the folder of a sweep, with sweep.json",
            got=str(error),
            remedy="run 'sparcade sweep FILE.toml --out FOLDER' first",
        ) from error


def point_count(folder: Path) -> int:
    """Points of the sweep that a folder was last run with, finished or not."""
    sweep = read_definition(folder)
    try:
        state = parse_json((folder / _STATE).read_text(encoding="utf-8"))
        if state["sweep"] == _identity(sweep):
            return int(state["total"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # no table yet
    return len(points_of(sweep))


def write_definition(sweep: Sweep, folder: Path) -> None:
    """Keep the definition, so that the folder can be read without its file."""
    with new_file(folder / DEFINITION) as fresh:
        # Not sorted: the order of axes and objectives is part of the definition.
        fresh.write_text(
            json.dumps(sweep.tables, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def pareto_front(frame: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Rows that no other row beats: as good in every objective and better in one. Rows lacking a value are left out.

    Parameters
    ----------
    objectives : "min" or "max" of each column, such as {"cycles": "min", "output_cosine": "max"}.
    """
    for name, direction in objectives.items():
        if name not in frame or direction not in ("min", "max"):
            raise ConfigError(
                f"there is no objective {name!r}: {direction!r}",
                where="objectives",
                expected="a column and 'min' or 'max'",
                got=repr({name: direction}),
                remedy=did_you_mean(name, map(str, frame.columns)),
            )
    table = frame.dropna(subset=list(objectives))
    costs = np.column_stack(
        [table[name].to_numpy(float) * (1 if way == "min" else -1) for name, way in objectives.items()]
    )
    order = np.lexsort(costs.T[::-1])
    front: list[int] = []
    for row in order:  # a row is beaten only by one before it in this order
        kept = costs[front]
        beaten = ((kept <= costs[row]).all(axis=1) & (kept < costs[row]).any(axis=1)).any()
        if not beaten:
            front.append(int(row))
    return table.iloc[sorted(front)]


def derived(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, float | None]:
    """Derived metrics of a point; None where an expression has no value there, such as a division by zero."""
    scope = {name: number(value) for name, value in values.items()}
    found: dict[str, float | None] = {}
    for name, expression in sweep.metrics.items():
        try:
            value = expression.value(scope)
            found[name] = float(value) if math.isfinite(value) else None
        except (ArithmeticError, ValueError, TypeError):
            found[name] = None
        scope[name] = found[name]
    return found


def _identity(sweep: Sweep) -> str:
    return content_hash({"tables": sweep.tables, "model_version": MODEL_VERSION})


def _frame(sweep: Sweep, points: Sequence[Point], records: Records) -> pd.DataFrame:
    held = [(point, records.entries[point.key]) for point in points if point.key in records.entries]
    rows = []
    for (point, _), record in zip(held, records.records([entry for _, entry in held]), strict=True):
        metrics = record.get("metrics", {})
        settings = {name: None if value == "" else plain(value) for name, value in point.values.items()}
        row = {"key": point.key, **settings, "status": record["status"], "error": record.get("error"), **metrics}
        rows.append(row | (derived(sweep, {**point.values, **metrics}) if metrics else {}))
    axes = [axis.name for axis in sweep.axes]
    columns = ["key", *POINT_NAMES, *axes, "status", "error", *sweep.columns]
    return _typed(pd.DataFrame({name: [row.get(name) for row in rows] for name in columns}), axes)


def plain(value: Any) -> Any:
    """The value of an axis as the table holds it: a list as JSON."""
    return json.dumps(value) if isinstance(value, tuple) else value


def _typed(frame: pd.DataFrame, axes: Iterable[str] = ()) -> pd.DataFrame:
    """Columns of one type each, the same for every number of rows: integers may be missing, texts are texts."""
    for name in frame.columns:
        if name in METRICS:
            frame[name] = frame[name].astype("Int64" if name in _WHOLE else "Float64")
        elif name in ("key", *POINT_NAMES, "status", "error"):
            frame[name] = frame[name].astype("string")
        elif name in axes:
            types = {type(value) for value in frame[name]}
            if len(types) > 1 and types - {int, float}:
                frame[name] = frame[name].astype(str)
    return frame
