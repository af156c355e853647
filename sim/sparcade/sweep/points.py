"""Points: one workload, policy and arch, resolved; keyed by the content of all that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sparcade._files import content_hash
from sparcade.arch import Arch, load_arch
from sparcade.config import override
from sparcade.energy import load_profile
from sparcade.errors import ConfigError
from sparcade.evaluation import default_policy
from sparcade.policy import Policy, load_policy, policy_provenance
from sparcade.sources import load_source
from sparcade.sweep.axes import Value, choose
from sparcade.sweep.definition import Sweep
from sparcade.trace import AttentionTrace
from sparcade.version import MODEL_VERSION

#: Part of every key: raised when the metrics of a point change their meaning without MODEL_VERSION.
RESULT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Functional work: a policy on a trace, or a workload as it is. Done once, shared by all archs."""

    key: str  #: content hash of trace (or workload), policy and MODEL_VERSION
    target: str  #: trace or workload, as `sparcade run` takes it
    policy: str | None  #: None for a workload
    settings: tuple[str, ...] = ()  #: of the policy, such as "tokens.end=0.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One line of the table."""

    key: str  #: content hash of arch, policy, trace or workload, compared policy, energy profile, MODEL_VERSION
    values: dict[str, Any]  #: workload, arch, policy, and the value of each axis
    settings: tuple[str, ...]  #: of the arch, such as "dram.channels=8"
    replay: Replay
    baseline: Replay | None
    arch: Arch

    @property
    def command(self) -> str:
        """The command that runs it alone."""
        words = ["sparcade run", self.replay.target, "--arch", self.values["arch"]]
        words += ["--policy", self.replay.policy] if self.replay.policy else []
        words += ["--compare", self.baseline.policy or ""] if self.baseline else []
        settings = [*self.settings, *(f"policy.{setting}" for setting in self.replay.settings)]
        return " ".join([*words, *(f"--set '{setting}'" for setting in settings)])


def points_of(sweep: Sweep) -> list[Point]:
    """Every point of a sweep in order: workloads, archs, policies, then the axes, the last one fastest.

    Raises
    ------
    ConfigError
        When the constraints leave no point, a file or name does not exist, or the hardware cannot do a value.
    """
    resolver = _Resolver(sweep)
    names = [axis.name for axis in sweep.axes]
    chosen = [
        dict(zip(names, values, strict=True))
        for values in choose(sweep.axes, method=sweep.method, samples=sweep.samples, seed=sweep.seed)
    ]
    points = []
    removed = [0] * len(sweep.constraints)
    total = 0
    for workload in sweep.workloads:
        for arch in sweep.archs:
            for policy in sweep.policies:
                for values in chosen:
                    total += 1
                    named = {"workload": workload, "arch": arch, "policy": policy or resolver.policy_of(workload) or ""}
                    failed = _violated(sweep, {**named, **values})
                    for index in failed:
                        removed[index] += 1
                    if not failed:
                        points.append(resolver.point(named, values))
    if not points:
        alone = [index for index, count in enumerate(removed) if count == total]
        text = sweep.constraints[alone[0]].text if alone else ""
        raise ConfigError(
            "a constraint removes every point" if alone else "the constraints together remove every point",
            where=sweep.where("constraints", text) if alone else sweep.where("constraints"),
            expected="at least one point that satisfies them",
            got=f"{text!r}, false for all {total:,} points" if alone else f"none of {total:,} points",
            remedy="loosen a constraint, or give the axes other values",
        )
    return points


def number(value: Any) -> Any:
    """A value as expressions see it: a fraction given as text is a number."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value
    return value


def _violated(sweep: Sweep, values: dict[str, Any]) -> list[int]:
    scope = {name: number(value) for name, value in values.items()}
    violated = []
    for index, constraint in enumerate(sweep.constraints):
        try:
            if not constraint.value(scope):
                violated.append(index)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ConfigError(
                "the constraint has no value",
                where=sweep.where("constraints", constraint.text),
                expected="true or false at every point",
                got=f"{error} at {_shown(values)}",
                remedy="guard it, such as 'a == 0 or b / a < 2'",
            ) from None
    return violated


def _shown(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _setting(name: str, value: Value) -> str:
    """KEY=VALUE; JSON of numbers, texts and lists is TOML."""
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


class _Resolver:
    """Resolves points, each distinct arch, policy and source once."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._sources: dict[str, tuple[str, str, str | None]] = {}
        self._bases: dict[str, Arch] = {}
        self._archs: dict[tuple[str, tuple[str, ...]], tuple[Arch, str]] = {}
        self._replays: dict[tuple[str, str | None, tuple[str, ...]], Replay] = {}
        self._profile = content_hash([repr(load_profile())])

    def policy_of(self, workload: str) -> str | None:
        """The policy preset for the kind of model; None for a workload."""
        return self._source(workload)[2]

    def point(self, named: dict[str, str], values: dict[str, Value]) -> Point:
        """Resolve one point."""
        sweep = self._sweep
        settings = {**sweep.fixed, **values}
        arch_settings = tuple(_setting(name, value) for name, value in settings.items() if not _of_policy(name))
        policy_settings = tuple(
            _setting(name.removeprefix("policy."), value) for name, value in settings.items() if _of_policy(name)
        )
        try:
            arch, arch_hash = self._arch(named["arch"], arch_settings)
            replay = self._replay(named["workload"], named["policy"] or None, policy_settings)
            baseline = None if sweep.compare is None else self._replay(named["workload"], sweep.compare, ())
        except ConfigError as error:
            axis = next((axis.name for axis in sweep.axes if f"{axis.name.split('.')[-1]}" in error.where), None)
            place = sweep.where(*(("axes", axis) if axis else ("axes",)))
            raise ConfigError(
                error.what,
                where=f"{place}: {error.where}",
                expected=error.expected,
                got=f"{error.got} at {_shown({**named, **values})}",
                remedy=f"{error.remedy}; take the value out, or add a constraint",
            ) from None
        parts = {
            "arch": arch_hash,
            "replay": replay.key,
            "baseline": None if baseline is None else baseline.key,
            "energy_profile": self._profile,
            "model_version": MODEL_VERSION,
            "result_version": RESULT_VERSION,
        }
        return Point(
            key=content_hash(parts),
            values={**named, **values},
            settings=arch_settings,
            replay=replay,
            baseline=baseline,
            arch=arch,
        )

    def _source(self, workload: str) -> tuple[str, str, str | None]:
        """Absolute target, content hash, and the default policy of a trace."""
        if workload not in self._sources:
            source = load_source(workload)
            target = str(Path(workload).resolve()) if Path(workload).exists() else workload
            policy = default_policy(source) if isinstance(source, AttentionTrace) else None
            self._sources[workload] = target, source.content_hash, policy
        return self._sources[workload]

    def _arch(self, name: str, settings: tuple[str, ...]) -> tuple[Arch, str]:
        if (name, settings) not in self._archs:
            if name not in self._bases:
                self._bases[name] = load_arch(name)
            arch = override(Arch, self._bases[name], settings, where=f"arch {name}")
            self._archs[name, settings] = arch, _digest(arch.to_dict())
        return self._archs[name, settings]

    def _replay(self, workload: str, policy: str | None, settings: tuple[str, ...]) -> Replay:
        asked = workload, policy, settings
        if asked not in self._replays:
            target, source_hash, default = self._source(workload)
            if default is None and (policy or settings):
                raise ConfigError(
                    "a workload already holds its policy",
                    where=workload,
                    expected="a trace to replay",
                    got=f"a workload with {f'policy {policy!r}' if policy else f'policy.{settings[0]}'}",
                    remedy="sweep the trace, or leave policies out",
                )
            content: Any = None
            if policy is not None:
                loaded: Policy = load_policy(policy, settings)
                content = policy_provenance(loaded)
                path = policy.partition(":")
                policy = f"{Path(path[0]).resolve()}{path[1]}{path[2]}" if Path(path[0]).is_file() else policy
            key = content_hash({"source": source_hash, "policy": content, "model_version": MODEL_VERSION})
            self._replays[asked] = Replay(key=key, target=target, policy=policy, settings=settings)
        return self._replays[asked]


def _digest(table: dict[str, Any]) -> str:
    """SHA-256 of a table; without the indents of `content_hash`, which cost a millisecond."""
    return hashlib.sha256(json.dumps(table, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _of_policy(name: str) -> bool:
    return name.startswith("policy.")


def grouped(points: list[Point]) -> Iterator[Point]:
    """Points in an order that keeps those of one replay together: a worker holds few workloads."""
    order: dict[str, list[Point]] = {}
    for point in points:
        order.setdefault(point.replay.key, []).append(point)
    for group in order.values():
        yield from group
