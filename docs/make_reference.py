"""Write docs/reference.md from the dataclasses: `python docs/make_reference.py`.

What a field means is its `#:` comment, behind it or above it; for a table, the first line of its class. Names of
presets and of results come with it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from sparcade.accelerator.counters import COUNTERS
from sparcade.arch import Arch
from sparcade.config import tables
from sparcade.dram.device import Device
from sparcade.policy import OutputError, PolicyResult
from sparcade.policy.kinds import KINDS, SPATTEN
from sparcade.policy.protocol import HeadState, KeyState, Row, SequenceShape, Structure, TokenState
from sparcade.sweep.metrics import METRICS

PAGE = Path(__file__).parent / "reference.md"


def comments(cls: type[Any]) -> dict[str, str]:
    """The `#:` comment of each field of a class and of those it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        lines = textwrap.dedent(inspect.getsource(base)).splitlines()
        body = ast.parse("\n".join(lines)).body[0]
        assert isinstance(body, ast.ClassDef)
        annotated = (node for node in body.body if isinstance(node, ast.AnnAssign))
        found |= {ast.unparse(node.target): _comment(lines, node) for node in annotated}
    return {name: text for name, text in found.items() if text}


def _comment(lines: list[str], node: ast.AnnAssign) -> str:
    """Behind the field, or in the lines above it."""
    assert node.end_lineno is not None
    _, mark, text = lines[node.end_lineno - 1].partition("  #: ")
    if mark:
        return text.strip()
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#:"):
            break
        above.insert(0, line.strip().removeprefix("#:").strip())
    return " ".join(above)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a table: a setting or field."""

    name: str
    type: str
    default: str
    text: str


def entries(cls: type[Any], prefix: str = "") -> Iterator[Entry]:
    """Every field of a dataclass, those of nested ones behind it with a dotted name.

    Raises
    ------
    LookupError
        For a field without a description.
    """
    hints, texts = typing.get_type_hints(cls), comments(cls)
    for field in dataclasses.fields(cls):
        hint = without_none(hints[field.name])
        nested = dataclasses.is_dataclass(hint) and isinstance(hint, type)
        text = texts.get(field.name, "")
        if not text and nested:
            text = str(hint.__doc__).split("\n")[0]
        if not text:
            raise LookupError(f"{cls.__module__}.{cls.__name__}.{field.name} has no description: write a #: comment")
        name = prefix + field.name
        yield Entry(name=name, type=type_name(hints[field.name]), default=default_of(field), text=text)
        if nested and not hasattr(hint, "preset"):  # one with a preset is a file of its own
            yield from entries(hint, f"{name}.")


def without_none(hint: Any) -> Any:
    """The type of an optional field."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def type_name(hint: Any) -> str:
    """What a file may hold there."""
    if without_none(hint) is not hint:
        return f"{type_name(without_none(hint))}, or off"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{arm}`" for arm in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {type_name(typing.get_args(hint)[0])}"
    if hint is Fraction:
        return "fraction"
    if dataclasses.is_dataclass(hint):
        return "name or file" if hasattr(hint, "preset") else "table"
    return {int: "integer", float: "number", str: "text", bool: "true or false"}.get(hint, str(hint))


def default_of(field: dataclasses.Field[Any]) -> str:
    """The default as a file would state it; nothing for tables, a dash where there is none."""
    if field.default is dataclasses.MISSING:
        return "-" if field.default_factory is dataclasses.MISSING else ""
    value = tables(field.default)
    if value is None:
        return "off"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if len(text) < 30 else "text"


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)])


def settings(cls: type[Any], prefix: str = "") -> str:
    """The table of a configuration."""
    rows = ((f"`{entry.name}`", entry.type, entry.default, entry.text) for entry in entries(cls, prefix))
    return table(("key", "value", "default", "is"), rows)


def fields(cls: type[Any]) -> str:
    """The table of what Python gets."""
    texts = comments(cls)
    missing = [field.name for field in dataclasses.fields(cls) if field.name not in texts]
    if missing:
        raise LookupError(f"{cls.__module__}.{cls.__name__}: no description of {', '.join(missing)}")
    return table(("field", "is"), ((f"`{field.name}`", texts[field.name]) for field in dataclasses.fields(cls)))


def first_line(cls: type[Any]) -> str:
    """What a class is."""
    return str(cls.__doc__).strip().split("\n")[0]


def page() -> str:
    """The whole page."""
    parts = [
        "# Reference",
        "Made from the code by `make docs`. Keys are those of `--set KEY=VALUE`, of TOML files and of the axes of a "
        "sweep; a policy's have `policy.` in front. A dash: none. Presets change them (`sim/sparcade/*/presets`).",
        "## Arch",
        settings(Arch),
        "## DRAM device",
        "Under `dram.device` in an arch. Timings are in clocks (CK), as JEDEC names them.",
        settings(Device),
        "## Policies",
    ]
    for kind, (cls, _) in KINDS.items():
        name = "SpAtten, without `kind`" if kind == SPATTEN else f'`kind = "{kind}"`'
        parts += [f"### {name}", first_line(cls), settings(cls)]
    parts += ["## What a policy is asked"]
    for cls in (SequenceShape, TokenState, HeadState, KeyState, Row, Structure):
        parts += [f"### {cls.__name__}", first_line(cls), fields(cls)]
    parts += [
        "## What a replay gives",
        "### PolicyResult",
        first_line(PolicyResult),
        fields(PolicyResult),
        "### OutputError",
        first_line(OutputError),
        fields(OutputError),
        "## Counters",
        "Of each row, layer, head, phase and the whole run; `RunResult.frame`, `layers.csv`, `result.json`.",
        table(("counter", "unit", "counts"), ((f"`{it.name}`", it.unit, it.description) for it in COUNTERS.values())),
        "## Metrics of a sweep",
        table(("metric", "unit"), ((f"`{name}`", unit) for name, unit in METRICS.items())),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(page().splitlines())} lines\n")
