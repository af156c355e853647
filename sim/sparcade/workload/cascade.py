"""Pruning is final: what a layer fetches was never pruned before, in its step's earlier layers or in earlier steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade.errors import WorkloadError
from sparcade.workload.store import Workload
from sparcade.workload.tables import begins


class Return(NamedTuple):
    """Tokens or heads of a layer that the layer before it, in the same step, did not have.

    Of a kind that is pruned per layer for all later steps: keys of a KV head, or a head of a layer, that it did not
    have in the step before.
    """

    row: int  #: first row of the layer, or of the KV head
    kind: str  #: "key" or "head"
    before: int  #: ids of the layer before, or of the step before
    ids: int  #: ids of this one
    returned: int  #: of them, pruned before


def find_return(workload: Workload) -> Return | None:
    """The first return of something that was pruned; None where pruning is final."""
    checks = {
        "key": _returned_key if "key" in workload.shape.persistent else _returned_in_step,
        "head": _returned_head if "head" in workload.shape.persistent else _returned_in_step,
    }
    found = [back for kind, check in checks.items() if (back := check(workload, kind)) is not None]
    return min(found, default=None)


def check_cascade(workload: Workload) -> None:
    """Hold that no token and no head comes back within a step: the hardware dropped its place in the buffers.

    Of a kind that is pruned per layer for all later steps, that none comes back to the layer: its K and V are gone.
    Replays and generators keep to it; an imported file may not.

    Raises
    ------
    WorkloadError
        For the first layer with a token or a head that the layer before it did not have.
    """
    found = find_return(workload)
    if found is not None:
        kind, first = found.kind, workload.rows[found.row]
        persists = kind in workload.shape.persistent
        before = "step" if persists else "layer"
        raise WorkloadError(
            f"a {kind} comes back {'after it was evicted' if persists else 'within a step'}",
            where=f"{workload.where}, step {first['step']}, layer {first['layer']}",
            expected=f"{kind}s among the {found.before} of the {before} before: pruning is final within a "
            f"{'sequence' if persists else 'step'}",
            got=f"{found.ids} {kind}s, {found.returned} of them pruned before",
            remedy=f"ask for no more {kind}s than the {before} before, or for more there",
        )


def _returned_in_step(workload: Workload, kind: str) -> Return | None:
    rows = workload.rows
    starts = np.flatnonzero(begins(rows, "sequence", "step", "layer"))
    new_step = begins(rows, "sequence", "step")
    before = np.zeros(workload.shape.max_context if kind == "key" else workload.shape.heads, np.bool_)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
        ids: npt.NDArray[Any] = _keys(workload, start) if kind == "key" else rows["head"][start:end]
        if not new_step[start] and not before[ids].all():
            return Return(start, kind, int(before.sum()), len(ids), int((~before[ids]).sum()))
        before[:] = False
        before[ids] = True
    return None


def _returned_key(workload: Workload, kind: str) -> Return | None:
    """Keys of a KV head of a layer are those of the step before, and tokens that are new since then."""
    rows, shape = workload.rows, workload.shape
    held = np.empty((0, 0, 0), np.bool_)
    new_sequence = begins(rows, "sequence")
    for start in np.flatnonzero(begins(rows, "sequence", "step", "layer", "kv_head")).tolist():
        row = rows[start]
        if new_sequence[start]:
            held = np.ones((shape.layers, shape.kv_heads, shape.max_context), np.bool_)
        before, ids = held[row["layer"], row["kv_head"]], _keys(workload, start)
        if not before[ids].all():
            there = int(before[: row["context"]].sum())
            return Return(start, kind, there, len(ids), int((~before[ids]).sum()))
        before[: row["context"]] = False
        before[ids] = True
    return None


def _returned_head(workload: Workload, kind: str) -> Return | None:
    """A head that runs in a layer ran there in every step of the sequence so far."""
    rows, shape = workload.rows, workload.shape
    ran = np.empty((0, 0), np.int64)  # [layers, heads] steps in which it ran
    new_sequence, new_step = begins(rows, "sequence"), begins(rows, "sequence", "step")
    starts = np.flatnonzero(begins(rows, "sequence", "step", "layer"))
    steps = 0
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
        if new_sequence[start]:
            ran, steps = np.zeros((shape.layers, shape.heads), np.int64), 0
        steps += bool(new_step[start])
        heads, layer = rows["head"][start:end], rows["layer"][start]
        before = ran[layer] == steps - 1
        if not before[heads].all():
            return Return(start, kind, int(before.sum()), len(heads), int((~before[heads]).sum()))
        ran[layer, heads] += 1
    return None


def _keys(workload: Workload, row: int) -> npt.NDArray[Any]:
    first = workload.rows[row]
    ids: npt.NDArray[Any] = workload.key_ids[first["key_start"] :][: first["keys"]]
    return ids
