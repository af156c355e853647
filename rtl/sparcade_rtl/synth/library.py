"""A cell library in Liberty format: what the reports need of it, its areas, its buffer and its NAND gate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparcade.errors import ConfigError

#: OSU's 0.18 um library (TSMC rules, 1.8 V, typical), as Debian's qflow-tech-osu018 installs it.
DEFAULT_LIBRARY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

_CELL = re.compile(r'\bcell\s*\(\s*"?([\w$]+)"?\s*\)\s*\{')
_AREA = re.compile(r"\barea\s*:\s*([\d.eE+-]+)")
_INPUT = re.compile(r'\bdirection\s*:\s*"?input\b')
_FUNCTION = re.compile(r'\bfunction\s*:\s*"([^"]*)"')
_STATE = re.compile(r"\bff\s*\(")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BUFFER = re.compile(r"\(?\w+\)?")
_NAND2 = re.compile(r"\(?(!\(\w+[ *&]\w+\)|\w+'[+|]\w+'|!\w+[+|]!\w+)\)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Areas in the library's unit, um^2 as a rule."""

    path: Path
    text: str
    areas: dict[str, float]
    flip_flops: frozenset[str]
    buffer: str  #: the smallest: drives the inputs of a block
    nand2: str  #: the smallest: unit of the equivalents

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.stem


def read_library(path: Path) -> Library:
    """Read a library.

    Raises
    ------
    ConfigError
        When it cannot be read, or lacks what every library has.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, "a text file in Liberty format", str(error)) from error
    areas, flip_flops, buffers, nands = {}, set(), [], []
    for name, body in _cells(_COMMENT.sub("", text)):
        area = _AREA.search(body)
        areas[name] = float(area[1]) if area else 0.0
        functions = _FUNCTION.findall(body)
        if _STATE.search(body):
            flip_flops.add(name)
        elif len(functions) == 1:
            function, inputs = functions[0].strip(), len(_INPUT.findall(body))
            if inputs == 1 and _BUFFER.fullmatch(function):
                buffers.append(name)
            if inputs == 2 and _NAND2.fullmatch(function):
                nands.append(name)
    for found, what in ((flip_flops, "a flip-flop"), (buffers, "a buffer"), (nands, "a two-input NAND gate")):
        if not found:
            raise _bad(path, f"a library of cells with {what}", f"{len(areas)} cells without one")
    buffer, nand2 = (min(names, key=lambda name: (areas[name], name)) for names in (buffers, nands))
    return Library(path=path, text=text, areas=areas, flip_flops=frozenset(flip_flops), buffer=buffer, nand2=nand2)


def _cells(text: str) -> Iterator[tuple[str, str]]:
    """Name and body of each cell; a body ends at the brace that closes it."""
    for match in _CELL.finditer(text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield match[1], text[match.end() : end]


def _bad(path: Path, expected: str, got: str) -> ConfigError:
    return ConfigError(
        "the cell library cannot be used",
        where=str(path),
        expected=expected,
        got=got,
        remedy="name another file with --liberty, or install one: apt-get install qflow-tech-osu018",
    )
