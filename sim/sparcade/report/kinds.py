"""What a path holds, and the report that can be made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sparcade._files import parse_json
from sparcade.errors import ConfigError
from sparcade.evaluation import SCHEMA as RUN_SCHEMA
from sparcade.report import accuracy_report, analysis_folder, run_report
from sparcade.sweep.table import DEFINITION

Kind = Literal["sweep", "run", "accuracy", "analysis"]
#: The file that marks a folder of each kind; the report of a kind is made of this file and those beside it.
MARKERS: dict[Kind, str] = {
    "sweep": DEFINITION,
    "run": run_report.RESULT,
    "accuracy": accuracy_report.RESULT,
    "analysis": analysis_folder.ABOUT,
}
#: Schemas of files that are a report's source by themselves.
_SCHEMAS: dict[str, Kind] = {RUN_SCHEMA: "run", accuracy_report.SCHEMA: "accuracy"}
#: What is not reported but leads to a report, by the file that marks it.
_OTHERS = {
    "manifest.json": ("a trace", "'sparcade run {path}' times it, 'sparcade trace analyse {path}' describes it"),
}


def source_of(path: Path) -> tuple[Kind, Path]:
    """The kind of a path, and the file its report is made of.

    Raises
    ------
    ConfigError
        When it is none that is known.
    """
    if path.is_dir():
        for kind, marker in MARKERS.items():
            if (path / marker).is_file():
                return kind, path / marker
        for marker, (what, remedy) in _OTHERS.items():
            if (path / marker).is_file():
                raise _nothing(path, what, remedy.format(path=path))
        raise _nothing(path, "a folder without any of them", "name the folder that a command wrote")
    if not path.exists():
        raise _nothing(path, "no such path", "'sparcade run TARGET' makes one, in reports/ unless --out names another")
    for kind, marker in MARKERS.items():
        if path.name == marker:
            return kind, path
    schema = _schema(path)
    if schema in _SCHEMAS:
        return _SCHEMAS[schema], path
    if path.suffix in (".npz", ".csv"):
        raise _nothing(path, f"a file {path.name!r}", f"a workload is timed by 'sparcade run {path}'")
    raise _nothing(path, "a file that is none of them", "name the folder that a command wrote")


def _schema(path: Path) -> str | None:
    """The schema that a JSON file says it has."""
    if path.suffix != ".json":
        return None
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    schema = value.get("schema") if isinstance(value, dict) else None
    return schema if isinstance(schema, str) else None


def _nothing(path: Path, got: str, remedy: str) -> ConfigError:
    marks = ", ".join(f"{kind} ({marker})" for kind, marker in MARKERS.items())
    return ConfigError(
        "there is nothing to report",
        where=str(path),
        expected=f"the folder of a {marks}, or its file",
        got=got,
        remedy=remedy,
    )
