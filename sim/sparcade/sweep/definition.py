"""What a sweep is: `Sweep`, from a TOML file or the same tables in Python, checked field by field."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sparcade.arch import Arch
from sparcade.config import check_path, check_value, read_toml
from sparcade.errors import ConfigError, did_you_mean, unknown_name
from sparcade.policy import PolicyConfig, settings_class
from sparcade.sweep.axes import METHODS, Axis, Method, axis
from sparcade.sweep.expression import Expression
from sparcade.sweep.metrics import METRICS

Direction = Literal["min", "max"]
_KEYS = (
    "workloads",
    "arch",
    "policy",
    "compare",
    "method",
    "samples",
    "seed",
    "set",
    "axes",
    "constraints",
    "metrics",
    "objectives",
)
_RANGES = frozenset(("linear", "log2", "steps"))
#: Names of a point besides its axes.
POINT_NAMES = ("workload", "arch", "policy")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A checked definition; `where(path)` names the place of a key in its file for an error."""

    workloads: tuple[str, ...]
    archs: tuple[str, ...]
    policies: tuple[str | None, ...]  #: None: by kind of model, or the workload's own
    compare: str | None  #: policy that every point is also run with, on the same arch
    method: Method
    samples: int
    seed: int
    fixed: dict[str, Any]  #: settings of every point
    axes: tuple[Axis, ...]
    constraints: tuple[Expression, ...]
    metrics: dict[str, Expression]  #: derived from other metrics and from axes, after the runs
    objectives: dict[str, Direction]
    tables: dict[str, Any]  #: as given
    where: Callable[..., str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what was measured or derived."""
        return (*METRICS, *self.metrics)


def load_sweep(source: str | Path | Mapping[str, Any]) -> Sweep:
    """Read and check a sweep.

    Raises
    ------
    ConfigError
        For an unknown key or field (with the nearest one), an empty axis, a range that is not numeric, or an
        expression that is not allowed; with the line of the file.
    """
    if isinstance(source, Mapping):
        return _build(dict(source), _places("the sweep", None))
    path = Path(source)
    tables = read_toml(path)
    return _build(tables, _places(str(path), path.read_text(encoding="utf-8")))


def _build(tables: dict[str, Any], where: Callable[..., str]) -> Sweep:
    for key in tables:
        if key not in _KEYS:
            raise unknown_name(f"a sweep has no key {key!r}", key, _KEYS, where=where(key))
    method, samples, seed = _sampling(tables, where)
    policies: tuple[str | None, ...] = (None,)
    if "policy" in tables:
        policies = _texts(tables["policy"], where("policy"), least=1)
    kinds = _kinds(policies, where("policy"))
    axes = _axes(tables, method, kinds, where)
    names = (*POINT_NAMES, *(each.name for each in axes))
    metrics: dict[str, Expression] = {}
    for name, text in _table(tables, "metrics", where).items():
        place = where("metrics", name)
        if not _NAME.fullmatch(name) or name in (*METRICS, *names):
            raise ConfigError(
                "a derived metric has no name of its own",
                where=place,
                expected="a name of letters, digits and _, that is no metric or axis yet",
                got=repr(name),
                remedy="choose another name",
            )
        metrics[name] = _expression(text, (*METRICS, *names, *metrics), place)
    constraints = tuple(
        _expression(text, names, where("constraints", text))
        for text in _texts(tables.get("constraints", []), where("constraints"))
    )
    fixed = {}
    for name, value in _flat(_table(tables, "set", where), ()).items():
        hints = _fields(name, kinds, where("set", name))
        if isinstance(value, dict) or name in names:
            raise ConfigError(
                "a fixed setting is a value, and no axis",
                where=where("set", name),
                expected="a number, text, true, false or list",
                got=repr(value) if name not in names else f"{name!r}, also an axis",
                remedy="take it out of [set], or out of [axes]",
            )
        for hint in hints:
            check_value(hint, value, where=where("set", name))
        fixed[name] = value
    compare = tables.get("compare")
    if compare is not None and not isinstance(compare, str):
        raise _wrong(where("compare"), "the name of a policy, such as 'dense'", compare)
    return Sweep(
        workloads=_texts(tables.get("workloads"), where("workloads"), least=1),
        archs=_texts(tables.get("arch", "spatten"), where("arch"), least=1),
        policies=policies,
        compare=compare,
        method=method,
        samples=samples,
        seed=seed,
        fixed=fixed,
        axes=axes,
        constraints=constraints,
        metrics=metrics,
        objectives=_objectives(tables, (*METRICS, *metrics), where),
        tables=tables,
        where=where,
    )


def _sampling(tables: dict[str, Any], where: Callable[..., str]) -> tuple[Method, int, int]:
    method = tables.get("method", "grid")
    if method not in METHODS:
        raise ConfigError(
            f"there is no method {method!r}",
            where=where("method"),
            expected=f"one of: {', '.join(METHODS)}",
            got=repr(method),
            remedy=did_you_mean(str(method), METHODS),
        )
    wanted = () if method == "grid" else ("samples", "seed")
    for key in ("samples", "seed"):
        if (key in wanted) != (key in tables):
            raise ConfigError(
                f"{method} sampling needs {key!r}" if key in wanted else f"a grid has no {key!r}",
                where=where(key if key in tables else "method"),
                expected=f"{key} = an integer" if key in wanted else "the values of the axes, all combined",
                got="nothing" if key in wanted else f"{key} = {tables[key]!r}",
                remedy=f"add {key} = 100" if key in wanted else 'leave it out, or write method = "random"',
            )
    for key in wanted:
        if type(tables[key]) is not int or not (1 if key == "samples" else 0) <= tables[key] <= 10_000_000:
            raise _wrong(where(key), "an integer up to 10,000,000", tables[key])
    return method, tables.get("samples", 0), tables.get("seed", 0)


def _axes(
    tables: dict[str, Any], method: Method, kinds: tuple[type[Any], ...], where: Callable[..., str]
) -> tuple[Axis, ...]:
    axes = []
    for name, given in _flat(_table(tables, "axes", where), ()).items():
        place = where("axes", name)
        hints = _fields(name, kinds, place)
        try:
            found = axis(name, given)
            if method == "grid" and not found.values:
                raise ValueError("a grid needs the steps of an interval")
        except ValueError as error:
            raise ConfigError(
                f"{name} is no axis",
                where=place,
                expected="a list of values, {log2 = [low, high]}, or {linear = [low, high], steps = n}",
                got=str(error),
                remedy=f"such as {name} = [2, 4, 8]",
            ) from None
        for hint in hints:
            for value in found.values or (found.low, found.high):
                check_value(hint, value, where=place)
        axes.append(found)
    return tuple(axes)


def _objectives(tables: dict[str, Any], known: tuple[str, ...], where: Callable[..., str]) -> dict[str, Direction]:
    objectives: dict[str, Direction] = {}
    for name, direction in _table(tables, "objectives", where).items():
        place = where("objectives", name)
        if name not in known:
            raise unknown_name(f"there is no metric {name!r}", name, known, where=place)
        if direction not in ("min", "max"):
            raise _wrong(place, "'min' or 'max'", direction)
        objectives[name] = direction
    return objectives


def _expression(text: Any, known: tuple[str, ...], place: str) -> Expression:
    expected = "an expression such as 'topk.lanes * 16 <= multipliers'"
    if not isinstance(text, str):
        raise _wrong(place, expected, text)
    try:
        parsed = Expression.parse(text)
    except ValueError as error:
        raise ConfigError(
            "the expression is not allowed",
            where=place,
            expected="numbers, names, + - * / // % **, comparisons, and, or, not, abs ceil floor log2 max min sqrt",
            got=str(error),
            remedy=expected,
        ) from None
    for name in parsed.names:
        if name not in known:
            raise ConfigError(
                f"the expression names {name!r}, which this sweep does not have",
                where=place,
                expected=f"one of: {', '.join(known)}",
                got=repr(text),
                remedy=did_you_mean(name, known),
            )
    return parsed


def _kinds(policies: tuple[str | None, ...], place: str) -> tuple[type[Any], ...]:
    """The settings of the policies; those by kind of model are SpAtten's, and a class has none."""
    try:
        found = [PolicyConfig if policy is None else settings_class(policy) for policy in policies]
    except ConfigError as error:
        parts = {"expected": error.expected, "got": error.got, "remedy": error.remedy}
        raise ConfigError(error.what, where=f"{place}: {error.where}", **parts) from None
    return tuple(dict.fromkeys(cls for cls in found if cls is not None)) or (PolicyConfig,)


def _fields(name: str, kinds: tuple[type[Any], ...], place: str) -> list[Any]:
    """Types of a field of the arch, or with "policy." in front of each kind of policy.

    A `ConfigError` for the first without such a field.
    """
    policy = name.startswith("policy.")
    path = name.removeprefix("policy.").split(".")
    try:
        return [check_path(cls, path, where=place, got=name) for cls in (kinds if policy else (Arch,))]
    except ConfigError as error:
        if not policy:
            raise
        remedy = error.remedy.replace("did you mean '", "did you mean 'policy.")
        raise ConfigError(error.what, where=place, expected=error.expected, got=repr(name), remedy=remedy) from None


def _flat(table: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Leaves of nested tables under dotted names; a range is a leaf."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value and not _RANGES & set(value):
            flat |= _flat(value, (*path, key))
        else:
            flat[".".join((*path, key))] = value
    return flat


def _table(tables: dict[str, Any], key: str, where: Callable[..., str]) -> dict[str, Any]:
    table = tables.get(key, {})
    if not isinstance(table, Mapping):
        raise _wrong(where(key), f"a table, [{key}]", table)
    return dict(table)


def _texts(value: Any, place: str, *, least: int = 0) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts) or len(texts) < least:
        raise _wrong(place, "a text or a list of texts" + (", not empty" if least else ""), value)
    return tuple(dict.fromkeys(texts))


def _wrong(place: str, expected: str, got: Any) -> ConfigError:
    return ConfigError(
        "the value is wrong",
        where=place,
        expected=expected,
        got="nothing" if got is None else f"{str(got)[:80]!r} ({type(got).__name__})",
        remedy="docs/sweeps.md shows a whole file",
    )


def _places(source: str, text: str | None) -> Callable[..., str]:
    """A function from the path of a key to its place: file, line, key."""

    def where(*path: str) -> str:
        line = None if text is None else _line(text, path)
        return f"{source}: {f'line {line}: ' if line else ''}{': '.join(path)}"

    return where


def _line(text: str, path: tuple[str, ...]) -> int | None:
    """Line of a key; of the table or key above it where it can't be told (tomllib keeps no positions)."""
    target, table, best = ".".join(path[:1] if path[0] == "constraints" else path), "", (0, None)
    for number, line in enumerate(text.splitlines(), 1):
        if path[0] == "constraints" and len(path) == 2 and path[1] in _strings(line):
            return number
        header = re.match(r"\s*\[+([^\]]+)\]+", line)
        key = re.match(r"\s*([\w.\"'\s-]+?)\s*=", line)
        if header:
            name = table = _bare(header[1])
        elif key:
            name = f"{table}.{_bare(key[1])}".lstrip(".")
        else:
            continue
        if (target == name or target.startswith(f"{name}.")) and len(name) > best[0]:
            best = (len(name), number)  # type: ignore[assignment]
    return best[1]


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _strings(line: str) -> list[str]:
    """Texts that stand in a line of TOML."""
    found = []
    for quoted in re.findall(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", line):
        try:
            found.append(tomllib.loads(f"value = {quoted}")["value"])
        except tomllib.TOMLDecodeError:
            continue
    return found
