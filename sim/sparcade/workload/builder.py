"""`WorkloadBuilder`: grows the two tables row by row while a policy runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.workload.released import ReleasedColumns
from sparcade.workload.store import Workload, WorkloadShape
from sparcade.workload.tables import PASS, QUERY, ROW

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int64] | npt.NDArray[np.uint32]


@dataclass(slots=True)
class WorkloadBuilder:
    """Appends in execution order; offsets are kept here, so that callers only pass contents."""

    _rows: list[dict[str, Any]] = field(default_factory=list)
    _queries: list[npt.NDArray[Any]] = field(default_factory=list)
    _passes: list[Ints] = field(default_factory=list)
    _key_ids: list[Ids] = field(default_factory=list)
    _value_ids: list[Ids] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("queries", "passes", "keys", "values"), 0))

    def add_row(self, *, key_ids: Ids, value_ids: Ids, queries: npt.NDArray[Any], **columns: Any) -> None:
        """Append a row with its keys, needed values and queries (QUERY records; pass lists added before)."""
        counts = self._counts
        self._rows.append(
            {
                **columns,
                "key_start": counts["keys"],
                "keys": len(key_ids),
                "value_start": counts["values"],
                "values": len(value_ids),
                "query_start": counts["queries"],
                "queries": len(queries),
            }
        )
        self._key_ids.append(key_ids)
        self._value_ids.append(value_ids)
        self._queries.append(queries)
        counts["keys"] += len(key_ids)
        counts["values"] += len(value_ids)
        counts["queries"] += len(queries)

    def add_passes(self, passes: Ints) -> int:
        """Append a pass list [passes, 3]; returns where it starts."""
        start = self._counts["passes"]
        self._passes.append(passes)
        self._counts["passes"] += len(passes)
        return start

    def end_layer_with(self, kind: str, n: int, k: int, passes: Ints, *, rows_behind: int = 0) -> None:
        """Charge a cascade selection ("token" or "head") at the end of the last row's layer.

        Parameters
        ----------
        rows_behind : rows between it and the end: the selection stands on an earlier row of the layer.
        """
        start = self.add_passes(passes)
        last = len(self._rows) - 1 - rows_behind
        row = self._rows[last]
        row |= {f"{kind}_n": n, f"{kind}_k": k, f"{kind}_pass_start": start, f"{kind}_passes": len(passes)}
        if kind == "token":
            for index in range(last, -1, -1):
                earlier = self._rows[index]
                if earlier["sequence"] != row["sequence"] or earlier.get("accumulate"):
                    break
                earlier["accumulate"] = True

    def build(self, shape: WorkloadShape, released: ReleasedColumns | None = None, where: str = "workload") -> Workload:
        """The finished, checked workload; errors call it `where`."""
        rows = np.zeros(len(self._rows), ROW)
        for name in ROW.names or ():
            rows[name] = [row.get(name, 0) for row in self._rows]
        passes = np.zeros(self._counts["passes"], PASS)
        flat = np.concatenate([np.empty((0, 3), np.int64), *self._passes])
        for column, name in enumerate(PASS.names or ()):
            passes[name] = flat[:, column]
        queries = np.empty(self._counts["queries"], QUERY)
        for row, records in zip(self._rows, self._queries, strict=True):  # far faster than concatenating records
            queries[row["query_start"] :][: len(records)] = records
        return Workload(
            shape=shape,
            rows=rows,
            queries=queries,
            passes=passes,
            key_ids=np.concatenate([np.empty(0, np.uint32), *self._key_ids]).astype(np.uint32, copy=False),
            value_ids=np.concatenate([np.empty(0, np.uint32), *self._value_ids]).astype(np.uint32, copy=False),
            released=released,
            where=where,
        )
