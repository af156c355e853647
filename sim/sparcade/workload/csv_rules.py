"""What rows of the released form must agree on, beyond each cell by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade.errors import WorkloadError
from sparcade.workload.csv_text import Place
from sparcade.workload.released import LSB_INCREMENT, MSB_WIDTHS, Table
from sparcade.workload.tables import begins

Flags = npt.NDArray[np.bool_]
#: Most K and V vectors of one file: bounds the memory of an import, at its peak about 17 bytes a vector.
MOST_VECTORS = 1 << 27


class _Rule(NamedTuple):
    """A rule: rows that break it, the column to look at, and what to say; texts may name columns of the row."""

    broken: Flags
    column: str
    what: str
    expected: str
    remedy: str


def check_rows(table: Table, place: Place) -> None:
    """Hold the order of the rows and what their columns must agree on.

    Raises
    ------
    WorkloadError
        For the first row that breaks a rule, with its line and column.
    """
    for rule in _rules(table):
        if rule.broken.any():
            row = int(rule.broken.argmax())
            cells: dict[str, Any] = {name: table[name][row] for name in table.dtype.names or ()}
            raise WorkloadError(
                rule.what,
                where=place.at(row, rule.column),
                expected=rule.expected.format(**cells),
                got=str(cells[rule.column]),
                remedy=rule.remedy.format(**cells),
            )


def _rules(table: Table) -> Iterator[_Rule]:
    layer_begins = begins(table, "iteration_id", "layer_id")
    step_begins = begins(table, "iteration_id")
    yield from _order(table, layer_begins, step_begins)
    first = np.maximum.accumulate(np.where(step_begins, np.arange(len(table)), 0))
    context, keys, bits = table["sentence_length_L"], table["key_fetch_num"], table["quant_key_bit"]
    yield _Rule(
        table["embedding_length_D"] != table["embedding_length_D"][0],
        "embedding_length_D",
        "the head size differs from the first row's",
        f"{table['embedding_length_D'][0]} in all rows",
        "use one file per model",
    )
    yield _Rule(
        context != context[first],
        "sentence_length_L",
        "the context differs within an iteration",
        "the length of the iteration's first row",
        "all heads of a generation step have the same context",
    )
    yield _Rule(
        keys > context,
        "key_fetch_num",
        "more keys than the context has",
        "at most {sentence_length_L} (sentence_length_L)",
        "lower key_fetch_num",
    )
    yield _Rule(
        table["value_fetch_num"] > keys,
        "value_fetch_num",
        "more values than keys",
        "at most {key_fetch_num} (key_fetch_num): local V pruning keeps a part of the keys",
        "lower value_fetch_num",
    )
    yield from _precision(table, bits)
    yield from _selections(table, layer_begins)
    vectors = np.cumsum(keys + table["value_fetch_num"])
    yield _Rule(
        vectors > MOST_VECTORS,
        "key_fetch_num",
        "the file asks for more vectors than an import can hold",
        f"at most {MOST_VECTORS:,} keys and values in all rows",
        "split the file by iterations",
    )


def _order(table: Table, layer_begins: Flags, step_begins: Flags) -> Iterator[_Rule]:
    before = {name: np.r_[-1, table[name][:-1]] for name in ("iteration_id", "layer_id", "head_id")}
    inside = ~layer_begins
    yield _Rule(
        table["iteration_id"] < before["iteration_id"],
        "iteration_id",
        "the rows are out of order",
        "iteration, layer and head ascending",
        "sort the rows",
    )
    yield _Rule(
        ~step_begins & (table["layer_id"] < before["layer_id"]),
        "layer_id",
        "the rows are out of order",
        "iteration, layer and head ascending",
        "sort the rows",
    )
    yield _Rule(
        inside & (table["head_id"] == before["head_id"]),
        "head_id",
        "a row stands twice",
        "each (iteration, layer, head) once; before it: ({iteration_id}, {layer_id}, {head_id})",
        "remove one of the two",
    )
    yield _Rule(
        inside & (table["head_id"] < before["head_id"]),
        "head_id",
        "the rows are out of order",
        "iteration, layer and head ascending",
        "sort the rows",
    )
    yield _Rule(
        np.where(inside, table["head_id"] != before["head_id"] + 1, table["head_id"] != 0),
        "head_id",
        "the heads of a layer are not contiguous",
        "0, 1, 2, ... in every layer: heads that survive are numbered anew",
        "number the heads of the layer from 0, or add the missing row",
    )


def _precision(table: Table, bits: Table) -> Iterator[_Rule]:
    needs = table["if_requant"]
    widths = ", ".join(map(str, MSB_WIDTHS))
    yield _Rule(
        needs & ~np.isin(bits, MSB_WIDTHS),
        "if_requant",
        "a single-plane key has no LSBs to fetch",
        f"False, or quant_key_bit one of {widths}; quant_key_bit is {{quant_key_bit}} here",
        "set if_requant to False (10, 12 and -1 fetch all bits at once), or use 8 + 4 bits",
    )
    yield _Rule(
        needs & (table["auto_requant_incre"] != LSB_INCREMENT),
        "auto_requant_incre",
        "a row needs LSBs but the increment is not 4",
        f"{LSB_INCREMENT}, the width of the LSB plane",
        "set auto_requant_incre to 4, or if_requant to False",
    )


def _selections(table: Table, layer_begins: Flags) -> Iterator[_Rule]:
    asked, k = table["if_topk"], table["topk"]
    yield _Rule(
        asked & (k < 1),
        "topk",
        "a selection keeps no token",
        "an integer from 1: if_topk is True",
        "give topk, or set if_topk to False",
    )
    yield _Rule(
        ~asked & (k != -1),
        "topk",
        "topk without a selection",
        "-1: if_topk is False",
        "set topk to -1, or if_topk to True",
    )
    yield _Rule(
        asked & ~np.append(layer_begins[1:], True),
        "if_topk",
        "a selection before the last head of its layer",
        "False: only the last head of a layer is followed by a selection",
        "move if_topk and topk to the layer's last head",
    )
    yield _Rule(
        asked & (k > candidates(table)),
        "topk",
        "a selection keeps more tokens than it has candidates",
        "at most the keys of this layer, or the context after an iteration's last layer",
        "lower topk",
    )


def candidates(table: Table) -> npt.NDArray[np.int64]:
    """[rows] Tokens that a selection behind each row ranks.

    The keys of the row while its iteration goes on; behind an iteration's last layer the whole context of the next
    iteration (every step starts from all tokens again), as far as it exists yet: the newest token is not ranked.
    """
    ends_step = np.append(begins(table, "iteration_id")[1:], True)
    context = table["sentence_length_L"]
    following = np.append(context[1:], context[-1])
    ranked: npt.NDArray[np.int64] = np.where(ends_step, np.minimum(following, context), table["key_fetch_num"])
    return ranked
