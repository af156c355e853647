"""`Workload`: what the accelerator is asked to do, free of values; one .npz file with its own JSON manifest."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade._files import canonical_json, new_file, parse_json
from sparcade.errors import WorkloadError
from sparcade.workload.csv_text import is_consistent
from sparcade.workload.released import RELEASED_ARRAYS, ReleasedColumns, table_of
from sparcade.workload.tables import PASS, QUERY, ROW, begins

SCHEMA = "sparcade.workload"
SCHEMA_VERSION = 1
_CASCADES = ("token", "head")
#: What can be pruned per layer, for all later steps: keys of a KV head, query heads.
PERSISTENT = ("key", "head")
_ARRAYS = {"rows": ROW, "queries": QUERY, "passes": PASS, "key_ids": np.dtype("u4"), "value_ids": np.dtype("u4")}
Table = npt.NDArray[Any]
#: Largest shape accepted: addresses of every region fit 64 bits.
_LIMITS = {
    "layers": 1 << 10,
    "heads": 1 << 10,
    "kv_heads": 1 << 10,
    "head_dim": 1 << 13,
    "max_context": 1 << 22,
    "uncharged_selections": 1 << 62,
}
#: What a damaged archive makes zipfile, zlib, NumPy and json raise.
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadShape:
    """Geometry and origin of a workload."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    max_context: int  #: longest context of any step [tokens]
    policy: str  #: name of the policy that made it
    policy_settings: dict[str, Any]  #: its configuration, or where a user's policy stands
    trace_hash: str  #: content hash of the trace, or (closed loop) of the model and the token ids; "" without one
    ids: str  #: "from trace", "closed loop", "synthetic", or "all" of dense work
    uncharged_selections: int = 0  #: choices a policy made without the top-k engine
    persistent: tuple[str, ...] = ()  #: of "key" and "head": pruned per layer for all later steps, not in a cascade

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `persistent` only where there is any."""
        table = asdict(self)
        if not self.persistent:
            del table["persistent"]
        return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Tables of `sparcade.workload.tables`, checked. Equal workloads have equal `content_hash`."""

    shape: WorkloadShape
    rows: Table  #: ROW
    queries: Table  #: QUERY
    passes: Table  #: PASS
    key_ids: npt.NDArray[np.uint32]
    value_ids: npt.NDArray[np.uint32]
    released: ReleasedColumns | None = None  #: of a workload in the released CSV form: what the tables cannot express
    where: str = field(default="workload", compare=False)

    def __post_init__(self) -> None:
        _check(self)

    def rows_frame(self) -> pd.DataFrame:
        """`rows` as a DataFrame."""
        return pd.DataFrame({name: self.rows[name] for name in ROW.names or ()})

    def queries_frame(self) -> pd.DataFrame:
        """`queries` as a DataFrame, with the index of the row each belongs to."""
        frame = pd.DataFrame({name: self.queries[name] for name in QUERY.names or ()})
        frame.insert(0, "row", np.repeat(np.arange(len(self.rows)), self.rows["queries"]))
        return frame

    @property
    def content_hash(self) -> str:
        """SHA-256 over shape and tables."""
        digest = hashlib.sha256(canonical_json(self.shape.to_dict()).encode())
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _arrays(self) -> dict[str, Table]:
        """What is stored, by name; the columns of the released form only where there are any."""
        tables = {name: getattr(self, name) for name in _ARRAYS}
        return tables if self.released is None else {**tables, **self.released.arrays()}

    def save(self, path: str | Path) -> None:
        """Write the .npz file atomically; equal workloads give equal bytes."""
        path = Path(path)
        manifest = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "content_hash": self.content_hash}
        text = canonical_json({**manifest, "shape": self.shape.to_dict()})
        with new_file(path) as fresh, zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in self._arrays().items():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)
            archive.writestr(zipfile.ZipInfo("manifest.json"), text, zipfile.ZIP_DEFLATED)

    @classmethod
    def load(cls, path: str | Path) -> Workload:
        """Read and check a workload file.

        Raises
        ------
        WorkloadError
            When the file is truncated, foreign, of another version, or inconsistent.
        """
        path = Path(path)
        try:
            with zipfile.ZipFile(path) as archive:
                manifest = parse_json(archive.read("manifest.json").decode())
                known = {**_ARRAYS, **{name: dtype for name, (_, dtype) in RELEASED_ARRAYS.items()}}
                if not {f"{name}.npy" for name in RELEASED_ARRAYS} & set(archive.namelist()):
                    known = _ARRAYS
                arrays = {name: np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False) for name in known}
            if manifest.get("schema") != SCHEMA or manifest.get("schema_version") != SCHEMA_VERSION:
                raise ValueError(f"schema {manifest.get('schema')!r} version {manifest.get('schema_version')!r}")
            for name, dtype in known.items():
                if arrays[name].dtype != dtype or arrays[name].ndim != 1:
                    raise ValueError(f"array {name!r} is {arrays[name].dtype} with {arrays[name].ndim} axes")
            persistent = tuple(manifest["shape"].pop("persistent", ()))
            shape = WorkloadShape(**manifest["shape"], persistent=persistent)
            if not set(persistent) <= set(PERSISTENT):
                raise ValueError(f"shape.persistent is not among {PERSISTENT}")
            if not isinstance(shape.policy_settings, dict):
                raise ValueError("shape.policy_settings is not a table")
            for name, most in _LIMITS.items():
                if type(getattr(shape, name)) is not int or not 0 <= getattr(shape, name) <= most:
                    raise ValueError(f"shape.{name} is not a count up to {most}")
        except FileNotFoundError:
            raise
        except _UNREADABLE as error:
            raise WorkloadError(
                "the file is not a workload",
                where=str(path),
                expected=f"a file written by 'sparcade workload make' (schema version {SCHEMA_VERSION})",
                got=f"{type(error).__name__}: {error}",
                remedy="make it again from its trace, CSV file or name",
            ) from error
        columns = {field: arrays.pop(name) for name, (field, _) in RELEASED_ARRAYS.items() if name in arrays}
        released = ReleasedColumns(**columns) if columns else None
        workload = cls(shape=shape, where=str(path), released=released, **arrays)
        if workload.content_hash != manifest.get("content_hash"):
            raise WorkloadError(
                "the workload was changed after it was written",
                where=str(path),
                expected=f"content hash {manifest.get('content_hash')}",
                got=workload.content_hash,
                remedy="make it again from its trace, CSV file or name",
            )
        return workload


def _check(workload: Workload) -> None:
    """Hold every reference and every order that the timing kernel relies on."""
    rows, queries, shape = workload.rows, workload.queries, workload.shape
    lists = [(queries, "pass_start", "passes"), *((rows, f"{kind}_pass_start", f"{kind}_passes") for kind in _CASCADES)]
    pass_counts = [table[count].sum(dtype=np.int64) for table, _, count in lists]
    counts = [
        ("it has no rows", len(rows) > 0),
        ("key ids do not follow the rows", _follows(rows["key_start"], rows["keys"], len(workload.key_ids))),
        ("value ids do not follow the rows", _follows(rows["value_start"], rows["values"], len(workload.value_ids))),
        ("queries do not follow the rows", _follows(rows["query_start"], rows["queries"], len(queries))),
        ("pass lists do not add up", sum(pass_counts) == len(workload.passes)),
        *(("a pass list is out of range", _inside(t[s], t[c], len(workload.passes))) for t, s, c in lists),
    ]
    _require(counts, workload)
    order = np.lexsort([rows[name] for name in ("head", "kv_head", "layer", "step", "sequence")])
    owner = np.repeat(np.arange(len(rows)), rows["queries"])
    key_owner = np.repeat(np.arange(len(rows)), rows["keys"])
    value_owner = np.repeat(np.arange(len(rows)), rows["values"])
    single = (rows["lsb_bits"] == 0) & np.isin(rows["msb_bits"], (4, 6, 8, 10, 12, 32))
    double = (rows["lsb_bits"] == 4) & np.isin(rows["msb_bits"], (4, 6, 8))
    tests = [
        ("the rows are not sorted", bool((order == np.arange(len(rows))).all())),
        ("a row has no keys, values or queries", bool((rows["keys"] > 0).all() and (rows["queries"] > 0).all())),
        ("a layer or head is outside the model", bool((rows["layer"] < shape.layers).all())),
        ("a head is outside the model", bool((rows["head"] < shape.heads).all())),
        ("a KV head is outside the model", bool((rows["kv_head"] < shape.kv_heads).all())),
        ("a context is longer than max_context", bool((rows["context"] <= shape.max_context).all())),
        ("the key format is unsupported", bool((single | double).all())),
        ("the value width is unsupported", bool(np.isin(rows["value_bits"], (4, 6, 8, 10, 12, 32)).all())),
        ("the query width is unsupported", bool(np.isin(rows["query_bits"], (12, 32)).all())),
    ]
    _require(tests, workload)
    tests = [
        ("key ids are not ascending within the context", _ascending(workload.key_ids, key_owner, rows["context"])),
        ("value ids are not ascending", _ascending(workload.value_ids, value_owner, rows["context"])),
        ("a query sees no key, or more than its row has", _within(queries["visible"], 1, rows["keys"][owner])),
        ("a query weighs no value, or more than it sees", _within(queries["values"], 1, queries["visible"])),
        ("the heads of a KV head differ in keys or bits", _same_keys(rows)),
        ("a query token is outside the context", bool((queries["token"] < rows["context"][owner]).all())),
        ("a refetch without an LSB plane", bool((~queries["refetch"] | (rows["lsb_bits"][owner] > 0)).all())),
        ("a query weighs more values than its row has", _within(queries["values"], 1, rows["values"][owner])),
        (
            "a pass is no partition of its list",
            _partitions(workload, queries["visible"], queries, ""),
        ),
        ("a selection ranks more tokens than there are", _within(rows["token_n"], 0, rows["context"])),
        ("a selection ranks more heads than there are", _within(rows["head_n"], 0, np.full(len(rows), shape.heads))),
        *(
            (
                "a pass is no partition of its list",
                _partitions(workload, rows[f"{k}_n"], rows, f"{k}_"),
            )
            for k in _CASCADES
        ),
    ]
    _require(tests, workload)
    if workload.released is not None:
        _require([("the columns of the released form do not fit the rows", _is_released(workload))], workload)


def _is_released(workload: Workload) -> bool:
    """The rows are of the released form, and their columns give back a CSV file."""
    rows, released = workload.rows, workload.released
    if released is None or len(released.extra) != len(rows) or (rows["queries"] != 1).any() or (rows["step"] < 1).any():
        return False
    table = table_of(workload, released.extra)
    asked = np.where(rows["token_n"] > 0, rows["token_k"], released.extra["topk"])
    return bool((asked == released.extra["topk"]).all()) and is_consistent(table, released)


def _partitions(workload: Workload, n: Table, table: Table, prefix: str) -> bool:
    """Every pass of the selections of a table splits a list no longer than their n candidates."""
    start, count = table[f"{prefix}pass_start"], table[f"{prefix}passes"].astype(np.int64)
    first = np.cumsum(count) - count
    index = np.arange(count.sum()) - np.repeat(first, count) + np.repeat(start, count)
    passes = {name: workload.passes[name][index].astype(np.int64) for name in PASS.names or ()}
    parts = passes["greater"] + passes["equal"] <= passes["size"]
    return bool((parts & (passes["size"] <= np.repeat(n, count))).all())


def _require(tests: list[tuple[str, bool]], workload: Workload) -> None:
    for what, holds in tests:
        if not holds:
            raise WorkloadError(
                "the workload is inconsistent",
                where=workload.where,
                expected="tables as sparcade.workload.tables describes them",
                got=what,
                remedy="make it again from its trace, CSV file or name",
            )


def _follows(start: Table, count: Table, total: int) -> bool:
    ends = np.cumsum(count, dtype=np.int64)
    return bool((start == ends - count).all()) and int(ends[-1] if len(ends) else 0) == total


def _ascending(ids: Table, owner: Table, context: Table) -> bool:
    if not len(ids):
        return True
    same = owner[1:] == owner[:-1]
    return bool((ids < context[owner]).all() and (~same | (ids[1:] > ids[:-1])).all())


def _within(values: Table, low: int, high: Table) -> bool:
    return bool(((values >= low) & (values <= high)).all())


def _same_keys(rows: Table) -> bool:
    group = begins(rows, "sequence", "step", "layer", "kv_head")
    return bool((group | ~begins(rows, "keys", "msb_bits", "lsb_bits")).all())


def _inside(start: Table, count: Table, total: int) -> bool:
    used = count > 0
    return bool((start[used] >= 0).all() and (start[used] + count[used] <= total).all())
