"""Files that appear whole or not at all, and canonical JSON with a stable hash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sparcade.errors import ConfigError


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and a trailing newline: equal values give equal bytes. NaN is refused."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def parse_json(text: str) -> Any:
    """Parse JSON; NaN, infinity and text that is no Unicode are `ValueError`s."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    value = json.loads(text, parse_constant=refuse)
    canonical_json(value).encode()
    return value


def content_hash(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def new_folder(target: Path, *, marker: str, owns: Callable[[str], object]) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on success it takes the place of `target`, on error it is removed.

    An existing `target` is replaced only if it is empty, or holds `marker` and only files whose name we
    `owns` (what we wrote earlier): a folder of the user's own is never deleted.
    """
    target = Path(target).resolve()
    refuse_foreign(target, marker=marker, owns=owns)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield fresh
        fresh.chmod(0o777 & ~_umask())
        replace_folder(target, fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def replace_folder(target: Path, fresh: Path) -> None:
    """Give a finished folder the name of `target`, beside it; what stood there is removed, on error put back."""
    if not target.exists():
        fresh.rename(target)
        return
    old = fresh.with_name(f"{fresh.name}.old")
    target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`; on success its file takes the place of `target`, on error it is removed.

    Folders made on the way are removed as well on error.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    target = target.resolve()  # the file behind a link is replaced, not the link
    if target.exists() and not target.is_file():
        yield target  # a pipe or device
        return
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        fresh = Path(name)
        yield fresh
        fresh.chmod(0o666 & ~_umask())
        fresh.replace(target)
    except BaseException:
        if fresh is not None:
            fresh.unlink(missing_ok=True)
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def refuse_foreign(target: Path, *, marker: str, owns: Callable[[str], object]) -> None:
    """Raise a `ConfigError` if `target` holds anything that we did not write."""
    if target.resolve() == Path.cwd():
        raise ConfigError(
            "the output folder is the current folder",
            where=str(target),
            expected="a folder that can be replaced as a whole",
            got="the folder that this command runs in",
            remedy="name a folder inside it",
        )
    if not target.exists():
        return
    present = {entry.name for entry in target.iterdir()} if target.is_dir() else {target.name}
    strangers = sorted(name for name in present if not owns(name))
    if target.is_dir() and (not present or (marker in present and not strangers)):
        return
    raise ConfigError(
        "the output folder exists and was not written by sparcade",
        where=str(target),
        expected=f"no such folder, an empty one, or one of ours (with {marker} and nothing foreign)",
        got=f"{strangers[0]!r} in it" if strangers else f"no {marker} in it",
        remedy="choose another folder, or remove this one yourself",
    )
