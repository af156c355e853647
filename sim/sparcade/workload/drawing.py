"""Seeded draws for workloads without a trace: ids, scores and the pass lists of selections.

Scores are uniform over the width of the engine that ranks them, so every order of the candidates is equally likely; a
pass list depends on little else. Every step has its own stream of random numbers, so a step's draws do not depend on
the steps beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.errors import ConfigError
from sparcade.policy.protocol import LOCAL_BITS
from sparcade.topk.params import IMPORTANCE_BITS
from sparcade.topk.selection import Selection, select
from sparcade.workload.builder import WorkloadBuilder
from sparcade.workload.csv_rules import candidates
from sparcade.workload.released import QUERY_BITS, ReleasedColumns, Table, has_lsb_plane, word_bits
from sparcade.workload.store import Workload, WorkloadShape
from sparcade.workload.tables import QUERY, begins

#: `WorkloadShape.ids` of what is made here.
SYNTHETIC = "synthetic"
_MOST_SEED = (1 << 64) - 1

Ids = npt.NDArray[np.uint32]


@dataclass(slots=True)
class StepDraw:
    """The draws of one step: which of its tokens are fetched, and the scores of its selections."""

    context: int  #: tokens before pruning
    rng: np.random.Generator
    _order: Ids = field(init=False)
    _known: dict[int, Ids] = field(default_factory=dict)

    def __post_init__(self) -> None:
        newest = self.context - 1
        self._order = np.concatenate([[newest], self.rng.permutation(newest)]).astype(np.uint32)

    def tokens(self, n: int) -> Ids:
        """[n] ascending ids, the newest token among them. A smaller set of a step is a part of every larger one.

        So a layer that asks for more keys than the layer before gets those of before, and some that were dropped.
        """
        if n not in self._known:
            self._known[n] = np.sort(self._order[:n])
        return self._known[n]

    def local(self, n: int, k: int) -> Selection:
        """A local V selection of k among n probabilities."""
        return self._select(n, k, LOCAL_BITS)

    def cascade(self, n: int, k: int) -> Selection:
        """A token or head selection of k among n candidates by importance."""
        return self._select(n, k, IMPORTANCE_BITS)

    def _select(self, n: int, k: int, bits: int) -> Selection:
        if k >= n:
            return Selection(kept=np.arange(n), passes=np.empty((0, 3), np.int64))
        return select(self.rng.integers(0, 1 << bits, n), k, bits)


def stream(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step; equal arguments give equal numbers.

    Raises
    ------
    ConfigError
        When the seed is negative or longer than 64 bits.
    """
    if not 0 <= seed <= _MOST_SEED:
        raise ConfigError(
            "the seed is outside its range",
            where="--seed",
            expected="an integer from 0, at most 64 bits",
            got=str(seed)[:40],
            remedy="--seed 0",
        )
    return np.random.default_rng((seed, step))


def draw_workload(
    table: Table,
    released: ReleasedColumns,
    *,
    name: str,
    policy: str,
    settings: dict[str, Any],
    seed: int,
    where: str,
) -> Workload:
    """Give RELEASED rows ids, scores and pass lists.

    Key ids of a step are nested over its layers and the same for all heads; the newest token is always among them. A
    later layer with more keys gets a superset. Values are those that a selection of v among n drawn probabilities
    keeps, per head (all, without a pass, when v = n). A row with `if_topk` gets a token selection of `topk` among its
    `candidates`; one that keeps all of them is bypassed and no event.

    Parameters
    ----------
    table : checked rows (`check_rows`).
    """
    builder = WorkloadBuilder()
    pool = candidates(table)
    starts = np.flatnonzero(begins(table, "iteration_id")).tolist()
    for start, end in zip(starts, [*starts[1:], len(table)], strict=True):
        step, context = int(table["iteration_id"][start]) + 1, int(table["sentence_length_L"][start])
        _add_step(builder, table[start:end], pool[start:end], StepDraw(context, stream(seed, step)))
    shape = WorkloadShape(
        name=name,
        layers=int(table["layer_id"].max()) + 1,
        heads=int(table["head_id"].max()) + 1,
        kv_heads=int(table["head_id"].max()) + 1,
        head_dim=int(table["embedding_length_D"][0]),
        max_context=int(table["sentence_length_L"].max()),
        policy=policy,
        policy_settings={**settings, "seed": seed},
        trace_hash="",
        ids=SYNTHETIC,
    )
    return builder.build(shape, released, where)


def _add_step(builder: WorkloadBuilder, table: Table, pool: npt.NDArray[np.int64], draw: StepDraw) -> None:
    """Append the rows of one iteration; pool [rows]: candidates of a selection behind each."""
    lsb_bits = np.where(has_lsb_plane(table), table["auto_requant_incre"], 0)
    msb_bits, value_bits = word_bits(table["quant_key_bit"]), word_bits(table["quant_value_bit"])
    for index, row in enumerate(table):
        keys, values = int(row["key_fetch_num"]), int(row["value_fetch_num"])
        key_ids = draw.tokens(keys)
        local = draw.local(keys, values)
        queries = np.zeros(1, QUERY)
        queries["token"], queries["visible"], queries["values"] = draw.context - 1, keys, values
        queries["refetch"] = row["if_requant"]
        if len(local.passes):
            queries["pass_start"], queries["passes"] = builder.add_passes(local.passes), len(local.passes)
        builder.add_row(
            key_ids=key_ids,
            value_ids=key_ids[local.kept],
            queries=queries,
            sequence=0,
            step=row["iteration_id"] + 1,
            layer=row["layer_id"],
            kv_head=row["head_id"],
            head=row["head_id"],
            context=draw.context,
            query_bits=QUERY_BITS,
            msb_bits=msb_bits[index],
            lsb_bits=lsb_bits[index],
            value_bits=value_bits[index],
            accumulate=row["if_accumulate_importance"],
            **_token_event(builder, draw, int(pool[index]), int(row["topk"])),
        )


def _token_event(builder: WorkloadBuilder, draw: StepDraw, n: int, k: int) -> dict[str, int]:
    """The columns of a token selection behind a row; none for k = -1, or for a selection of all."""
    if k < 0 or k >= n:
        return {}
    passes = draw.cascade(n, k).passes
    start = builder.add_passes(passes)
    return {"token_n": n, "token_k": k, "token_pass_start": start, "token_passes": len(passes)}
