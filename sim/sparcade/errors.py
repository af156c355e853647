"""Errors a user can act on: each says what is wrong, where, what was expected, what was got, the remedy, and the page.

A class of errors names its page of docs/, or else the command line that of the command; `sparcade docs PAGE` prints it,
from the wheel too.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


class SparcadeError(Exception):
    """Bad input. The command line prints it without a traceback and exits with code 2."""

    page: str = "README"  #: of docs/, without its ending: what helps

    def __init__(self, what: str, *, where: str, expected: str, got: str, remedy: str) -> None:
        self.what, self.where, self.expected, self.got, self.remedy = (
            " ".join(part.split()) for part in (what, where, expected, got, remedy)
        )
        super().__init__(self.what)

    def __str__(self) -> str:
        """The whole error, a part a line."""
        return (
            f"{self.what}\n  where:    {self.where}\n  expected: {self.expected}\n"
            f"  got:      {self.got}\n  remedy:   {self.remedy}\n"
            f"  see:      docs/{self.page}.md (sparcade docs {self.page})"
        )

    def __reduce__(self) -> tuple[Callable[..., SparcadeError], tuple[object, ...]]:
        """Pickled by its parts: an error of a worker process reaches its parent."""
        return _remake, (type(self), self.what, self.where, self.expected, self.got, self.remedy)


def _remake(kind: type[SparcadeError], what: str, where: str, expected: str, got: str, remedy: str) -> SparcadeError:
    return kind(what, where=where, expected=expected, got=got, remedy=remedy)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "use one of the names above") -> str:
    """The remedy for a name that does not exist: the nearest one that does."""
    names = sorted(known)
    folded = {each.casefold(): each for each in reversed(names)}
    begins = [each for each in names if name and each.casefold().startswith(name.casefold())]
    near = begins or [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.4)]
    return f"did you mean {near[0]!r}?" if near else otherwise


class ConfigError(SparcadeError):
    """A setting of an arch or a policy that does not exist or that the hardware cannot do."""


class MissingError(ConfigError):
    """A package or a tool that a command needs and that is not installed."""

    page = "doctor"


def unknown_name(what: str, name: str, known: Iterable[str], *, where: str) -> ConfigError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = list(known)
    return ConfigError(
        what,
        where=where,
        expected=f"one of: {', '.join(names)}",
        got=repr(name),
        remedy=did_you_mean(name, names),
    )


class TraceError(SparcadeError):
    """A trace folder that is damaged, foreign or inconsistent."""

    page = "traces"


class PolicyError(SparcadeError):
    """A policy that raised, or returned something the protocol does not allow."""

    page = "policies"


class WorkloadError(SparcadeError):
    """A workload that is damaged, inconsistent, or too large for the arch."""

    page = "workloads"


class StreamError(SparcadeError):
    """A DRAM request stream that is malformed, or leaves the device."""

    page = "dram"


class SweepError(SparcadeError):
    """A sweep that can't go on: results that can't be written, or that contradict each other."""

    page = "sweeps"


class ResultError(SparcadeError):
    """A result of a run that is missing, damaged, or of another version."""

    page = "diff"


class InvariantError(Exception):
    """A conservation law of the simulator failed: a bug in Sparcade, never the user's fault."""
