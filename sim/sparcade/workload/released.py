"""The columns of the released workload files, and what of a file the two tables of a workload cannot express.

One row of such a file is one query of one head in one generation step (mit-han-lab/spatten, the workloads of its
hardware test bench). Iteration i is step i + 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade.workload.tables import begins

if TYPE_CHECKING:
    from sparcade.workload.store import Workload

Table = npt.NDArray[Any]
Value = int | float | bool

#: Widths of K and V words that a row can ask for: -1 is an unquantised run, 32-bit words in a workload.
WIDTHS = (-1, 4, 6, 8, 10, 12)
#: Widths of K that the LSB increment of 4 can be added to; 10 and 12 bits are a single plane.
MSB_WIDTHS = (4, 6, 8)
#: Bits of the LSB plane.
LSB_INCREMENT = 4
#: Bits that Q is charged at, whatever `quant_query_bit` says.
QUERY_BITS = 12

_INTEGER = re.compile(r"-?\d{1,10}(\.0{1,6})?", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,10}(\.\d{1,20})?(e-\d{1,2})?", re.ASCII)


class Column(NamedTuple):
    """How a column is stored and read."""

    dtype: str
    expected: str  #: what a cell may hold, for errors
    parse: Callable[[str], Value | None]  #: None: the text is nothing of the kind


def _count(low: int, high: int) -> Column:
    return Column("i8", f"an integer from {low} to {high}", lambda text: _between(integer(text), low, high))


def _count_or_none(low: int, high: int) -> Column:
    expected = f"-1 for none, or an integer from {low} to {high}"
    return Column("i8", expected, lambda text: -1 if integer(text) == -1 else _between(integer(text), low, high))


def _one_of(values: tuple[int, ...]) -> Column:
    def parse(text: str) -> int | None:
        value = integer(text)
        return value if value in values else None

    return Column("i8", "one of " + ", ".join(map(str, values)), parse)


def _threshold(text: str) -> float | None:
    value = float(text) if _DECIMAL.fullmatch(text) else None
    return value if value is not None and (value == -1 or 0 <= value <= 1) else None


def integer(text: str) -> int | None:
    """The integer that a text such as '64' or '64.0' spells, or None."""
    return int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else None


def _between(value: int | None, low: int, high: int) -> int | None:
    return value if value is not None and low <= value <= high else None


_FLAG = Column("?", "True or False", lambda text: {"True": True, "False": False}.get(text))
_MOST_TOKENS = 1 << 22

#: The 17 columns in the order of the released files.
COLUMNS = {
    "iteration_id": _count(0, 10**6),
    "layer_id": _count(0, (1 << 10) - 1),
    "head_id": _count(0, (1 << 10) - 1),
    "embedding_length_D": _count(1, 1 << 13),
    "sentence_length_L": _count(1, _MOST_TOKENS),
    "key_fetch_num": _count(1, _MOST_TOKENS),
    "quant_key_bit": _one_of(WIDTHS),
    "quant_query_bit": _count_or_none(1, 64),
    "auto_requant_thres": Column("f8", "-1 for none, or a probability from 0 to 1", _threshold),
    "if_requant": _FLAG,
    "auto_requant_incre": _one_of((-1, LSB_INCREMENT)),
    "value_fetch_num": _count(1, _MOST_TOKENS),
    "quant_value_bit": _one_of(WIDTHS),
    "if_accumulate_importance": _FLAG,
    "if_rescale_previous_importance": _FLAG,
    "if_topk": _FLAG,
    "topk": _count_or_none(1, _MOST_TOKENS),
}
#: One row as numbers.
RELEASED = np.dtype([(name, column.dtype) for name, column in COLUMNS.items()])
#: The columns of a row that have no place in `rows` and `queries` (topk: a selection of all candidates is no event).
EXTRA = np.dtype(
    [
        ("quant_query_bit", "i2"),
        ("auto_requant_thres", "f8"),
        ("auto_requant_incre", "i2"),
        ("if_rescale_previous_importance", "?"),
        ("topk", "i4"),
    ]
)
#: A line whose text the columns do not give: header, comment, or a row spelled in another way than the released files.
LITERAL = np.dtype([("line", "u4"), ("bytes", "u4"), ("row", "?")])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedColumns:
    """What a workload carries to become its CSV file again."""

    extra: Table  #: [rows] EXTRA
    literals: Table  #: LITERAL, ascending by line; the first is the header
    text: npt.NDArray[np.uint8]  #: UTF-8 of the literal lines, each with its line end

    def arrays(self) -> dict[str, Table]:
        """The arrays by their names in a workload file."""
        return {name: getattr(self, field) for name, (field, _) in RELEASED_ARRAYS.items()}


#: Arrays of a workload file that only workloads of the released form have: field, type.
RELEASED_ARRAYS = {
    "released_extra": ("extra", EXTRA),
    "released_literals": ("literals", LITERAL),
    "released_text": ("text", np.dtype("u1")),
}


def extra_of(table: Table) -> Table:
    """The columns of RELEASED rows that the two tables cannot hold."""
    extra = np.zeros(len(table), EXTRA)
    for name in EXTRA.names or ():
        extra[name] = table[name]
    return extra


def word_bits(given: Table) -> Table:
    """Bits of the words in a workload: -1 is 32."""
    bits: Table = np.where(given == -1, 32, given)
    return bits


def has_lsb_plane(table: Table) -> Table:
    """[rows] K has an LSB plane: 4, 6 or 8 bits with an increment of 4."""
    holds: Table = np.isin(table["quant_key_bit"], MSB_WIDTHS) & (table["auto_requant_incre"] == LSB_INCREMENT)
    return holds


def table_of(workload: Workload, extra: Table | None) -> Table:
    """RELEASED rows of a workload with one query a row; without `extra` the columns it would fill are absent (-1)."""
    rows, queries = workload.rows, workload.queries
    table = np.zeros(len(rows), RELEASED)
    first: Table = np.flatnonzero(begins(rows, "sequence", "step", "layer"))
    sizes = np.diff(np.append(first, len(rows)))
    table["iteration_id"] = rows["step"].astype(np.int64) - 1
    table["layer_id"] = rows["layer"]
    table["head_id"] = np.arange(len(rows)) - np.repeat(first, sizes)
    table["embedding_length_D"] = workload.shape.head_dim
    table["sentence_length_L"] = rows["context"]
    table["key_fetch_num"] = rows["keys"]
    table["value_fetch_num"] = queries["values"]
    table["quant_key_bit"] = np.where(rows["msb_bits"] == 32, -1, rows["msb_bits"].astype(np.int64))
    table["quant_value_bit"] = np.where(rows["value_bits"] == 32, -1, rows["value_bits"].astype(np.int64))
    table["if_requant"] = queries["refetch"]
    table["if_accumulate_importance"] = rows["accumulate"]
    if extra is None:
        table["quant_query_bit"] = table["auto_requant_thres"] = -1
        table["auto_requant_incre"] = np.where(rows["lsb_bits"] > 0, rows["lsb_bits"].astype(np.int64), -1)
        table["topk"] = np.where(rows["token_n"] > 0, rows["token_k"].astype(np.int64), -1)
    else:
        for name in EXTRA.names or ():
            table[name] = extra[name]
    table["if_topk"] = table["topk"] > 0
    return table
