"""Request streams: text of `R 0xADDRESS` and `W 0xADDRESS` lines, plain or gzip, read in chunks of constant size."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade.errors import StreamError

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

#: Bytes read at once.
_CHUNK = 1 << 20
#: What reading a damaged file raises.
UNREADABLE = (OSError, EOFError, zlib.error)
#: No address of a device is longer.
_MAX_DIGITS = 12
_NEWLINE, _RETURN, _SPACE, _TAB, _HASH = (ord(letter) for letter in "\n\r \t#")
_ZERO, _NINE, _A, _F, _LOWER = ord("0"), ord("9"), ord("a"), ord("f"), 0x20
_READ, _WRITE, _X = ord("r"), ord("w"), ord("x")


def read_stream(path: Path, address_limit: int) -> Iterator[Ints]:
    """Chunks of requests, each address * 2 + write; `-` reads standard input.

    Blank lines and lines that begin with `#` are skipped.

    Raises
    ------
    StreamError
        For a malformed line, or an address beyond `address_limit`: with file and line.
    """
    lines, rest = 0, b""
    with open_stream(path) as source:
        while True:
            try:
                block = source.read(_CHUNK)
            except UNREADABLE as error:
                raise _error(
                    path, lines + 1, "the file cannot be read", "text, or a whole gzip file", str(error)
                ) from error
            text = rest + block if block else rest + b"\n"
            end = text.rfind(b"\n") + 1
            text, rest = text[:end], text[end:]
            if len(rest) > _CHUNK:
                raise _error(path, lines + 1, "the line is malformed", _LINE, "a line longer than a mebibyte")
            requests = np.empty(len(text) // 4 + 1, np.int64)
            count, done, bad = parse(np.frombuffer(text, np.uint8), requests, address_limit)
            lines += done
            if bad >= 0:
                got = text[bad : text.index(b"\n", bad)][:60].decode(errors="replace")
                if requests[count]:
                    raise _error(
                        path,
                        lines + 1,
                        "the address is beyond the device",
                        f"below {address_limit:#x} ({address_limit >> 20} MiB in all channels)",
                        got,
                        "use more channels or a larger device",
                    )
                raise _error(path, lines + 1, "the line is malformed", _LINE, got)
            if count:
                yield requests[:count]
            if not block:
                return


_LINE = "'R 0xADDRESS' or 'W 0xADDRESS' with at most 12 hexadecimal digits"


@contextmanager
def open_stream(path: Path) -> Iterator[BinaryIO]:
    """A plain or gzip file (told by its first bytes), a pipe, or standard input for `-`."""
    with ExitStack() as stack:
        raw = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
        source = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))
        if source.peek(2)[:2] == b"\x1f\x8b":
            yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=source)))
        else:
            yield cast(BinaryIO, source)
        if source is not raw:
            source.detach()


def _error(path: Path, line: int, what: str, expected: str, got: str, remedy: str = "correct the line") -> StreamError:
    return StreamError(what, where=f"{path}, line {line:,}", expected=expected, got=repr(got), remedy=remedy)


@kernel
def parse(text: Bytes, requests: Ints, limit: int) -> tuple[int, int, int]:
    """Parse whole lines: (requests, lines, where a bad line begins or -1).

    For a bad line `requests[count]` is 1 when its address is beyond the limit, else 0.
    """
    count, lines, at, size = 0, 0, 0, len(text)
    while at < size:
        begin = at
        while text[at] == _SPACE or text[at] == _TAB:
            at += 1
        first = at
        while text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN:
            at += 1
        if text[at] == _NEWLINE or text[first] == _HASH:
            while text[at] != _NEWLINE:
                at += 1
            at += 1
            lines += 1
            continue
        at = first
        kind = text[at] | _LOWER
        requests[count] = 0
        if (kind != _READ and kind != _WRITE) or (text[at + 1] != _SPACE and text[at + 1] != _TAB):
            return count, lines, begin
        at += 1
        while text[at] == _SPACE or text[at] == _TAB:
            at += 1
        if text[at] != _ZERO or text[at + 1] | _LOWER != _X:
            return count, lines, begin
        at += 2
        address, digits = 0, 0
        while True:
            letter = text[at]
            if _ZERO <= letter <= _NINE:
                value = letter - _ZERO
            elif _A <= letter | _LOWER <= _F:
                value = (letter | _LOWER) - _A + 10
            else:
                break
            address = (address << 4) | value
            digits += address > 0
            if digits > _MAX_DIGITS:
                requests[count] = 1
                return count, lines, begin
            at += 1
        if text[at - 1] | _LOWER == _X:
            return count, lines, begin
        while text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN:
            at += 1
        if text[at] != _NEWLINE:
            return count, lines, begin
        if address >= limit:
            requests[count] = 1
            return count, lines, begin
        at += 1
        lines += 1
        requests[count] = 2 * address + (kind == _WRITE)
        count += 1
    return count, lines, -1
