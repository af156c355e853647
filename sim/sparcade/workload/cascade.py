"""The cascade within a step: what a layer fetches is among what the layer before it fetched."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade.errors import WorkloadError
from sparcade.workload.store import Workload
from sparcade.workload.tables import begins


class Return(NamedTuple):
    """Tokens or heads of a layer that the layer before it, in the same step, did not have."""

    row: int  #: first row of the layer
    kind: str  #: "key" or "head"
    before: int  #: ids of the layer before
    ids: int  #: ids of this layer
    returned: int  #: of them, pruned before


def find_return(workload: Workload) -> Return | None:
    """The first return of a pruned token or head within a step; None in a cascade."""
    rows = workload.rows
    starts = np.flatnonzero(begins(rows, "sequence", "step", "layer"))
    new_step = begins(rows, "sequence", "step")
    alive = {"key": np.zeros(workload.shape.max_context, np.bool_), "head": np.zeros(workload.shape.heads, np.bool_)}
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
        first = rows[start]
        keys = workload.key_ids[first["key_start"] :][: first["keys"]]
        layer: tuple[tuple[str, npt.NDArray[Any]], ...] = (("key", keys), ("head", rows["head"][start:end]))
        for kind, ids in layer:
            before = alive[kind]
            if not new_step[start] and not before[ids].all():
                return Return(start, kind, int(before.sum()), len(ids), int((~before[ids]).sum()))
            before[:] = False
            before[ids] = True
    return None


def check_cascade(workload: Workload) -> None:
    """Hold that no token and no head comes back within a step: the hardware dropped its place in the buffers.

    Replays and generators keep to it; an imported file may not.

    Raises
    ------
    WorkloadError
        For the first layer with a token or a head that the layer before it did not have.
    """
    found = find_return(workload)
    if found is not None:
        kind, first = found.kind, workload.rows[found.row]
        raise WorkloadError(
            f"a {kind} comes back within a step",
            where=f"{workload.where}, step {first['step']}, layer {first['layer']}",
            expected=f"{kind}s among the {found.before} of the layer before: pruning is final within a step",
            got=f"{found.ids} {kind}s, {found.returned} of them pruned before",
            remedy=f"ask for no more {kind}s than the layer before, or for more there",
        )
