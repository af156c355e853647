"""Workloads: what the accelerator is asked to do, as two tables without values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparcade.workload.store import Workload, WorkloadShape

if TYPE_CHECKING:
    from sparcade.policy.protocol import Policy
    from sparcade.trace import AttentionTrace

__all__ = ["Workload", "WorkloadShape", "from_trace"]


def from_trace(trace: AttentionTrace, policy: Policy) -> Workload:
    """Replay a trace under a policy and keep the workload only (`sparcade.policy.apply` also returns outputs)."""
    from sparcade.policy import apply

    return apply(trace, policy).workload
