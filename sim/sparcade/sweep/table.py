"""The table of a sweep: finished points in the order of the sweep, as Parquet (extra `sweep`) or CSV; Pareto front."""

from __future__ import annotations

import json
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
from sparcade.sweep.points import Point
from sparcade.sweep.replays import locked, remove_leftovers
from sparcade.sweep.scoring import Costs
from sparcade.sweep.search import Found, points_in
from sparcade.sweep.store import Records, shard_sizes
from sparcade.version import MODEL_VERSION

DEFINITION = "sweep.json"
_TABLE = "points"
_STATE = "points.json"
#: Floats read as they were written: an option before pandas 3, the default since.
EXACT_FLOATS: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3" else {}
_WHOLE = frozenset(
    name
    for name, unit in METRICS.items()
    if unit.startswith(("cycles", "bytes", "bits")) and not name.endswith("_joules")
)


def compact(sweep: Sweep, points: Sequence[Point], folder: Path, *, skipped: int = 0) -> Path:
    """Write the table of the finished points, atomically; returns the file. `skipped` of the others are dominated.

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
            state |= {"total": len(points), "skipped": skipped}
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
            return _typed(pd.read_csv(path, keep_default_na=False, na_values=[""], **EXACT_FLOATS))
    except (OSError, ValueError, LookupError, TypeError, ImportError):
        pass  # no table yet, or one of another machine's format: the shards have all
    records.refresh()
    return _frame(sweep, points_in(sweep, costs_of(sweep, records)), records)


def read_points(folder: str | Path) -> list[Point]:
    """Every point of a folder's sweep, in the order of its table; points without a result among them."""
    folder = Path(folder)
    sweep = read_definition(folder)
    records = Records(folder)
    records.refresh()
    return points_in(sweep, costs_of(sweep, records))


def costs_of(sweep: Sweep, records: Records) -> Found:
    """A function from a point to its costs; None for one that failed, was skipped, or has no record yet."""
    scoring = sweep.scoring

    def found(point: Point) -> Costs | None:
        entry = records.entries.get(point.key)
        if entry is None or entry.attempts > 0:
            return None
        return scoring.costs(scoring.values(point.values, records.record(entry)["metrics"]))

    return found


def read_definition(folder: Path) -> Sweep:
    """The sweep that a folder was last run with."""
    path = folder / DEFINITION
    try:
        kept = parse_json(path.read_text(encoding="utf-8"))
        return load_sweep(kept["definition"], directory=Path(kept["directory"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            "this is no sweep",
            where=str(path),
            expected="the folder of a sweep, with sweep.json",
            got=str(error),
            remedy="run 'sparcade sweep FILE.toml --out FOLDER' first",
        ) from error


def unfinished(folder: Path) -> tuple[int, int]:
    """Points of the sweep that a folder was last run with that have no result: not computed yet, and dominated."""
    sweep = read_definition(folder)
    try:
        state = parse_json((folder / _STATE).read_text(encoding="utf-8"))
        if state["sweep"] == _identity(sweep):
            skipped = int(state["skipped"])
            return int(state["total"]) - int(state["points"]) - skipped, skipped
    except (OSError, ValueError, LookupError, TypeError):
        pass  # no table yet
    records = Records(folder)
    records.refresh()
    return sum(point.key not in records.entries for point in read_points(folder)), 0


def write_definition(sweep: Sweep, folder: Path) -> None:
    """Keep the definition, so that the folder can be read without its file and from anywhere."""
    with new_file(folder / DEFINITION) as fresh:
        fresh.write_text(_definition(sweep), encoding="utf-8")


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


def _identity(sweep: Sweep) -> str:
    measured = sweep.metric_file.digest if sweep.metric_file else None
    return content_hash({"definition": _definition(sweep), "metric_file": measured, "model_version": MODEL_VERSION})


def _definition(sweep: Sweep) -> str:
    """JSON of the definition; the order of its axes and objectives counts."""
    kept = {"definition": sweep.tables, "directory": str(sweep.directory)}
    return json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _frame(sweep: Sweep, points: Sequence[Point], records: Records) -> pd.DataFrame:
    held = [(point, records.entries[point.key]) for point in points if point.key in records.entries]
    rows, scoring = [], sweep.scoring
    for (point, _), record in zip(held, records.records([entry for _, entry in held]), strict=True):
        metrics = record.get("metrics", {})
        settings = {name: None if value == "" else plain(value) for name, value in point.values.items()}
        row = {"key": point.key, **settings, "status": record["status"], "error": record.get("error")}
        rows.append(row | (scoring.values(point.values, metrics) if metrics else {}))
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
        elif name in axes and len({float if type(value) is int else type(value) for value in frame[name]}) > 1:
            frame[name] = frame[name].astype(str)
    return frame
