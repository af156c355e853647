"""Errors a user can act on: each says what is wrong, where, what was expected, what was got, and the remedy."""

from __future__ import annotations


class SparcadeError(Exception):
    """Bad input. The command line prints it without a traceback and exits with code 2."""

    def __init__(self, what: str, *, where: str, expected: str, got: str, remedy: str) -> None:
        self.what, self.where, self.expected, self.got, self.remedy = (
            " ".join(part.split()) for part in (what, where, expected, got, remedy)
        )
        super().__init__(
            f"{self.what}\n  where:    {self.where}\n  expected: {self.expected}\n"
            f"  got:      {self.got}\n  remedy:   {self.remedy}"
        )


class ConfigError(SparcadeError):
    """A setting of an arch or a policy that does not exist or that the hardware cannot do."""


class TraceError(SparcadeError):
    """A trace folder that is damaged, foreign or inconsistent."""


class PolicyError(SparcadeError):
    """A policy that raised, or returned something the protocol does not allow."""


class WorkloadError(SparcadeError):
    """A workload that is damaged, inconsistent, or too large for the arch."""


class InvariantError(Exception):
    """A conservation law of the simulator failed: a bug in Sparcade, never the user's fault."""
