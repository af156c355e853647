"""The cascade within a step: what a layer fetches is among what the layer before it fetched."""

from __future__ import annotations

import numpy as np

from sparcade.errors import WorkloadError
from sparcade.workload.store import Workload
from sparcade.workload.tables import begins


def check_cascade(workload: Workload) -> None:
    """Hold that no token and no head comes back within a step: the hardware dropped its place in the buffers.

    Replays and generators keep to it; an imported file may not.

    Raises
    ------
    WorkloadError
        For the first layer with a token or a head that the layer before it did not have.
    """
    rows = workload.rows
    starts = np.flatnonzero(begins(rows, "sequence", "step", "layer"))
    new_step = begins(rows, "sequence", "step")
    alive = {"key": np.zeros(workload.shape.max_context, np.bool_), "head": np.zeros(workload.shape.heads, np.bool_)}
    for start, end in zip(starts, np.append(starts[1:], len(rows)), strict=True):
        first = rows[start]
        keys = workload.key_ids[first["key_start"] :][: first["keys"]]
        for kind, ids in (("key", keys), ("head", rows["head"][start:end])):
            before = alive[kind]
            if not new_step[start] and not before[ids].all():
                raise WorkloadError(
                    f"a {kind} comes back within a step",
                    where=f"{workload.where}, step {first['step']}, layer {first['layer']}",
                    expected=f"{kind}s among the {np.count_nonzero(before)} of the layer before: "
                    "pruning is final within a step",
                    got=f"{len(ids)} {kind}s, {np.count_nonzero(~before[ids])} of them pruned before",
                    remedy=f"ask for no more {kind}s than the layer before, or for more there",
                )
            before[:] = False
            before[ids] = True
