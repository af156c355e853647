"""The packages of the `rtl` extra: where they are, or one error that says how to get them. Imports none of them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from sparcade.errors import MissingError


def package(name: str) -> Path:
    """Folder of an installed package.

    Raises
    ------
    MissingError
        When it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise missing(f"the package {name}")
    return Path(spec.origin).parent


def command(name: str) -> str:
    """Path of a command, from PATH or beside this Python.

    Raises
    ------
    MissingError
        When there is none.
    """
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        raise missing(f"the command {name}")
    return path


def missing(what: str, remedy: str = "pip install 'sparcade[rtl]'") -> MissingError:
    """The error for a tool that is not installed."""
    return MissingError(
        "a tool of the RTL is not installed",
        where="the Python environment or the system",
        expected=what,
        got="none",
        remedy=remedy,
    )
