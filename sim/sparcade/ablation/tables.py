"""Workloads with a feature taken out: functions from tables to tables, without values or draws."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade.workload import Workload
from sparcade.workload.builder import WorkloadBuilder
from sparcade.workload.tables import QUERY, begins

Ints = npt.NDArray[np.int64]
#: Bits of unquantised words.
WIDE = 32


def dense(workload: Workload) -> Workload:
    """Every head of every layer in the steps of the workload, with all keys and values of the context; no selections.

    Prefill has a query for every token, which sees all keys or, if any query of the workload's prefill sees fewer than
    its row has, those up to itself. Words are 32 bits wide.
    """
    rows, shape = workload.rows, workload.shape
    group = shape.heads // shape.kv_heads
    causal = _is_causal(workload)
    builder = WorkloadBuilder()
    for start in np.flatnonzero(begins(rows, "sequence", "step")).tolist():
        first = rows[start]
        ids = np.arange(first["context"], dtype=np.uint32)
        queries = _dense_queries(workload, first, causal)
        for layer in range(shape.layers):
            for head in range(shape.heads):
                builder.add_row(
                    key_ids=ids,
                    value_ids=ids,
                    queries=queries,
                    sequence=first["sequence"],
                    step=first["step"],
                    layer=layer,
                    kv_head=head // group,
                    head=head,
                    context=first["context"],
                    query_bits=WIDE,
                    msb_bits=WIDE,
                    value_bits=WIDE,
                )
    plain = dataclasses.replace(shape, uncharged_selections=0, persistent=())
    return builder.build(plain, where=workload.where)


def _is_causal(workload: Workload) -> bool:
    prefill = np.repeat(workload.rows["step"] == 0, workload.rows["queries"])
    keys = np.repeat(workload.rows["keys"], workload.rows["queries"])
    return bool((workload.queries["visible"] < keys)[prefill].any())


def _dense_queries(workload: Workload, first: Any, causal: bool) -> npt.NDArray[Any]:
    """The queries of a head in the step that a row begins."""
    prefill = first["step"] == 0
    own = workload.queries[first["query_start"] :][: first["queries"]]
    tokens = np.arange(first["context"]) if prefill else own["token"]
    queries = np.zeros(len(tokens), QUERY)
    queries["token"] = tokens
    queries["visible"] = queries["values"] = tokens + 1 if causal or not prefill else first["context"]
    return queries


def with_all_heads(workload: Workload) -> Workload:
    """The same without head pruning: every head of every layer; a head that is absent does what a present one does.

    It copies a head of its own KV head, else of the (number of its KV head modulo those present)th KV head of the
    layer; a layer without any, those of the layer before it in the step, else behind it. Head selections are left out.
    A token selection stands at the end of its layer, or (keys that are evicted per KV head) of its KV head, where a
    copied KV head has a copy of it.
    """
    rows, shape = workload.rows, workload.shape
    steps = int(begins(rows, "sequence", "step").sum())
    if len(rows) == steps * shape.layers * shape.heads and not rows["head_n"].any():
        return workload
    per_kv_head = "key" in shape.persistent
    starts = np.flatnonzero(begins(rows, "sequence", "step")).tolist()
    sources: list[_Source] = []
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        present: dict[int, dict[int, dict[int, int]]] = {}  # layer, KV head, head: row
        for row in range(start, end):
            record = rows[row]
            groups = present.setdefault(int(record["layer"]), {})
            groups.setdefault(int(record["kv_head"]), {})[int(record["head"])] = row
        for layer in range(shape.layers):
            model = max((other for other in present if other <= layer), default=min(present))
            sources += _layer_sources(workload, layer, present[model], own=model == layer, per_kv_head=per_kv_head)
    table = np.array(sources, np.int64)
    columns = dict(zip(("layer", "kv_head", "head"), table[:, 2:].T, strict=True))
    return _gather(workload, table[:, 0], table[:, 1], columns)


class _Source(NamedTuple):
    """Where a row comes from."""

    row: int
    event: int  #: row whose token selection it has, -1 for none
    layer: int
    kv_head: int
    head: int


def _layer_sources(
    workload: Workload, layer: int, groups: dict[int, dict[int, int]], *, own: bool, per_kv_head: bool
) -> list[_Source]:
    """The rows of all heads of a layer, from rows by KV head and head; `own`: of this layer."""
    shape = workload.shape
    group, present = shape.heads // shape.kv_heads, list(groups)
    sources: list[_Source] = []
    for kv_head in range(shape.kv_heads):
        heads = groups.get(kv_head) or groups[present[kv_head % len(present)]]
        donors = list(heads.values())
        for head in range(kv_head * group, (kv_head + 1) * group):
            sources.append(_Source(heads.get(head, donors[head % len(donors)]), -1, layer, kv_head, head))
        if per_kv_head:
            sources[-1] = sources[-1]._replace(event=_event(workload, donors))
    if own and not per_kv_head:
        every = [row for heads in groups.values() for row in heads.values()]
        sources[-1] = sources[-1]._replace(event=_event(workload, every))
    return sources


def _event(workload: Workload, rows: list[int]) -> int:
    """The row among these with a token selection, -1 for none."""
    found: list[int] = [row for row in rows if workload.rows[row]["token_n"]]
    return found[-1] if found else -1


def with_words(workload: Workload, *, wide: bool) -> Workload:
    """The same work with words of one plane, never fetched again: 32 bits, or those of both planes together."""
    rows, queries = workload.rows.copy(), workload.queries.copy()
    if wide:
        rows["msb_bits"] = rows["value_bits"] = rows["query_bits"] = WIDE
    else:
        rows["msb_bits"] += rows["lsb_bits"]
    rows["lsb_bits"] = 0
    queries["refetch"] = False
    return dataclasses.replace(workload, rows=rows, queries=queries, released=None)


def _gather(workload: Workload, source: Ints, events: Ints, columns: dict[str, Ints]) -> Workload:
    """A workload of chosen rows with their ids, queries and pass lists.

    Parameters
    ----------
    source : [rows] row of the workload each is a copy of.
    events : [rows] row whose token selection each has, -1 for none. Head selections are left out.
    columns : [rows] each, columns that are not the source's.
    """
    rows = workload.rows[source].copy()
    for name, values in columns.items():
        rows[name] = values
    key_ids = workload.key_ids[_ranges(rows["key_start"], rows["keys"])]
    value_ids = workload.value_ids[_ranges(rows["value_start"], rows["values"])]
    queries = workload.queries[_ranges(rows["query_start"], rows["queries"])].copy()
    for start, count in (("key_start", "keys"), ("value_start", "values"), ("query_start", "queries")):
        rows[start] = _starts(rows[count])
    for name in ("token_n", "token_k", "token_pass_start", "token_passes"):
        rows[name] = np.where(events >= 0, workload.rows[name][events], 0)
    for name in ("head_n", "head_k", "head_pass_start", "head_passes"):
        rows[name] = 0
    local = _ranges(queries["pass_start"], queries["passes"])
    token = _ranges(rows["token_pass_start"], rows["token_passes"])
    queries["pass_start"] = np.where(queries["passes"] > 0, _starts(queries["passes"]), 0)
    rows["token_pass_start"] = np.where(rows["token_passes"] > 0, len(local) + _starts(rows["token_passes"]), 0)
    return dataclasses.replace(
        workload,
        rows=rows,
        queries=queries,
        passes=workload.passes[np.concatenate([local, token])],
        key_ids=key_ids,
        value_ids=value_ids,
        released=None,
    )


def _starts(counts: npt.NDArray[Any]) -> Ints:
    """Where lists of so many entries begin when they stand one behind the other."""
    ends: Ints = np.cumsum(counts, dtype=np.int64)
    return ends - counts.astype(np.int64)


def _ranges(starts: npt.NDArray[Any], counts: npt.NDArray[Any]) -> Ints:
    """The indices of all entries of lists that begin at `starts`."""
    counts = counts.astype(np.int64)
    indices: Ints = np.arange(counts.sum()) + np.repeat(starts - _starts(counts), counts)
    return indices
