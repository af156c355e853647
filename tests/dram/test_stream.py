"""The parser of request streams against a plain-Python oracle: whole, damaged, in small chunks, packed, from a pipe."""

from __future__ import annotations

import gzip
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparcade.dram import read_stream, stream
from sparcade.errors import StreamError

LIMIT = 1 << 31
_LINE = re.compile(rb"[ \t]*([RrWw])[ \t]+0[Xx]([0-9A-Fa-f]+)[ \t\r]*")


def oracle(text: bytes, limit: int = LIMIT) -> tuple[list[int], int | None, bool]:
    """(requests before the first bad line, number of that line, whether only its address is wrong)."""
    requests: list[int] = []
    for number, line in enumerate(text.split(b"\n"), start=1):
        if not line.strip(b" \t\r") or line.lstrip(b" \t").startswith(b"#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            return requests, number, False
        address = int(found[2], 16)
        if address >= limit:
            return requests, number, True
        requests.append(2 * address + (found[1] in b"Ww"))
    return requests, None, False


def parsed(path: Path, limit: int = LIMIT) -> list[int]:
    return [int(request) for chunk in read_stream(path, limit) for request in chunk]


def agrees(path: Path, text: bytes) -> None:
    """The same requests, or an error at the same line."""
    requests, number, beyond = oracle(text)
    if number is None:
        assert parsed(path) == requests
        return
    with pytest.raises(StreamError) as error:
        parsed(path)
    assert error.value.where == f"{path}, line {number:,}"
    if beyond:
        assert "beyond the device" in error.value.what


BLANKS = st.text(" \t", max_size=3)


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A request, a comment or a blank line."""
    kind = draw(st.sampled_from("rrrrrr#_"))
    if kind == "_":
        return draw(BLANKS)
    if kind == "#":
        return draw(BLANKS) + "#" + draw(st.text(max_size=12).filter(lambda text: "\n" not in text))
    address = draw(st.sampled_from(("{:x}", "{:X}", "{:08x}", "{:020X}"))).format(draw(st.integers(0, LIMIT - 1)))
    between = draw(st.text(" \t", min_size=1, max_size=3))
    before, after = draw(BLANKS), draw(BLANKS)
    return f"{before}{draw(st.sampled_from('RrWw'))}{between}{draw(st.sampled_from(('0x', '0X')))}{address}{after}"


ENDS = ("\n", "\n", "\r\n")


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A valid stream with any line ends, the last one with or without."""
    parts = [
        f"{line}{draw(st.sampled_from(ENDS))}".encode("utf-8", "surrogatepass") for line in draw(st.lists(lines()))
    ]
    text = b"".join(parts)
    return text[:-1] if draw(st.booleans()) else text


@given(texts())
def test_valid_streams(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "stream").write_bytes(text)
    assert oracle(text)[1] is None
    agrees(tmp_path / "stream", text)


@settings(max_examples=400)
@given(st.data())
def test_one_damaged_byte(tmp_path: Path, data: st.DataObject) -> None:
    text = bytearray(data.draw(texts().filter(len)))
    place = data.draw(st.integers(0, len(text) - 1))
    how = data.draw(st.sampled_from(("replace", "replace with a telling byte", "remove", "insert", "bit")))
    byte = (
        data.draw(st.sampled_from(b"\r\n \t#0xXRWrwgG\0\x0b\x0c"))
        if "telling" in how
        else data.draw(st.integers(0, 255))
    )
    if how == "remove":
        del text[place]
    elif how == "insert":
        text.insert(place, byte)
    else:
        text[place] = text[place] ^ (1 << byte % 8) if how == "bit" else byte
    (tmp_path / "stream").write_bytes(text)
    agrees(tmp_path / "stream", bytes(text))


@given(st.binary(max_size=40))
def test_any_bytes(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "stream").write_bytes(text)
    if text[:2] != b"\x1f\x8b":
        agrees(tmp_path / "stream", text)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_in_every_place(tmp_path: Path, byte: int) -> None:
    """Each byte in place of each byte of a short stream, and before it."""
    text = b"R 0x4\r\nW 0x20\n"
    path = tmp_path / "stream"
    for place in range(len(text)):
        for after in (place, place + 1):
            damaged = text[:place] + bytes([byte]) + text[after:]
            path.write_bytes(damaged)
            agrees(path, damaged)


# Borders of chunks.

LONGEST = b"W   0x%040x  \r\n" % 0x7FFFFFE0


@settings(max_examples=200)
@given(texts(), st.integers(0, 90))
def test_chunk_borders(tmp_path: Path, text: bytes, more: int) -> None:
    """No line is longer than a chunk, and a border may fall anywhere."""
    (tmp_path / "stream").write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_CHUNK", max(map(len, text.split(b"\n"))) + 1 + more)
        agrees(tmp_path / "stream", text)


@pytest.mark.parametrize("chunk", range(len(LONGEST), 2 * len(LONGEST) + 9, 3))
@pytest.mark.parametrize("damage", [b"", b"R 0x\n", b"R 0x80000000\n", b"#\xff\r\n"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_every_chunk_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, damage: bytes, packed: bool
) -> None:
    text = b"R 0x0\r\n" + LONGEST + b"\n# comment\n" + LONGEST * 3 + b"r 0X20\n" + damage + LONGEST + b"W 0x40"
    monkeypatch.setattr(stream, "_CHUNK", chunk)
    (tmp_path / "stream").write_bytes(gzip.compress(text) if packed else text)
    agrees(tmp_path / "stream", text)


def test_chunks_are_arrays_of_int64_and_none_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_CHUNK", 64)
    (tmp_path / "stream").write_bytes(
        b"# a line of words and no request at all in this chunk, nor more\n" * 9 + b"W 0x40\n" * 99
    )
    chunks = list(read_stream(tmp_path / "stream", LIMIT))
    assert len(chunks) > 9
    assert {(chunk.dtype, chunk.ndim) for chunk in chunks} == {(np.dtype(np.int64), 1)}
    assert all(len(chunk) for chunk in chunks)
    assert np.concatenate(chunks).tolist() == [0x81] * 99


def test_chunks_stay_as_they_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader may keep a chunk while it takes the next."""
    monkeypatch.setattr(stream, "_CHUNK", 32)
    (tmp_path / "stream").write_text("".join(f"R {index:#x}\n" for index in range(500)))
    chunks = list(read_stream(tmp_path / "stream", LIMIT))
    assert np.concatenate(chunks).tolist() == [2 * index for index in range(500)]


def test_more_than_one_real_chunk(tmp_path: Path) -> None:
    addresses = np.random.default_rng(5).integers(0, LIMIT, 130_000)
    text = "".join(f"{'RW'[address & 1]} {address:#x}\n" for address in addresses.tolist())
    assert len(text) > stream._CHUNK
    (tmp_path / "stream").write_text(text)
    chunks = list(read_stream(tmp_path / "stream", LIMIT))
    assert len(chunks) > 1
    assert np.array_equal(np.concatenate(chunks), 2 * addresses + (addresses & 1))


# Packed, piped, limits.


@settings(max_examples=40)
@given(texts(), st.integers(0, 9), st.booleans())
def test_gz_equals_plain(tmp_path: Path, text: bytes, level: int, named: bool) -> None:
    """A packed stream is told by its first bytes, whatever its name."""
    path = tmp_path / ("stream.gz" if named else "stream.txt")
    path.write_bytes(gzip.compress(text, level))
    agrees(path, text)


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("text", [b"", b"R 0x40", b"# x\r\nr 0x40\r\n\nW 0X80\n", b"R 0x0\nR 80\n", b"R 0x99999999\n"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    pipe(monkeypatch, text)
    requests, number, _ = oracle(text)
    if number is None:
        assert parsed(Path("-")) == requests
        return
    with pytest.raises(StreamError) as error:
        parsed(Path("-"))
    assert error.value.where.endswith(f", line {number}")


def test_standard_input_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_CHUNK", 16)
    pipe(monkeypatch, b"R 0x40\nW 0x80\n" * 99)
    assert parsed(Path("-")) == [0x80, 0x101] * 99


@pytest.mark.parametrize(
    ("text", "limit", "requests"),
    [
        ("R 0x0", 1, [0]),
        ("R 0x1", 1, None),
        ("W 0x7fffffff", LIMIT, [0xFFFFFFFF]),
        ("W 0x80000000", LIMIT, None),
        ("W 0xffffffffffff", 1 << 48, [(1 << 49) - 1]),
        ("W 0x1000000000000", 1 << 48, None),
        (f"W 0x{'0' * 99}ffffffffffff", 1 << 48, [(1 << 49) - 1]),
        (f"W 0x{'f' * 99}", 1 << 48, None),
        (f"R 0x1{'0' * 16}", 1 << 48, None),  # 0 in 64 bits
        (f"R 0x1{'0' * 15}40", 1 << 48, None),
    ],
)
def test_limits(tmp_path: Path, text: str, limit: int, requests: Sequence[int] | None) -> None:
    (tmp_path / "stream").write_text(text)
    if requests is not None:
        assert parsed(tmp_path / "stream", limit) == requests
        return
    with pytest.raises(StreamError, match="beyond the device") as error:
        parsed(tmp_path / "stream", limit)
    assert f"below {limit:#x} " in error.value.expected
    assert error.value.where.endswith(", line 1")


def test_an_abandoned_stream_closes_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning about an open file is an error of this suite."""
    monkeypatch.setattr(stream, "_CHUNK", 32)
    text = b"R 0x40\n" * 99
    for data in (text, gzip.compress(text)):
        (tmp_path / "stream").write_bytes(data)
        chunks = read_stream(tmp_path / "stream", LIMIT)
        assert next(chunks).tolist()
        del chunks
