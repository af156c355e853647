"""Text of the released CSV form to columns and back, without loss; what is wrong is told with line and column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from sparcade.errors import WorkloadError, did_you_mean
from sparcade.workload.released import COLUMNS, LITERAL, RELEASED, ReleasedColumns, Table, Value, extra_of, integer

#: The header line of the released files.
HEADER = ",".join(COLUMNS) + "\n"
_MARK = "\ufeff"
_SHOWN = 60


class Place(NamedTuple):
    """Where the rows of a table stand, to name them in errors."""

    name: str  #: the file, or the generator
    lines: Sequence[int]  #: [rows] line of each row, from 1
    columns: Sequence[str] = tuple(COLUMNS)  #: names in the order of the header

    def at(self, row: int, column: str | None = None) -> str:
        """Line and column of a cell."""
        return place(self.name, self.lines[row], column, self.columns)


def place(name: str, line: int, column: str | None = None, columns: Sequence[str] = tuple(COLUMNS)) -> str:
    """File, line and column in words."""
    where = f"{name}, line {line:,}"
    return where if column is None else f"{where}, column {columns.index(column) + 1} ({column})"


class CsvText(NamedTuple):
    """A file taken apart."""

    table: Table  #: [rows] RELEASED
    released: ReleasedColumns
    place: Place


def parse_csv(data: bytes, name: str) -> CsvText:
    """Take a CSV file apart: rows as numbers, and the text of every line that the numbers do not give.

    The columns may stand in any order. A row is a comment when it begins with `#`, or when its first cell is no number
    and all its other cells are empty (the released files end with the name of a configuration).

    Raises
    ------
    WorkloadError
        With line and column, for text that is not UTF-8, a header with other columns, or a cell that does not fit.
    """
    lines = _decode(data, name).split("\n")
    ends = [line + "\n" for line in lines[:-1]] + [lines[-1]] * (lines[-1] != "")
    if not ends:
        _refuse("the file is empty", name, f"a header line: {HEADER.strip()}", "no bytes", "check the file")
    columns = _header(ends[0], name)
    end = "\r\n" if ends[0].endswith("\r\n") else "\n"
    cells, numbers = _cells(ends, columns, name)
    values = _values(cells, numbers, columns, name)
    table = np.empty(len(numbers), RELEASED)
    for column, column_values in values.items():
        table[column] = column_values
    fresh = dict(zip(numbers, _canonical(table, end), strict=True))
    literals = [(line, text) for line, text in enumerate(ends, start=1) if fresh.get(line) != text]
    released = _released(table, [(line - 1, text, line in fresh) for line, text in literals])
    return CsvText(table, released, Place(name, numbers, columns))


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        begin = data.rfind(b"\n", 0, error.start) + 1
        line = data.count(b"\n", 0, error.start) + 1
        column = data.count(b",", begin, error.start) + 1
        _refuse(
            "the file is not UTF-8 text",
            f"{name}, line {line:,}, column {column}",
            "UTF-8",
            f"byte 0x{data[error.start]:02x}",
            "save it as UTF-8, or remove the byte",
        )


def _header(line: str, name: str) -> list[str]:
    names = [cell.strip() for cell in line.removeprefix(_MARK).split(",")]
    expected = f"the columns {', '.join(COLUMNS)}"
    for number, column in enumerate(names, start=1):
        where = f"{name}, line 1, column {number}"
        if column not in COLUMNS:
            got = repr(column[:_SHOWN])
            _refuse("there is no such column", where, expected, got, did_you_mean(column, COLUMNS, "remove it"))
        if names.index(column) != number - 1:
            _refuse("a column stands twice", where, expected, repr(column), "remove one of the two")
    for number, column in enumerate(COLUMNS, start=1):
        if column not in names:
            where = f"{name}, line 1, column {number} ({column})"
            _refuse("a column is missing", where, expected, f"{len(names)} columns without it", "add the column")
    return names


def _cells(ends: list[str], columns: list[str], name: str) -> tuple[list[list[str]], list[int]]:
    """The cells of every row that is no comment, and their line numbers."""
    cells, numbers = [], []
    for number, line in enumerate(ends[1:], start=2):
        parts = [part.strip() for part in line.split(",")]
        if _is_comment(parts):
            continue
        if len(parts) != len(columns):
            _refuse(
                "the row has another number of cells than the header",
                f"{place(name, number)}, column {min(len(parts), len(columns)) + 1}",
                f"{len(columns)} cells",
                f"{len(parts)} cells",
                "add or remove cells; a comment begins with '#'",
            )
        cells.append(parts)
        numbers.append(number)
    if not cells:
        _refuse(
            "the file has no rows",
            place(name, len(ends)),
            "at least one row of numbers below the header",
            f"{len(ends) - 1} lines of comments",
            "add rows, or name another file",
        )
    return cells, numbers


def _is_comment(parts: list[str]) -> bool:
    return parts[0].startswith("#") or not (any(parts[1:]) or _is_number(parts[0]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _values(cells: list[list[str]], numbers: list[int], columns: list[str], name: str) -> dict[str, list[Value]]:
    values: dict[str, list[Value]] = {}
    for index, column in enumerate(columns):
        known: dict[str, Value] = {}  # few texts occur, each very often
        values[column] = read = []
        for parts, number in zip(cells, numbers, strict=True):
            text = parts[index]
            if text not in known:
                value = COLUMNS[column].parse(text)
                if value is None:
                    _refuse(
                        _what(text, column),
                        place(name, number, column, columns),
                        COLUMNS[column].expected,
                        repr(text[:_SHOWN]),
                        _remedy(column),
                    )
                known[text] = value
            read.append(known[text])
    return values


def _what(text: str, column: str) -> str:
    if not text:
        return "the cell is empty"
    if COLUMNS[column].dtype == "?":
        return "the cell is neither True nor False"
    if not _is_number(text):
        return "the cell is not a number"
    if column == "auto_requant_thres":
        return "the threshold is no probability"
    if integer(text) is None:
        return "the cell is not an integer"
    if column.startswith("quant_") or column == "auto_requant_incre":
        return "the format cannot express these bits"
    return "the number is out of range"


def _remedy(column: str) -> str:
    if column in ("quant_key_bit", "quant_value_bit"):
        return "use the next larger width; -1 stands for 32-bit words"
    if column == "auto_requant_incre":
        return "use 4, the width of the LSB plane; -1 for none"
    return "correct the cell; a comment line begins with '#'"


def write_csv(table: Table, released: ReleasedColumns) -> str:
    """The text of RELEASED rows with the literal lines in their places: what `parse_csv` took apart."""
    text = released.text.tobytes()
    ends = np.cumsum(released.literals["bytes"], dtype=np.int64).tolist()
    pieces = [text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
    rows = _canonical(table, "\r\n" if pieces[0].endswith("\r\n") else "\n")
    lines: list[str] = []
    for (line, _, is_row), piece in zip(released.literals.tolist(), pieces, strict=True):
        while len(lines) < line:
            lines.append(next(rows))
        if is_row:
            next(rows)
        lines.append(piece)
    return "".join([*lines, *rows])


def plain_columns(table: Table, comment: str | None = None) -> ReleasedColumns:
    """The columns of rows that come from no file: header, rows as the released files spell them, a closing comment."""
    closing = [(len(table) + 1, f"{comment}{',' * (len(COLUMNS) - 1)}\n", False)] if comment is not None else []
    return _released(table, [(0, HEADER, False), *closing])


def _released(table: Table, literals: list[tuple[int, str, bool]]) -> ReleasedColumns:
    encoded = [text.encode() for _, text, _ in literals]
    index = [(line, len(text), is_row) for (line, _, is_row), text in zip(literals, encoded, strict=True)]
    return ReleasedColumns(
        extra=extra_of(table),
        literals=np.array(index, LITERAL),
        text=np.frombuffer(b"".join(encoded), np.uint8),
    )


def _canonical(table: Table, end: str) -> Iterator[str]:
    """Rows as the released files spell them: D with a decimal point, the threshold as short as it reads back."""
    spell: list[Callable[[Any], str]] = [str] * len(COLUMNS)
    spell[list(COLUMNS).index("embedding_length_D")] = lambda value: f"{value}.0"
    spell[list(COLUMNS).index("auto_requant_thres")] = lambda value: "-1" if value == -1 else repr(value)
    columns = [map(write, table[name].tolist()) for write, name in zip(spell, COLUMNS, strict=True)]
    return (",".join(cells) + end for cells in zip(*columns, strict=True))


def is_consistent(table: Table, released: ReleasedColumns) -> bool:
    """Whether the literal lines fit into the rows, and what is written reads back as the same rows."""
    literals, text = released.literals, released.text
    comments = int((~literals["row"]).sum()) if len(literals) else 0
    fits = (
        len(released.extra) == len(table)
        and len(literals) > 0
        and not literals["row"][0]
        and literals["line"][0] == 0
        and bool((literals["line"][1:] > literals["line"][:-1]).all())
        and int(literals["line"][-1]) < len(table) + comments
        and int(literals["row"].sum()) <= len(table)
        and int(literals["bytes"].sum(dtype=np.int64)) == len(text)
    )
    if not fits:
        return False
    try:
        again = parse_csv(write_csv(table, released).encode(), "workload")
    except (WorkloadError, UnicodeDecodeError, StopIteration):
        return False
    return np.array_equal(again.table, table)


def _refuse(what: str, where: str, expected: str, got: str, remedy: str) -> NoReturn:
    raise WorkloadError(what, where=where, expected=expected, got=got, remedy=remedy)
