"""Accuracy against hardware: a policy in a model's closed loop, and what the same run costs on an arch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np

from sparcade._files import content_hash
from sparcade.accelerator import RunResult, simulate
from sparcade.arch import Arch
from sparcade.energy import load_profile
from sparcade.errors import ConfigError
from sparcade.evaluation import PHASES, Evaluation
from sparcade.policy import (
    PolicyResult,
    RandomRanking,
    load_policy,
    mean_cosine,
    output_errors,
    policy_provenance,
)
from sparcade.version import MODEL_VERSION, PACKAGE_VERSION
from sparcade.workload import Workload
from sparcade_workloads.estimate import Estimate
from sparcade_workloads.models import deterministic
from sparcade_workloads.subject import Measured, Subject, measure, replay

SCHEMA = "sparcade.accuracy"
SCHEMA_VERSION = 1
#: Digits of every number in the tables: what lies behind them depends on the order of a processor's float sums.
DIGITS = 6
Step = Callable[[str, float], None]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A policy setting and the values it takes, as written."""

    name: str  #: such as "policy.tokens.end"
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """`policy.KEY=V1,V2,...`."""
        name, equals, values = text.partition("=")
        parts = tuple(value.strip() for value in values.split(","))
        try:
            numbers = [float(Fraction(value)) for value in parts]
        except (ValueError, ZeroDivisionError):
            numbers = []
        if not equals or not name.startswith("policy.") or len(set(numbers)) != len(parts):
            raise ConfigError(
                "the axis is no policy setting with different numbers",
                where=f"--axis {text}",
                expected="policy.KEY=V1,V2,...",
                got=repr(text),
                remedy="such as --axis policy.tokens.end=1,3/4,1/2,1/4",
            )
        return cls(name=name, values=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """A table, one row per value of the axis (one in all without an axis), and where it comes from."""

    metric: str
    axis: str | None
    provenance: dict[str, Any]
    rows: list[Row]
    workload: Workload  #: of the last row

    def to_dict(self) -> dict[str, Any]:
        """Plain and deterministic; what does not apply is None."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "package_version": PACKAGE_VERSION,
            "model_version": MODEL_VERSION,
            "metric": self.metric,
            "axis": self.axis,
            **self.provenance,
            "rows": [{name: None if value != value else value for name, value in row.items()} for row in self.rows],
        }


def measure_accuracy(
    subject: Subject,
    policy: str,
    arch: Arch,
    *,
    settings: Sequence[str] = (),
    axis: Axis | None = None,
    compare: str = "dense",
    control_seed: int | None = None,
    open_loop: bool = False,
    step: Step | None = None,
) -> AccuracyReport:
    """Measure a policy, or each point of an axis, beside `compare` on the same sequences and arch.

    Parameters
    ----------
    settings : of the policy, such as "tokens.end=0.5".
    control_seed : also measure the control that ranks at random.
    open_loop : also replay the unpruned model's Q, K, V under the policy.
    step : called with the name of the stage and the fraction done.
    """
    points: list[tuple[Row, list[str]]] = [({}, [])]
    if axis is not None:
        key = axis.name.removeprefix("policy.")
        points = [({axis.name: float(Fraction(value))}, [f"{key}={value}"]) for value in axis.values]
    policies = [load_policy(policy, [*settings, *extra]) for _, extra in points]

    def stage(name: str) -> Callable[[float], None]:
        return lambda fraction: step(name, fraction) if step is not None else None

    rows = []
    with deterministic():
        dense = measure(subject, load_policy(compare), stage(f"{compare} in the loop"))
        baseline = simulate(dense.result.workload, arch, stage(f"{compare} on the arch"))
        references = None
        if open_loop:
            references = replay(subject, [load_policy("dense-fp32"), *policies], stage("open loop"))
        for index, ((values, extra), rules) in enumerate(zip(points, policies, strict=True)):
            name = " ".join([policy, *extra])
            measured = measure(subject, rules, stage(f"{name} in the loop"), keep_outputs=open_loop)
            run = simulate(measured.result.workload, arch, stage(f"{name} on the arch"))
            row = {**values, "policy": policy, **_metrics(subject, measured, dense)}
            if control_seed is not None:
                again = load_policy(policy, [*settings, *extra])
                control = RandomRanking(again, seed=control_seed, lsb_rate=lsb_rates(measured.result.workload))
                ranked = measure(subject, control, stage(f"{name}, random ranks"))
                row |= _named(f"{subject.task.metric}_random", subject.task.scale.estimate(ranked.scores))
                gain = subject.task.scale.difference(ranked.scores, measured.scores)
                row |= _named(f"{subject.task.metric}_random_difference", gain)
            row |= shares(measured.result.workload) | _hardware(run, measured.result, baseline)
            if references is not None:
                row |= _open_loop(references[1 + index], references[0], measured.result, arch)
            rows.append({name: _rounded(value) for name, value in row.items()})
    provenance = {
        **subject.provenance,
        "closed_loop_check": _rounded(subject.check),
        "policy": PurePath(policy).name,
        "set": list(settings),
        "policy_settings": policy_provenance(policies[0]),  # of the first row
        "compare": compare,
        "arch": arch.name,
        "arch_hash": content_hash(arch.to_dict()),
        "energy_profile": load_profile().label,
        "control": None if control_seed is None else f"random ranks, seed {control_seed}",
    }
    return AccuracyReport(
        metric=subject.task.metric,
        axis=None if axis is None else axis.name,
        provenance=provenance,
        rows=rows,
        workload=measured.result.workload,
    )


def shares(work: Workload) -> dict[str, float]:
    """Means over a workload: tokens, heads and values that are left, and rows whose LSB plane was fetched."""
    rows, queries = work.rows, work.queries
    steps = len(np.unique(rows[["sequence", "step"]]))
    planes = np.repeat(rows["lsb_bits"] > 0, rows["queries"])
    return {
        "tokens_kept": float((rows["keys"] / rows["context"]).mean()),
        "heads_kept": len(rows) / (steps * work.shape.layers * work.shape.heads),
        "values_kept": float(queries["values"].sum(dtype=np.int64) / queries["visible"].sum(dtype=np.int64)),
        "lsb_rate": float(queries["refetch"][planes].mean()) if planes.any() else float("nan"),
    }


def lsb_rates(work: Workload) -> dict[int, float]:
    """Share of the rows with an LSB plane that fetched it, by layer."""
    layers = np.repeat(work.rows["layer"], work.rows["queries"])
    planes = np.repeat(work.rows["lsb_bits"] > 0, work.rows["queries"])
    return {
        int(layer): float(work.queries["refetch"][planes & (layers == layer)].mean())
        for layer in np.unique(layers[planes])
    }


def _metrics(subject: Subject, measured: Measured, dense: Measured) -> Row:
    metric, scale = subject.task.metric, subject.task.scale
    estimate = scale.estimate(measured.scores)
    return {
        **_named(metric, estimate),
        f"{metric}_n": estimate.n,
        **_named(f"{metric}_dense", scale.estimate(dense.scores)),
        **_named(f"{metric}_difference", scale.difference(measured.scores, dense.scores)),
    }


def _named(name: str, estimate: Estimate) -> Row:
    return {name: estimate.value, f"{name}_stderr": estimate.stderr}


def _hardware(run: RunResult, result: PolicyResult, baseline: RunResult) -> Row:
    """DRAM and cycles of a run, and over the compared policy on the same arch; reductions count K and V."""
    evaluation = Evaluation(run=run, profile=load_profile(), replay=result, baseline=baseline)
    compared = evaluation.comparison()
    row: Row = {}
    for phase in ("total", *PHASES):
        if phase not in compared:
            continue
        part = evaluation.part(run, None if phase == "total" else phase)
        prefix = "" if phase == "total" else f"{phase}_"
        row |= {
            f"{prefix}cycles": part["counters"]["cycles"],
            f"{prefix}dense_cycles": compared[phase]["baseline_cycles"],
            f"{prefix}speedup": compared[phase]["speedup"],
            f"{prefix}kv_reduction_vs_dense_12_bit": part["kv_reduction_vs_dense_12_bit"],
            f"{prefix}kv_reduction_vs_dense_fp32": part["kv_reduction_vs_dense_fp32"],
            f"{prefix}kv_bytes_moved_reduction": compared[phase]["kv_bytes_moved_reduction"],
            f"{prefix}energy_reduction": compared[phase]["energy_reduction"],
        }
    return row


def _open_loop(replayed: PolicyResult, model: PolicyResult, closed: PolicyResult, arch: Arch) -> Row:
    """What a replay of the unpruned model's trace says instead."""
    run = simulate(replayed.workload, arch)
    part = Evaluation(run=run, profile=load_profile(), replay=replayed).part(run, None)
    return {
        **{f"open_{name}": value for name, value in shares(replayed.workload).items()},
        "open_kv_reduction_vs_dense_12_bit": part["kv_reduction_vs_dense_12_bit"],
        "open_cycles": run.cycles,
        "same_survivors": _overlap(replayed, closed),
        "output_cosine": _cosine(closed, model),
        "open_output_cosine": _cosine(replayed, model),
    }


def _overlap(one: PolicyResult, other: PolicyResult) -> float:
    """Tokens that both let into a layer over those that either did, mean over layers and steps."""
    pairs = [(set(ids.tolist()), set(other.survivors[key].tolist())) for key, ids in one.survivors.items()]
    return float(np.mean([len(left & right) / len(left | right) for left, right in pairs]))


def _cosine(result: PolicyResult, model: PolicyResult) -> float:
    """Mean cosine of all attention outputs that were computed to those of the unpruned float model."""
    return mean_cosine(output_errors(result, model))


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
