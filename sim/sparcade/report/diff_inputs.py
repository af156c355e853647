"""The inputs of two results that differ: what a user set, or could have set, by the names of `--set`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: A table that is not there: the technique or part is off.
OFF = "off"
_HASH_DIGITS = 12
#: Texts about settings.
_WORDS = frozenset(("source", "uncertainty"))
#: What a workload is made from; its other entries are outcomes.
_SHAPE = ("name", "trace_hash", "layers", "heads", "kv_heads", "head_dim", "max_context", "ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """An input by its dotted name, such as "topk.lanes" or "policy.local_v", with its value in both results."""

    name: str
    a: Any
    b: Any


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Setting, ...]:
    """The inputs of two results that differ: workload, policy, arch, energy constants, versions.

    A part that one result has not (`policy.local_v`) is one setting, and so is a DRAM device of another name.
    The hash of the workload is named only when nothing that it is made from differs.
    """
    work_a, work_b = a["workload"], b["workload"]
    work = [*_compare(_shape(work_a), _shape(work_b), "workload")]
    policy_a, policy_b = ({"kind": "spatten", **work["policy_settings"]} for work in (work_a, work_b))
    work += _named(policy_a, policy_b, "policy", str(work_a["policy"]), str(work_b["policy"]))
    if not work:
        work = [*_compare(_hash(work_a, "content_hash"), _hash(work_b, "content_hash"), "workload")]
    arch = _named(a["arch"], b["arch"], "", str(a["arch"]["name"]), str(b["arch"]["name"]))
    energy = _profile(a["energy_profile"], b["energy_profile"])
    versions = ("package_version", "model_version")
    version = _compare({name: a[name] for name in versions}, {name: b[name] for name in versions}, "")
    return (*work, *arch, *energy, *version)


def _shape(work: Mapping[str, Any]) -> dict[str, Any]:
    return {name: work.get(name) for name in _SHAPE} | _hash(work, "trace_hash")


def _hash(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: str(table.get(name, ""))[:_HASH_DIGITS]}


def _profile(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Setting]:
    """Another profile is one setting; of the same, the constants whose value or range differs."""
    if a["name"] != b["name"]:
        yield Setting(name="energy", a=a["name"], b=b["name"])
        return
    for name in sorted(a["constants"].keys() | b["constants"].keys()):
        here, there = (_numbers(profile["constants"].get(name, {})) for profile in (a, b))
        yield from _compare(here, there, f"profile.{name}")


def _numbers(constant: Mapping[str, Any]) -> dict[str, Any]:
    return {name: constant[name] for name in ("value", "low", "high") if name in constant}


def _named(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str, name_a: str, name_b: str) -> Iterator[Setting]:
    """Differences of two presets; their names only where they start from different ones."""
    base_a, base_b = name_a.partition("+")[0], name_b.partition("+")[0]
    if base_a != base_b:
        yield Setting(name=prefix or "arch", a=base_a, b=base_b)
    here, there = ({key: value for key, value in table.items() if key != "name"} for table in (a, b))
    yield from _compare(here, there, prefix)


def _compare(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str) -> Iterator[Setting]:
    for key in sorted(a.keys() | b.keys()):
        if key in _WORDS or (here := a.get(key, OFF)) == (there := b.get(key, OFF)):
            continue
        name = f"{prefix}.{key}".lstrip(".")
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            if here.get("name") != there.get("name"):
                yield Setting(name=name, a=here.get("name"), b=there.get("name"))
            else:
                yield from _compare(here, there, name)
        else:
            yield Setting(name=name, a=here, b=there)
