"""What a sweep is: `Sweep`, from a TOML file or the same tables in Python, checked field by field."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade.arch import Arch
from sparcade.config import check_path, check_value, read_toml
from sparcade.energy import EnergyProfile, load_profile
from sparcade.errors import ConfigError, did_you_mean, unknown_name
from sparcade.policy import PolicyConfig, settings_class
from sparcade.sweep.axes import METHODS, Axis, Method, axis
from sparcade.sweep.expression import Expression
from sparcade.sweep.metric_file import MetricFile, load_metric_file
from sparcade.sweep.metrics import BOUNDED, EXACT, METRICS
from sparcade.sweep.scoring import Direction, Scoring

_KEYS = (
    "workloads",
    "arch",
    "policy",
    "compare",
    "energy",
    "method",
    "samples",
    "seed",
    "round",
    "skip_dominated",
    "metric_file",
    "set",
    "axes",
    "constraints",
    "metrics",
    "objectives",
)
_RANGES = frozenset(("linear", "log2", "steps"))
#: Points of a round, where what is computed next depends on what was found.
_ROUND = 16
#: Constants of energy and area of a sweep that names none.
DEFAULT_ENERGY = "first-principles"
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
    energy: str  #: preset or file of the energy profile
    profile: EnergyProfile
    method: Method
    samples: int
    seed: int
    round: int  #: points that are computed before the next are chosen, by `optuna` or `skip_dominated`
    skip_dominated: bool
    fixed: dict[str, Any]  #: settings of every point
    axes: tuple[Axis, ...]
    constraints: tuple[Expression, ...]
    metrics: dict[str, Expression]  #: derived from other metrics and from axes, after the runs
    objectives: dict[str, Direction]
    metric_file: MetricFile | None
    directory: Path  #: paths count from here
    tables: dict[str, Any]  #: as given
    where: Callable[..., str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what was measured or derived."""
        return (*METRICS, *(self.metric_file.metrics if self.metric_file else ()), *self.metrics)

    @property
    def scoring(self) -> Scoring:
        """What its points are worth."""
        return Scoring(objectives=self.objectives, derived=self.metrics, metric_file=self.metric_file)

    @property
    def is_adaptive(self) -> bool:
        """Whether what is computed next depends on what was found."""
        return self.method == "optuna" or self.skip_dominated


def load_sweep(source: str | Path | Mapping[str, Any], *, directory: Path | None = None) -> Sweep:
    """Read and check a sweep.

    directory : where its paths count from; by default the current folder.

    Raises
    ------
    ConfigError
        For an unknown key or field (with the nearest one), an empty axis, a range that is not numeric, or an
        expression that is not allowed; with the line of the file.
    """
    directory = (directory or Path()).resolve()
    if isinstance(source, Mapping):
        return _build(dict(source), directory, _places("the sweep", None))
    path = Path(source)
    tables = read_toml(path)
    return _build(tables, directory, _places(str(path), path.read_text(encoding="utf-8")))


def _build(tables: dict[str, Any], directory: Path, where: Callable[..., str]) -> Sweep:
    for key in tables:
        if key not in _KEYS:
            raise unknown_name(f"a sweep has no key {key!r}", key, _KEYS, where=where(key))
    method, samples, seed = _sampling(tables, where)
    policies: tuple[str | None, ...] = (None,)
    if "policy" in tables:
        policies = _texts(tables["policy"], where("policy"), least=1)
    kinds = _kinds(policies, directory, where("policy"))
    axes = _axes(tables, method, kinds, where)
    names = (*POINT_NAMES, *(each.name for each in axes))
    workloads = _texts(tables.get("workloads"), where("workloads"), least=1)
    metric_file = _metric_file(tables, workloads, policies, names, directory, where)
    measured = (*METRICS, *(metric_file.metrics if metric_file else ()))
    metrics: dict[str, Expression] = {}
    for name, text in _table(tables, "metrics", where).items():
        place = where("metrics", name)
        if not _NAME.fullmatch(name) or name in (*measured, *names):
            raise ConfigError(
                "a derived metric has no name of its own",
                where=place,
                expected="a name of letters, digits and _, that is no metric or axis yet",
                got=repr(name),
                remedy="choose another name",
            )
        metrics[name] = _expression(text, (*measured, *names, *metrics), place)
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
    energy = tables.get("energy", DEFAULT_ENERGY)
    if not isinstance(energy, str):
        raise _wrong(where("energy"), "the name of an energy profile, or a .toml file", energy)
    objectives = _objectives(tables, (*measured, *metrics), where)
    skip = _skip(tables, objectives, metrics, {*EXACT, *measured[len(METRICS) :], *names}, where)
    if method == "optuna" and not objectives:
        raise _wrong(where("method"), "objectives for optuna, such as [objectives] cycles = 'min'", None)
    return Sweep(
        workloads=workloads,
        archs=_texts(tables.get("arch", "spatten"), where("arch"), least=1),
        policies=policies,
        compare=compare,
        energy=energy,
        profile=_profile(energy, directory, where("energy")),
        method=method,
        samples=samples,
        seed=seed,
        round=_round(tables, method == "optuna" or skip, where),
        skip_dominated=skip,
        fixed=fixed,
        axes=axes,
        constraints=constraints,
        metrics=metrics,
        objectives=objectives,
        metric_file=metric_file,
        directory=directory,
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


def _round(tables: dict[str, Any], adaptive: bool, where: Callable[..., str]) -> int:
    given = tables.get("round", _ROUND)
    if "round" in tables and not adaptive:
        raise _wrong(where("round"), "a round only where method = 'optuna' or skip_dominated = true", given)
    if type(given) is not int or not 1 <= given <= 1_000_000:
        raise _wrong(where("round"), "an integer in 1..1,000,000", given)
    return given


def _skip(
    tables: dict[str, Any],
    objectives: dict[str, Direction],
    metrics: dict[str, Expression],
    exact: set[str],
    where: Callable[..., str],
) -> bool:
    """Whether dominated points are skipped; every objective must have a bound before the run."""
    skip = tables.get("skip_dominated", False)
    if type(skip) is not bool:
        raise _wrong(where("skip_dominated"), "true or false", skip)
    if not skip:
        return False
    if not objectives:
        raise _wrong(where("skip_dominated"), "objectives that say what is better", None)
    for name, expression in metrics.items():
        if exact.issuperset(expression.names):
            exact |= {name}
    for name, direction in objectives.items():
        if name not in exact and not (name in BOUNDED and direction == "min"):
            raise ConfigError(
                f"no point can be skipped for {name!r}: it has no bound before the run",
                where=where("objectives", name),
                expected=f"one of {', '.join(BOUNDED)} as 'min', or what is known before the run: axes, "
                f"{', '.join(EXACT)}, metrics of a metric file, derived metrics of these",
                got=f"{name} = {direction!r}",
                remedy="choose other objectives, or skip_dominated = false",
            )
    return True


def _metric_file(
    tables: dict[str, Any],
    workloads: tuple[str, ...],
    policies: tuple[str | None, ...],
    names: tuple[str, ...],
    directory: Path,
    where: Callable[..., str],
) -> MetricFile | None:
    given = tables.get("metric_file")
    if given is None:
        return None
    if not isinstance(given, str):
        raise _wrong(where("metric_file"), "the path of a CSV file", given)
    several = [name for name, values in (("workload", workloads), ("policy", policies)) if len(values) > 1]
    varied = [*several, *(name for name in names if name.startswith("policy."))]
    return load_metric_file(directory / given, varied=varied, known=names, taken=tuple(METRICS))


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


def placed(directory: Path, name: str) -> str:
    """A preset's name, or the absolute path of a file of an arch or policy."""
    is_file = name.partition(":")[0].endswith((".toml", ".py"))
    return str(directory / name) if is_file else name


def _profile(name: str, directory: Path, place: str) -> EnergyProfile:
    try:
        return load_profile(placed(directory, name))
    except ConfigError as error:
        parts = {"expected": error.expected, "got": error.got, "remedy": error.remedy}
        raise ConfigError(error.what, where=f"{place}: {error.where}", **parts) from None


def _kinds(policies: tuple[str | None, ...], directory: Path, place: str) -> tuple[type[Any], ...]:
    """The settings of the policies; those by kind of model are SpAtten's, and a class has none."""
    try:
        found = [PolicyConfig if policy is None else settings_class(placed(directory, policy)) for policy in policies]
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
