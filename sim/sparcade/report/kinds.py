"""What a path holds that a report can be made of."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sparcade.errors import ConfigError
from sparcade.report.folder import PAGE, RESULT
from sparcade.sweep.table import DEFINITION

Kind = Literal["sweep", "run"]
#: The file that marks a folder of each kind.
_MARKERS: dict[Kind, str] = {"sweep": DEFINITION, "run": RESULT}


def kind_of(path: Path) -> Kind:
    """The kind of a folder.

    Raises
    ------
    ConfigError
        When it is none that is known.
    """
    for kind, marker in _MARKERS.items():
        if (path / marker).is_file():
            return kind
    raise ConfigError(
        "there is nothing to report",
        where=str(path),
        expected="the folder of a sweep, with sweep.json",
        got="a file" if path.is_file() else "a folder without it" if path.is_dir() else "no such path",
        remedy="'sparcade sweep FILE.toml' makes one, sweeps/FILE unless --out names another",
    )


def already_reported(path: Path) -> ConfigError:
    """The error for a run: its report is made with it."""
    return ConfigError(
        "the report of a run is already in its folder",
        where=str(path),
        expected="the folder of a sweep",
        got=f"the folder of a run, with {RESULT}",
        remedy=f"open {path / PAGE}",
    )
