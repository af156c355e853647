"""Definitions of workloads that need no file: the benchmarks of the paper and the released schedules, as TOML."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from sparcade.config import build, read_toml, tables
from sparcade.errors import WorkloadError, did_you_mean
from sparcade.policy.schedule import KeepSchedule

FOLDER = Path(__file__).parent / "benchmarks"
#: How a source begins where the paper says nothing.
NOT_PUBLISHED = "not published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """One prefill step in which every token attends to every token."""

    model: str
    layers: int
    heads: int
    head_dim: int
    tokens: int
    policy: str  #: preset whose schedules and bits apply


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """Generation behind a prompt that is not simulated; the first token sees all keys, as in the released files."""

    model: str
    layers: int
    heads: int
    head_dim: int
    prompt: int  #: tokens; the first context is one more
    generated: int  #: steps
    key_bits: int  #: of the plane that is always fetched; -1 for 32-bit words
    lsb_increment: int  #: 4, or -1 without an LSB plane
    value_bits: int
    query_bits: int  #: recorded; Q is charged at 12 bits
    threshold: float  #: recorded: which rows need LSBs is drawn
    value_keep: Fraction  #: share of the keys whose V each query fetches
    window: int | None = None  #: tokens that keep fractions refer to; None: the context of the step
    token_keep: KeepSchedule = field(default_factory=KeepSchedule)
    head_keep: KeepSchedule = field(default_factory=KeepSchedule)
    accumulate: Literal["while-needed", "all-but-last", "always", "never"] = "while-needed"
    rescale_from: int | None = None  #: iteration from which importance is rescaled at the end of each but the last
    lsb_share: Fraction = Fraction(0)  #: of all rows
    lsb_by_layer: tuple[int, ...] = ()  #: rows that need LSBs, instead of a share
    lsb_by_iteration: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A named workload with the source of each of its numbers."""

    name: str
    work: Encoder | Decoder
    sources: Mapping[str, str]  #: by field; "default" for the fields without their own

    def source(self, field: str) -> str:
        """Where the value of a field comes from."""
        return self.sources[field] if field in self.sources else self.sources["default"]

    @property
    def choices(self) -> list[str]:
        """The fields that are not published, with what was chosen instead."""
        return [f"{field}: {text}" for field, text in sorted(self.sources.items()) if text.startswith(NOT_PUBLISHED)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "work": tables(self.work), "sources": dict(self.sources)}


def workload_names() -> list[str]:
    """Names that `find_definition` knows."""
    return sorted(_definitions())


def find_definition(name: str) -> Definition:
    """The definition of a benchmark or a released schedule.

    Raises
    ------
    WorkloadError
        When there is none of that name.
    """
    known = _definitions()
    if name not in known:
        raise WorkloadError(
            f"there is no workload {name!r}",
            where=name,
            expected=f"one of: {', '.join(sorted(known))}",
            got="no such name",
            remedy=did_you_mean(name, known, "'sparcade workload generate --list' shows the names"),
        )
    return known[name]


@functools.cache
def _definitions() -> dict[str, Definition]:
    """A file is one definition named by its stem, or one per task: `STEM-TASK`, the task's keys over the file's."""
    found: dict[str, Definition] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        content = read_toml(path)
        sources, tasks = content.pop("sources"), content.pop("tasks", {"": {}})
        for task, changes in tasks.items():
            name = f"{path.stem}-{task}" if task else path.stem
            found[name] = _definition(name, {**content, **changes}, sources, str(path))
    return found


def _definition(name: str, values: dict[str, Any], sources: dict[str, str], where: str) -> Definition:
    if "like" in values:  # the schedule of another file, which is the source of everything
        other = FOLDER / f"{values['like']}.toml"
        content = read_toml(other)
        own = content.pop("sources")
        return _definition(name, content, {**own, "default": f"{sources['like']}: {own['default']}"}, str(other))
    kind: type[Encoder | Decoder] = Encoder if values.pop("kind") == "encoder" else Decoder
    work: Encoder | Decoder = build(kind, values, where=where)
    used = {field: text for field, text in sources.items() if field in values or field == "default"}
    return Definition(name=name, work=work, sources=used)
