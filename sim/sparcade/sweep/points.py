"""Points: one workload, policy and arch, resolved; keyed by the content of all that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sparcade._files import content_hash
from sparcade.arch import Arch, load_arch
from sparcade.config import overrides, replaced, tables
from sparcade.energy import EnergyProfile
from sparcade.errors import ConfigError
from sparcade.evaluation import default_policy
from sparcade.policy import Policy, load_policy, policy_provenance
from sparcade.sources import load_source
from sparcade.sweep.axes import Value, choose
from sparcade.sweep.definition import DEFAULT_ENERGY, Sweep, placed
from sparcade.sweep.expression import number
from sparcade.trace import AttentionTrace
from sparcade.version import MODEL_VERSION

#: Part of every key: raised when the metrics of a point change their meaning without MODEL_VERSION.
RESULT_VERSION = 2


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
    base: str  #: preset or file of the arch
    values: dict[str, Any]  #: workload, arch, policy, and the value of each axis
    settings: tuple[str, ...]  #: of the arch, such as "dram.channels=8"
    replay: Replay
    baseline: Replay | None
    arch: Arch  #: under the name of its preset, whatever the settings changed
    energy: str  #: preset or file of the energy profile
    profile: EnergyProfile

    @property
    def command(self) -> str:
        """The command that runs it alone."""
        words = ["sparcade run", self.replay.target, "--arch", self.base]
        words += ["--policy", self.replay.policy] if self.replay.policy else []
        words += ["--compare", self.baseline.policy or ""] if self.baseline else []
        words += ["--energy", self.energy] if self.energy != DEFAULT_ENERGY else []
        settings = [*self.settings, *(f"policy.{setting}" for setting in self.replay.settings)]
        return " ".join([*words, *(f"--set '{setting}'" for setting in settings)])


def points_of(sweep: Sweep) -> list[Point]:
    """Every point of a sweep in order: workloads, archs, policies, then the axes, the last one fastest.

    Raises
    ------
    ConfigError
        When the constraints leave no point, a file or name does not exist, or the hardware cannot do a value.
    """
    space = Space(sweep)
    names = [axis.name for axis in sweep.axes]
    chosen = [
        dict(zip(names, values, strict=True))
        for values in choose(sweep.axes, method=sweep.method, samples=sweep.samples, seed=sweep.seed)
    ]
    points = [space.point(named, values) for named in space.combinations() for values in chosen]
    found = [point for point in points if point is not None]
    if not found:
        raise space.nothing_left()
    return found


def _shown(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _setting(name: str, value: Value) -> str:
    """KEY=VALUE; JSON of numbers, texts and lists is TOML."""
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


class Space:
    """Where the points of a sweep are: resolves them, each distinct arch, policy and source once."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._asked = 0
        self._removed = [0] * len(sweep.constraints)  #: points that each constraint removed
        self._sources: dict[str, tuple[str, str, str | None]] = {}
        self._bases: dict[str, Arch] = {}
        self._fields: dict[tuple[str, str, tuple[str, ...]], Any] = {}
        self._archs: dict[tuple[str, tuple[str, ...]], tuple[Arch, str]] = {}
        self._digests: dict[tuple[str, int], tuple[Any, str]] = {}
        self._replays: dict[tuple[str, str | None, tuple[str, ...]], Replay] = {}
        self._profile = content_hash([repr(sweep.profile)])

    def combinations(self) -> list[dict[str, str]]:
        """Each workload with each arch and policy, in order; a policy by kind of model by its name, "" for none."""
        return [
            {"workload": workload, "arch": arch, "policy": policy or self._source(workload)[2] or ""}
            for workload in self._sweep.workloads
            for arch in self._sweep.archs
            for policy in self._sweep.policies
        ]

    def point(self, named: dict[str, str], values: dict[str, Value]) -> Point | None:
        """The point at values of the axes, or None where a constraint removes it.

        Raises
        ------
        ConfigError
            When a file or name does not exist, or the hardware cannot do a value.
        """
        self._asked += 1
        if self._is_removed({**named, **values}):
            return None
        sweep = self._sweep
        if sweep.metric_file is not None:
            sweep.metric_file.at({**named, **values})  # not there: said now, not after the work
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
            base=placed(self._sweep.directory, named["arch"]),
            values={**named, **values},
            settings=arch_settings,
            replay=replay,
            baseline=baseline,
            arch=arch,
            energy=placed(sweep.directory, sweep.energy),
            profile=sweep.profile,
        )

    def nothing_left(self) -> ConfigError:
        """The error for constraints that removed every point asked for."""
        alone = [index for index, count in enumerate(self._removed) if count == self._asked]
        text, where = self._sweep.constraints[alone[0]].text if alone else "", self._sweep.where
        return ConfigError(
            "a constraint removes every point" if alone else "the constraints together remove every point",
            where=where("constraints", text) if alone else where("constraints"),
            expected="at least one point that satisfies them",
            got=f"{text!r}, false for all {self._asked:,} points" if alone else f"none of {self._asked:,} points",
            remedy="loosen a constraint, or give the axes other values",
        )

    def _is_removed(self, values: dict[str, Any]) -> bool:
        scope = {name: number(value) for name, value in values.items()}
        removed = False
        for index, constraint in enumerate(self._sweep.constraints):
            try:
                holds = bool(constraint.value(scope))
            except (ArithmeticError, ValueError, TypeError) as error:
                raise ConfigError(
                    "the constraint has no value",
                    where=self._sweep.where("constraints", constraint.text),
                    expected="true or false at every point",
                    got=f"{error} at {_shown(values)}",
                    remedy="guard it, such as 'a == 0 or b / a < 2'",
                ) from None
            self._removed[index] += not holds
            removed |= not holds
        return removed

    def _source(self, workload: str) -> tuple[str, str, str | None]:
        """Absolute target, content hash, and the default policy of a trace."""
        if workload not in self._sources:
            path = self._sweep.directory / workload
            target = str(path) if path.exists() else workload
            source = load_source(target)
            policy = default_policy(source) if isinstance(source, AttentionTrace) else None
            self._sources[workload] = target, source.content_hash, policy
        return self._sources[workload]

    def _arch(self, name: str, settings: tuple[str, ...]) -> tuple[Arch, str]:
        """An arch and the hash of its parameters, its name left out; each part is built and hashed once."""
        if (name, settings) not in self._archs:
            if name not in self._bases:
                self._bases[name] = load_arch(placed(self._sweep.directory, name))
            base, where = self._bases[name], f"arch {name}"
            parts: dict[str, list[str]] = {}
            for setting in settings:
                parts.setdefault(setting.partition("=")[0].split(".")[0], []).append(setting)
            arch = replaced(base, {part: self._field(name, part, tuple(parts[part])) for part in parts}, where=where)
            self._archs[name, settings] = arch, self._arch_hash(arch)
        return self._archs[name, settings]

    def _field(self, name: str, part: str, settings: tuple[str, ...]) -> Any:
        asked = name, part, settings
        if asked not in self._fields:
            self._fields[asked] = overrides(Arch, self._bases[name], settings, where=f"arch {name}")[part]
        return self._fields[asked]

    def _arch_hash(self, arch: Arch) -> str:
        digest = hashlib.sha256()
        for part in arch.__slots__:
            if part != "name":
                value = getattr(arch, part)
                known = self._digests.get((part, id(value)))
                if known is None:  # keeps the value: its id is its own as long as it lives
                    known = self._digests[part, id(value)] = value, content_hash({part: tables(value)})
                digest.update(known[1].encode())
        return digest.hexdigest()

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
                policy = placed(self._sweep.directory, policy)
                loaded: Policy = load_policy(policy, settings)
                content = policy_provenance(loaded)
            key = content_hash({"source": source_hash, "policy": content, "model_version": MODEL_VERSION})
            self._replays[asked] = Replay(key=key, target=target, policy=policy, settings=settings)
        return self._replays[asked]


def _of_policy(name: str) -> bool:
    return name.startswith("policy.")


def grouped(points: list[Point]) -> Iterator[Point]:
    """Points in an order that keeps those of one replay together: a worker holds few workloads."""
    order: dict[str, list[Point]] = {}
    for point in points:
        order.setdefault(point.replay.key, []).append(point)
    for group in order.values():
        yield from group
