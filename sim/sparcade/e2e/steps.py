"""Layer-steps: how many tokens, and which heads, each layer has in each step."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sparcade.e2e.model import FcModel
from sparcade.workload import Workload

#: Columns of a table of layer-steps. Step 0 is prefill; layer = number of layers is the LM head.
COLUMNS = ("sequence", "step", "layer", "tokens", "heads", "kv_heads")


def layer_steps(workload: Workload, model: FcModel, *, prune_heads: bool = False) -> pd.DataFrame:
    """[sequences x steps x layers] COLUMNS of a workload: the queries of a layer are the tokens of its FC part.

    A token that a layer's end prunes is spared from the next layer on. A layer without attention (all its heads are
    pruned, or its attention was dropped) keeps its FC part, with the tokens of the layer before (else behind).

    Parameters
    ----------
    prune_heads : pruned heads are absent from the QKV and output projections; by default they are not, as in Table IV.
    """
    frame = workload.rows_frame()[["sequence", "step", "layer", "kv_head", "queries"]]
    found = frame.groupby(["sequence", "step", "layer"]).agg(
        tokens=("queries", "max"), heads=("queries", "size"), kv_heads=("kv_head", "nunique")
    )
    steps = frame[["sequence", "step"]].drop_duplicates().itertuples(index=False)
    every = [(*step, layer) for step in steps for layer in range(model.layers)]
    table = found.reindex(pd.MultiIndex.from_tuples(every, names=found.index.names))
    tokens = table["tokens"].groupby(["sequence", "step"])
    table["tokens"] = tokens.ffill().groupby(["sequence", "step"]).bfill()
    if prune_heads:
        table[["heads", "kv_heads"]] = table[["heads", "kv_heads"]].fillna(0)
    else:
        table["heads"], table["kv_heads"] = model.heads, model.kv_heads or model.heads
    return _with_lm_head(table.astype(np.int64).reset_index(), model)


def generation(model: FcModel, *, steps: int = 0, prompt: int = 0) -> pd.DataFrame:
    """The same for a prompt of so many tokens (0: none) and decode steps of one token, nothing pruned."""
    tokens = [(0, prompt)] * (prompt > 0) + [(step, 1) for step in range(1, steps + 1)]
    rows = [
        (0, step, layer, count, model.heads, model.kv_heads or model.heads)
        for step, count in tokens
        for layer in range(model.layers)
    ]
    return _with_lm_head(pd.DataFrame(rows, columns=list(COLUMNS), dtype=np.int64), model)


def _with_lm_head(table: pd.DataFrame, model: FcModel) -> pd.DataFrame:
    """A row behind the last layer of each step for the LM head, which sees one token."""
    if not model.vocabulary:
        return table
    heads = table[["sequence", "step"]].drop_duplicates()
    heads = heads.assign(layer=model.layers, tokens=1, heads=0, kv_heads=0)
    return pd.concat([table, heads]).sort_values(["sequence", "step", "layer"], ignore_index=True)
