"""`Unfinished`: the folder of a capture that goes on where it was stopped, beside the trace that it becomes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparcade._files import content_hash, refuse_foreign, replace_folder
from sparcade.errors import ConfigError
from sparcade.trace.store import MARKER, is_ours

#: First line: what is captured. Each further line: a sequence whose tensors are on the disk, and its errors.
_PROGRESS = "progress.jsonl"


class Unfinished:
    """A folder with the tensor files, and a line for each sequence that is done."""

    def __init__(self, folder: Path, handle: int, done: dict[int, dict[str, float]]) -> None:
        self.folder = folder
        self.done = done  #: errors of each finished sequence
        self._handle = handle

    def add(self, sequence: int, errors: dict[str, float]) -> None:
        """Note that the tensors of a sequence are on the disk."""
        _append(self._handle, {"sequence": sequence, "errors": errors})
        self.done[sequence] = errors


@contextmanager
def unfinished(target: Path, request: dict[str, Any]) -> Iterator[Unfinished]:
    """Open the folder TARGET.partial of a capture; when all went well it takes the place of `target`.

    After an error it stays if a sequence is done. `request` is everything that the tensors depend on.

    Raises
    ------
    ConfigError
        If `target` is not ours to replace, another process is at work there, or what lies there is of another request.
    """
    target = target.resolve()
    refuse_foreign(target, marker=MARKER, owns=_owns)
    folder = target.with_name(f"{target.name}.partial")
    refuse_foreign(folder, marker=_PROGRESS, owns=_owns)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / _PROGRESS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(handle, folder)
        work = Unfinished(folder, handle, _resume(handle, folder, request))
        try:
            yield work
            replace_folder(target, folder)
            (target / _PROGRESS).unlink()
        except BaseException:
            if not work.done and folder.is_dir():
                shutil.rmtree(folder)
            raise
    finally:
        os.close(handle)


def _resume(handle: int, folder: Path, request: dict[str, Any]) -> dict[int, dict[str, float]]:
    """Errors of the sequences that are done; a line that was torn by a kill counts as not written."""
    key = content_hash(request)
    text = b""
    while chunk := os.pread(handle, 1 << 20, len(text)):
        text += chunk
    whole = text[: text.rfind(b"\n") + 1]
    os.ftruncate(handle, len(whole))
    lines = [json.loads(line) for line in whole.splitlines()]
    if not lines:
        _append(handle, {"request": key})
        return {}
    if lines[0].get("request") != key:
        raise ConfigError(
            "an unfinished capture of something else lies there",
            where=str(folder),
            expected="the model, the texts and the settings that it was started with, and the same versions",
            got="others",
            remedy="run that command again to finish it, remove the folder, or name another output",
        )
    return {line["sequence"]: line["errors"] for line in lines[1:]}


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed when the process ends, however it ends
    except BlockingIOError:
        raise ConfigError(
            "another process is capturing into this folder",
            where=str(folder),
            expected="one at a time",
            got="its lock is held",
            remedy="wait for it, or name another output",
        ) from None


def _append(handle: int, record: dict[str, Any]) -> None:
    os.lseek(handle, 0, os.SEEK_END)
    os.write(handle, json.dumps(record).encode() + b"\n")
    os.fdatasync(handle)


def _owns(name: str) -> bool:
    return name == _PROGRESS or is_ours(name)
