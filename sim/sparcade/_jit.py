"""The one place that compiles: `kernel` is numba's `njit` with a cache that any change of our sources voids.

numba keeps a compiled caller although a callee in another file changed. The cache folder therefore carries the
hash of every source file of the package: a changed kernel means another folder.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config as numba_config

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False, "forceinline": True}


def kernel(function: F) -> F:
    """Compile a function over arrays: IEEE arithmetic in the order written, no Python objects, cached on disk.

    Kernels may not allocate (callers pass scratch): without numba's reference counting of every array they touch,
    the cycle loop is many times faster. They are inlined into each other: passing a state of twenty arrays costs more
    than most kernels do.
    """
    folder = _cache_folder()
    if folder is None:
        return cast(F, numba.njit(**_OPTIONS)(function))
    before = numba_config.CACHE_DIR
    numba_config.CACHE_DIR = str(folder)
    try:
        return cast(F, numba.njit(cache=True, **_OPTIONS)(function))
    finally:
        numba_config.CACHE_DIR = before


def is_compiled(name: str) -> bool:
    """Whether the kernel of that name is in the cache, compiled from these sources."""
    folder = _cache_folder()
    return folder is not None and any(folder.rglob(f"*.{name}-*.nbi"))


@functools.cache
def _cache_folder() -> Path | None:
    """The folder for this state of the sources, or None where none can be written (kernels then compile anew)."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "sparcade" / f"kernels-{_source_hash()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def _source_hash() -> str:
    """Hash of every file in a folder where a kernel lives: kernels, and the constants they compile in."""
    here = Path(__file__)
    root = here.parent
    kernels = [path for path in root.rglob("*.py") if path != here and b"_jit import kernel" in path.read_bytes()]
    digest = hashlib.sha256(here.read_bytes())
    for path in sorted({file for kernel_file in kernels for file in kernel_file.parent.glob("*.py")}):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
