"""Table III of the paper from our own runs: SpAtten-1/8, A3 and MnnFast at 128 multipliers, 64 GB/s and 1 GHz."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparcade.arch import load_arch
from sparcade.baselines.compare import Comparison, Ratios, compare
from sparcade.baselines.record import Record
from sparcade.evaluation import default_policy
from sparcade.policy import Policy, load_policy
from sparcade.trace import AttentionTrace
from sparcade.workload import Workload

#: GOP/s that the paper prints, by the beginning of a record's name. They are dense-equivalent, and its A3 is credited
#: with one operation per multiplier and cycle, not two (docs/baselines.md).
PUBLISHED_GOPS = {"mnnfast": 120.0, "a3-": 221.0, "spatten": 360.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """One design of the table on one workload, by every convention."""

    name: str
    record: Record
    effective_gops: float  #: dense operations / time, 2 per MAC
    actual_gops: float  #: executed operations / time, 2 per MAC
    effective_gmacs: float  #: dense MACs / time: 1 operation per MAC
    actual_gmacs: float  #: executed MACs / time
    time_over_subject: float
    published_gops: float | None  #: None: the paper has no such row


def table_iii(
    source: AttentionTrace | Workload, *, policies: Sequence[Policy] | None = None, ratios: Ratios | None = None
) -> tuple[tuple[Throughput, ...], Comparison]:
    """Throughputs on a trace or workload, and the comparison that they come from.

    Parameters
    ----------
    policies : on `spatten-eighth`, of a trace; None: the published scheme alone.
    ratios : as in `compare`; what they leave out of a workload has no row.
    """
    arch = load_arch("spatten-eighth")
    if policies is None and not isinstance(source, Workload):
        policies = [load_policy(default_policy(source))]
    found = compare(source, arch, policies=policies, ratios=ratios, platforms=())
    rows = [
        Throughput(
            name=record.name,
            record=record,
            effective_gops=record.parts["total"].effective_gops,
            actual_gops=record.parts["total"].actual_gops,
            effective_gmacs=record.parts["total"].effective_gops / 2,
            actual_gmacs=record.parts["total"].actual_gops / 2,
            time_over_subject=found.speedup(record, "total")[0],
            published_gops=next((gops for name, gops in PUBLISHED_GOPS.items() if record.name.startswith(name)), None),
        )
        for record in found.records
        if record.parts
    ]
    return tuple(rows), found
