"""Finished points on disk: append-only shards of lines, one shard per process, and claims on points being computed.

A line is written by one `write` and synced before its claim is given up, and no process appends to another's shard:
a process killed at any moment leaves whole lines and at most one torn line, at the end of its own shard.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sparcade.errors import SweepError

FOLDER = "shards"
_SUFFIX = ".jsonl"
_CLAIMS = "claims.lock"
_LINE = re.compile(rb'\{"key":"([0-9a-f]{64})","status":"(?:(done)|failed","attempt":(\d{1,9}))[",].*\}\n')


class Entry(NamedTuple):
    """A finished point: where its line is."""

    attempts: int  #: 0: done; n: failed n times
    digest: bytes  #: of the line
    shard: str
    start: int
    length: int


def done_line(key: str, metrics: dict[str, Any]) -> bytes:
    """The line of a done point: a function of the key, so that equal keys have equal bytes."""
    return _line({"key": key, "status": "done", "metrics": metrics})


def failed_line(key: str, attempt: int, error: BaseException) -> bytes:
    """The line of a failed point."""
    text = str(error) or type(error).__name__
    return _line({"key": key, "status": "failed", "attempt": attempt, "error": f"{type(error).__name__}: {text}"})


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class Records:
    """Index of the finished points of a folder; `refresh` reads what was appended since."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._read: dict[str, int] = {}  #: bytes read of each shard, up to a line's end
        self._seen: dict[str, int] = {}  #: bytes of each shard when it was last read, torn line included
        self.entries: dict[str, Entry] = {}

    def refresh(self) -> None:
        """Read new lines; a torn line at the end of a shard, or one that is no record, counts as not written.

        Raises
        ------
        SweepError
            When two shards hold different results for one key.
        """
        with suppress(FileNotFoundError):
            for file in sorted(os.scandir(self._folder), key=lambda file: file.name):
                read = self._read.get(file.name, 0)
                if file.name.endswith(_SUFFIX) and file.stat().st_size > read:
                    with Path(file.path).open("rb") as stream:
                        stream.seek(read)
                        text = stream.read()
                    self._seen[file.name] = read + len(text)
                    self._add(file.name, read, text)

    def sizes(self) -> dict[str, int]:
        """Bytes of each shard as it was read, comparable with `shard_sizes`."""
        return dict(self._seen)

    def record(self, entry: Entry) -> dict[str, Any]:
        """The record of an entry."""
        with (self._folder / entry.shard).open("rb") as stream:
            stream.seek(entry.start)
            record: dict[str, Any] = json.loads(stream.read(entry.length))
        return record

    def records(self, entries: list[Entry]) -> Iterator[dict[str, Any]]:
        """The records of entries, in their order; each shard is read once."""
        texts: dict[str, bytes] = {}
        for entry in entries:
            if entry.shard not in texts:
                texts[entry.shard] = (self._folder / entry.shard).read_bytes()
            yield json.loads(texts[entry.shard][entry.start : entry.start + entry.length])

    def _add(self, shard: str, start: int, text: bytes) -> None:
        lines = text.split(b"\n")[:-1]  # what follows the last newline is torn
        for number, bare in enumerate(lines, 1):
            line = bare + b"\n"
            match = _LINE.fullmatch(line) if number < len(lines) or _is_json(line) else None
            if match:
                digest = hashlib.blake2b(line, digest_size=16).digest()
                attempts = 0 if match[2] else int(match[3])
                self._put(match[1].decode(), Entry(attempts, digest, shard, start, len(line)))
            start += len(line)
        self._read[shard] = start

    def _put(self, key: str, entry: Entry) -> None:
        held = self.entries.get(key)
        if held is not None and held.attempts == entry.attempts == 0:
            if held.digest != entry.digest:
                raise SweepError(
                    "two results of one point differ",
                    where=f"{self._folder}: {held.shard} and {entry.shard}",
                    expected="equal lines for equal keys: results are deterministic",
                    got=f"key {key}, at byte {held.start} of the one and byte {entry.start} of the other",
                    remedy="compare the two lines: other versions of sparcade or its libraries wrote this folder; "
                    "sweep into a new folder, or remove the wrong shard",
                )
            return
        # Done beats failed; of failures the last attempt stands, and between equal ones the order of shards does not.
        if held is None or _rank(entry) > _rank(held):
            self.entries[key] = entry


def shard_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each shard of a sweep's folder; empty ones left out."""
    try:
        files = [file for file in os.scandir(folder / FOLDER) if file.name.endswith(_SUFFIX)]
    except FileNotFoundError:
        return {}
    return {file.name: file.stat().st_size for file in files if file.stat().st_size}


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _rank(entry: Entry) -> tuple[bool, int, bytes]:
    return entry.attempts == 0, entry.attempts, entry.digest


class Shard:
    """The file that this process appends its lines to; made at the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._handle: int | None = None
        self._path = self._folder
        self._lock = threading.Lock()

    def append(self, line: bytes) -> None:
        """Write a line and wait until it is on the disk.

        Raises
        ------
        SweepError
            When the file system refuses: nothing of the line stays, and what was written before does.
        """
        with self._lock:
            try:
                if self._handle is None:
                    self._open()
                assert self._handle is not None
                size = os.fstat(self._handle).st_size
                try:
                    if os.write(self._handle, line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(self._handle)
                except OSError:
                    with suppress(OSError):
                        os.ftruncate(self._handle, size)
                    os.close(self._handle)
                    self._handle = None  # the next line begins a new shard: none follows a torn one
                    raise
            except OSError as error:
                raise refused(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / f"{os.urandom(8).hex()}{_SUFFIX}"
        self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        parent = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def refused(path: Path, error: OSError) -> SweepError:
    """The error for results that can't be written."""
    return SweepError(
        "the results can't be written",
        where=str(error.filename or path),
        expected="a folder that can be written to, with room",
        got=error.strerror or str(error),
        remedy="make room or name another folder, then run the same command again: what is done is kept",
    )


class Claims:
    """Claims of processes on points, so that none is computed twice at the same time.

    A claim is a lock on one byte of a file, at an offset made of the key. The kernel frees it when the process ends,
    however it ends: no claim is ever stale, nothing is written, and POSIX byte locks work over NFS too. They do not
    hold between threads of a process; a set does.
    """

    def __init__(self, folder: Path) -> None:
        # One descriptor for good: closing any descriptor of the file would free all byte locks of the process.
        self._handle = os.open(folder / _CLAIMS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._held: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Hold the claim on a point; yields False where another process or thread holds it."""
        offset = int(key[:15], 16)
        with self._lock:
            mine = offset not in self._held and self._try(offset)
            if mine:
                self._held.add(offset)
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    fcntl.lockf(self._handle, fcntl.LOCK_UN, 1, offset)
                    self._held.discard(offset)

    def close(self) -> None:
        """Give up all claims."""
        os.close(self._handle)

    def _try(self, offset: int) -> bool:
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True
