"""Texts from files: a document, one text per line, or the rows of a data set."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparcade.errors import ConfigError

#: Column of the text and of the label in a row of so many columns.
_COLUMNS = {1: (0, None), 2: (0, 1), 4: (3, 1)}
_LAYOUTS = (
    "columns SENTENCE; or SENTENCE, LABEL (SST-2); or SOURCE, LABEL, MARK, SENTENCE (CoLA); or a first row of names, "
    "one of them 'sentence' (GLUE)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text and where it comes from."""

    text: str
    where: str  #: file and line, for messages
    label: str | None = None  #: of a row of a data set


def default_split(source: str) -> str:
    """How a file is split unless it is said: a table of tab-separated values by rows, all else not at all."""
    return "rows" if Path(source).suffix.lower() == ".tsv" else "document"


def read_texts(source: str, split: str) -> list[Text]:
    """The texts of a file, or of standard input (`-`), in order; blank lines are no texts.

    `split` is "document", "lines" or "rows".

    Raises
    ------
    ConfigError
        If the file can't be read, is no UTF-8, holds no text, or has rows of another form.
    """
    whole = _read(source)
    splitters: dict[str, Callable[[str, str], list[Text]]] = {"document": _document, "lines": _lines, "rows": _rows}
    texts = splitters[split](whole, _name(source))
    if not texts:
        raise _error("the text is empty", _name(source), "at least one character that is not blank", "none")
    return texts


def _read(source: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error("the text is no UTF-8", source, "a text file in UTF-8", str(error)) from None
    except OSError as error:
        got = error.strerror or str(error)
        raise _error("the text can't be read", source, "a text file, or - for standard input", got) from error
    return text.replace("\r\n", "\n")


def _document(whole: str, where: str) -> list[Text]:
    return [Text(text=whole, where=where)] if whole.strip() else []


def _lines(whole: str, where: str) -> list[Text]:
    return [
        Text(text=line.strip(), where=f"{where}, line {number}")
        for number, line in enumerate(whole.split("\n"), 1)
        if line.strip()
    ]


def _rows(whole: str, where: str) -> list[Text]:
    table = [(number, line.split("\t")) for number, line in enumerate(whole.split("\n"), 1) if line.strip()]
    if not table:
        return []
    width = len(table[0][1])
    header = [name.strip().lower() for name in table[0][1]]
    if "sentence" in header and width > 1:
        text, label = header.index("sentence"), header.index("label") if "label" in header else None
        table = table[1:]
    elif width in _COLUMNS:
        text, label = _COLUMNS[width]
    else:
        raise _error("the table has another form", where, _LAYOUTS, f"{width} columns")
    texts = []
    for number, row in table:
        line = f"{where}, line {number}"
        if len(row) != width:
            raise _error("the rows differ in length", line, f"{width} columns as in the first row", str(len(row)))
        if row[text].strip():
            texts.append(Text(text=row[text].strip(), where=line, label=None if label is None else row[label].strip()))
    return texts


def _name(source: str) -> str:
    return "standard input" if source == "-" else Path(source).name


def _error(what: str, where: str, expected: str, got: str) -> ConfigError:
    remedy = "name a text file; --split says how it is split (document, lines, rows)"
    return ConfigError(what, where=where, expected=expected, got=got, remedy=remedy)
