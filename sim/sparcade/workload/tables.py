"""The two tables of a workload: `rows` (one per head of a layer of a step) and `queries` (one per query of a row).

Variable-length parts (key ids, value ids, pass lists) stand in flat arrays; a row or query holds start and count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: One row: head `head` of layer `layer` in step `step`; rows are sorted by sequence, step, layer, KV head, head.
ROW = np.dtype(
    [
        ("sequence", "u4"),
        ("step", "u4"),  # 0 is prefill
        ("layer", "u4"),
        ("kv_head", "u4"),
        ("head", "u4"),
        ("context", "u4"),  # tokens before pruning (L0)
        ("query_bits", "u1"),
        ("msb_bits", "u1"),  # K plane that is always fetched
        ("lsb_bits", "u1"),  # K plane fetched on refetch, 0 for none
        ("value_bits", "u1"),
        ("accumulate", "?"),  # importance is accumulated: a later token selection reads it
        ("key_start", "i8"),  # into key_ids
        ("keys", "u4"),
        ("value_start", "i8"),  # into value_ids: values some query of the row needs
        ("values", "u4"),
        ("query_start", "i8"),  # into queries
        ("queries", "u4"),
        ("token_n", "u4"),  # cascade token selection at the end of this row's layer: candidates (0: none)
        ("token_k", "u4"),
        ("token_pass_start", "i8"),  # into passes
        ("token_passes", "u4"),
        ("head_n", "u4"),  # cascade head selection, likewise
        ("head_k", "u4"),
        ("head_pass_start", "i8"),
        ("head_passes", "u4"),
    ]
)

#: One query of a row.
QUERY = np.dtype(
    [
        ("token", "u4"),
        ("visible", "u4"),  # keys it may attend to: the first `visible` of the row's key ids
        ("values", "u4"),  # V vectors it weighs
        ("refetch", "?"),  # its LSB decision: recomputed once with the LSB plane
        ("pass_start", "i8"),  # into passes: its local V selection
        ("passes", "u4"),  # 0: bypassed
    ]
)

#: One quick-select pass.
PASS = np.dtype([("size", "u4"), ("greater", "u4"), ("equal", "u4")])


def begins(rows: npt.NDArray[Any], *names: str) -> npt.NDArray[np.bool_]:
    """[rows] True where any of the columns differs from the row before; the first row begins everything."""
    first = np.ones(len(rows), np.bool_)
    first[1:] = np.any([rows[name][1:] != rows[name][:-1] for name in names], axis=0)
    return first
