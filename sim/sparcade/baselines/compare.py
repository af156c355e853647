"""`compare`: designs side by side on one trace or workload, with the normalisation that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import pandas as pd

from sparcade._files import content_hash
from sparcade.accelerator import RunResult, simulate
from sparcade.accelerator.result import bytes_moved
from sparcade.arch import Arch
from sparcade.baselines import a3, dense, mnnfast, roofline
from sparcade.baselines.energy import LABEL, SHARED_PARTS, part_joules
from sparcade.baselines.normalisation import Normalisation
from sparcade.baselines.paper_measured import framework_overhead, paper_table
from sparcade.baselines.record import Part, Record
from sparcade.baselines.work import DenseWork
from sparcade.energy import EnergyProfile, elapsed_seconds, energy_joules, load_profile
from sparcade.errors import ConfigError, SparcadeError
from sparcade.evaluation import default_policy
from sparcade.policy import Policy, PolicyResult, apply, load_policy, mean_cosine, output_errors, policy_name
from sparcade.policy.result import HasOutputs
from sparcade.trace import AttentionTrace
from sparcade.version import MODEL_VERSION, PACKAGE_VERSION
from sparcade.workload import Workload
from sparcade.workload.cascade import check_cascade

SCHEMA = "sparcade.baselines"
SCHEMA_VERSION = 1
A3_VERSIONS = (a3.BASE, a3.CONSERVATIVE, a3.AGGRESSIVE)
MNNFAST_FORMS = (mnnfast.MnnFast(), mnnfast.MnnFast(form="streaming"))
#: Policies beside the published scheme, by the mask of the model.
OTHER_POLICIES = {
    "causal": ("spatten-normalised", "h2o", "streaming-llm", "snapkv", "duo-attention", "layer-drop"),
    "full": ("layer-drop",),
}
_NEEDS_TENSORS = "its counts depend on the values: compare a trace, or state them with {option}"
Step = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Counts of a workload without tensors, as its user states them; what is None is not compared."""

    #: M/n, C/n and K'/n of A3: iterations, candidates and kept rows per visible key.
    a3: tuple[Fraction, Fraction, Fraction] | None = None
    mnnfast: Fraction | None = None  #: V vectors multiplied per visible key

    def __post_init__(self) -> None:
        for option, shares in (("--a3-ratios", self.a3), ("--mnnfast-ratio", self.mnnfast and (self.mnnfast,))):
            if shares and not all(0 <= share <= 1 for share in shares):
                raise ConfigError(
                    "the ratio is no share",
                    where=option,
                    expected="0 to 1",
                    got=", ".join(map(str, shares)),
                    remedy="give the rows per visible key",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Records of one workload; the first is the subject that the others are held against."""

    work: DenseWork
    arch: Arch
    normalisation: Normalisation
    profile: EnergyProfile
    source_hash: str  #: content hash of the trace or workload
    records: tuple[Record, ...]
    notes: tuple[str, ...]

    @property
    def subject(self) -> Record:
        """The design on the arch that the others are held against."""
        return self.records[0]

    def speedup(self, record: Record, phase: str) -> tuple[float, float]:
        """Time of a design over the subject's, low and high end (equal unless the time is a range)."""
        part, ours = record.parts[phase], self.subject.parts[phase].seconds
        return part.seconds / ours, (part.seconds_high or part.seconds) / ours

    def to_dict(self) -> dict[str, Any]:
        """Plain, deterministic tables: no time, path or host name."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "package_version": PACKAGE_VERSION,
            "model_version": MODEL_VERSION,
            "workload": self.work.name,
            "source_hash": self.source_hash,
            "arch": self.arch.to_dict(),
            "arch_hash": content_hash(self.arch.to_dict()),
            "normalisation": self.normalisation.to_dict(),
            "energy": {"profile": self.profile.name, "label": LABEL},
            "subject": self.subject.name,
            "records": [self._record(record) for record in self.records],
            "notes": list(self.notes),
        }

    def _record(self, record: Record) -> dict[str, Any]:
        over = {
            phase: {
                "time_over_subject": self.speedup(record, phase)[0],
                "time_over_subject_high": self.speedup(record, phase)[1],
                "achieved_gbps": record.parts[phase].achieved_gbps,
                "subject_achieved_gbps": self.subject.parts[phase].achieved_gbps,
            }
            for phase in record.parts
        }
        return {**record.to_dict(), "over_subject": over}

    def frame(self) -> pd.DataFrame:
        """One line per record and phase; a record without numbers has one line that says why."""
        lines = []
        for record in self.records:
            table = self._record(record)
            head = {name: table[name] for name in ("name", "method", "counts")}
            tail = {**record.output_error, "notes": "; ".join(record.notes)}
            lines += [
                {**head, "phase": phase, **part, **table["over_subject"][phase], **tail}
                for phase, part in table["parts"].items()
            ] or [{**head, **tail}]
        return pd.DataFrame(lines)


def compare(
    source: AttentionTrace | Workload,
    arch: Arch,
    *,
    policies: Sequence[Policy] | None = None,
    normalisation: Normalisation | None = None,
    versions: Sequence[a3.A3] = A3_VERSIONS,
    forms: Sequence[mnnfast.MnnFast] = MNNFAST_FORMS,
    ratios: Ratios | None = None,
    platforms: Sequence[str] | None = None,
    element_bits: int | None = None,
    efficiency: tuple[float, float] = roofline.EFFICIENCY,
    paper: bool = False,
    framework: bool = False,
    step: Step | None = None,
) -> Comparison:
    """Time policies and the dense run on an arch, and the closed forms of other designs on the same means.

    Parameters
    ----------
    policies : of a trace, the first is the subject; None: the published scheme and the library's others.
    normalisation : of the closed forms; None: that of the arch (`Normalisation.of`).
    ratios : counts of a workload, which has no tensors; a trace gives its own.
    platforms : names of GPUs and CPUs; None: all.
    paper, framework : the paper's measurements, and the fit to them.
    step : called with the name of the stage and the fraction done.

    Raises
    ------
    SparcadeError
        When an input does not fit: ratios or policies with the wrong kind of source, a policy with the model.
    """
    _check_source(source, policies, ratios)
    stage = step or (lambda name, fraction: None)
    chosen = [roofline.find_platform(name) for name in (roofline.platforms() if platforms is None else platforms)]
    work, profile = DenseWork.of(source), load_profile()
    rooflines = [
        roofline.evaluate(work, platform, element_bits=element_bits, efficiency=efficiency) for platform in chosen
    ]
    published = [*(paper_table(work) if paper else ()), *(framework_overhead(work) if framework else ())]
    stage("normalisation", 0.0)
    normalisation = normalisation or Normalisation.of(arch)
    on_arch: Iterable[Record]
    if isinstance(source, Workload):
        check_cascade(source)
        run = simulate(source, arch, partial(stage, "simulate"))
        on_arch = [_simulated(source.shape.policy, run, work, profile)]
        closed = _from_ratios(work, normalisation, versions, ratios or Ratios())
    else:
        reference = apply(source, load_policy("dense-fp32"), partial(stage, "float reference"))
        on_arch = _policies(source, arch, policies, work, profile, reference, stage)
        stage("A3 and MnnFast", 0.0)
        closed = _from_tensors(source, work, normalisation, versions, forms, reference)
    run = simulate(work.workload(), arch, partial(stage, "simulate dense"))
    records = [
        *on_arch,
        _simulated("dense", run, work, profile),
        Record(name="dense, ideal", method="closed form", parts=dense.ideal(work, normalisation), counts="dense"),
        *closed,
    ]
    return Comparison(
        work=work,
        arch=arch,
        normalisation=normalisation,
        profile=profile,
        source_hash=source.content_hash,
        records=(*(_with_energy(record, arch, profile) for record in records), *rooflines, *published),
        notes=tuple(_notes(work, arch, normalisation)),
    )


def _check_source(source: AttentionTrace | Workload, policies: Sequence[Policy] | None, ratios: Ratios | None) -> None:
    if isinstance(source, Workload) and policies:
        raise ConfigError(
            "a workload already holds its policy",
            where="--policy",
            expected="a trace to replay",
            got=f"the workload {source.shape.name!r}",
            remedy="compare the trace, or leave --policy out",
        )
    if not isinstance(source, Workload) and ratios is not None:
        raise ConfigError(
            "a trace has tensors: its counts are real ones",
            where="--a3-ratios, --mnnfast-ratio",
            expected="a workload, which has none",
            got=f"the trace {source.name!r}",
            remedy="leave the ratios out",
        )


def _policies(
    trace: AttentionTrace,
    arch: Arch,
    policies: Sequence[Policy] | None,
    work: DenseWork,
    profile: EnergyProfile,
    reference: PolicyResult,
    stage: Step,
) -> list[Record]:
    """Each policy on the arch. One that was not asked for and does not fit the model is a record without numbers."""
    others = [load_policy(name) for name in OTHER_POLICIES[trace.manifest.model.mask]]
    records: list[Record] = []
    for policy in policies or (load_policy(default_policy(trace)), *others):
        name = policy_name(policy)
        try:
            replay = apply(trace, policy, partial(stage, f"replay {name}"))
            run = simulate(replay.workload, arch, partial(stage, f"simulate {name}"))
        except SparcadeError as error:
            if policies or not records:
                raise
            records.append(Record(name=name, method="simulated", parts={}, notes=(error.what,)))
            continue
        record = _simulated(name, run, work, profile)
        records.append(dataclasses.replace(record, output_error=error_summary(replay, reference)))
    return records


def _simulated(name: str, run: RunResult, work: DenseWork, profile: EnergyProfile) -> Record:
    """A run on the arch, phase by phase."""
    parts = {}
    for phase, steps in work.phases.items():
        counters = run.total(None if phase == "total" else run.phase(phase))
        energy = energy_joules(counters, arch=run.arch, profile=profile)
        parts[phase] = Part(
            seconds=elapsed_seconds(counters, run.arch),
            cycles=counters["cycles"],
            macs=counters["macs_qk"] + counters["macs_pv"],
            dense_macs=work.layers * int(work.macs[steps].sum()),
            dram_bytes=bytes_moved(counters, run.arch),
            softmax_elements=counters["softmax_elements"],
            energy_joules=sum(energy[part] for part in SHARED_PARTS),
        )
    unpruned = name != "dense" and parts["total"].macs == parts["total"].dense_macs
    notes = ("prunes nothing here",) if unpruned else ()
    return Record(
        name=name,
        method="simulated",
        parts=parts,
        counts=run.workload.shape.ids,
        details={"arch": run.arch.name, "workload_hash": run.workload.content_hash},
        notes=notes,
    )


def _from_tensors(
    trace: AttentionTrace,
    work: DenseWork,
    normalisation: Normalisation,
    versions: Sequence[a3.A3],
    forms: Sequence[mnnfast.MnnFast],
    reference: PolicyResult,
) -> list[Record]:
    records = []
    for version in versions:
        counts = a3.count(trace, work, version)
        records.append(_a3_record(version.name, work, counts, normalisation, reference))
    for form in forms:
        values = mnnfast.count(trace, work, form)
        records.append(_mnnfast_record(f"mnnfast, {form.form}", work, values, normalisation, reference))
    return records


def _from_ratios(
    work: DenseWork, normalisation: Normalisation, versions: Sequence[a3.A3], ratios: Ratios
) -> list[Record]:
    records = [
        _a3_record(version.name, work, a3.exact(work, version), normalisation, None)
        for version in versions
        if version.iterations is None
    ]
    if ratios.a3 is None:
        records.append(_unknown("a3-approximate", "--a3-ratios M,C,K"))
    else:
        iterations, candidates, kept = ratios.a3
        version = a3.A3(name="a3-approximate", iterations=iterations)
        counts = a3.from_ratios(work, version, candidates, kept)
        records.append(_a3_record(version.name, work, counts, normalisation, None))
    if ratios.mnnfast is None:
        records.append(_unknown("mnnfast", "--mnnfast-ratio KEPT"))
    else:
        values = mnnfast.from_ratio(work, mnnfast.MnnFast(), ratios.mnnfast)
        records.append(_mnnfast_record("mnnfast", work, values, normalisation, None))
    return records


def _a3_record(
    name: str, work: DenseWork, counts: a3.A3Counts, normalisation: Normalisation, reference: HasOutputs | None
) -> Record:
    return Record(
        name=name,
        method="closed form",
        parts=a3.evaluate(work, counts, normalisation),
        counts=counts.source,
        details=counts.details(work, normalisation),
        output_error=error_summary(counts.outputs, reference) if counts.outputs and reference else {},
    )


def _mnnfast_record(
    name: str,
    work: DenseWork,
    counts: mnnfast.ValueCounts,
    normalisation: Normalisation,
    reference: HasOutputs | None,
) -> Record:
    return Record(
        name=name,
        method="closed form",
        parts=mnnfast.evaluate(work, counts, normalisation),
        counts=counts.source,
        details=counts.details(work),
        output_error=error_summary(counts.outputs, reference) if counts.outputs and reference else {},
    )


def _unknown(name: str, option: str) -> Record:
    return Record(
        name=name, method="closed form", parts={}, counts="unknown", notes=(_NEEDS_TENSORS.format(option=option),)
    )


def _with_energy(record: Record, arch: Arch, profile: EnergyProfile) -> Record:
    if record.method != "closed form":
        return record
    parts: Mapping[str, Part] = {
        phase: dataclasses.replace(part, energy_joules=part_joules(part, arch, profile))
        for phase, part in record.parts.items()
    }
    return dataclasses.replace(record, parts=parts)


def error_summary(result: HasOutputs, reference: HasOutputs) -> dict[str, float]:
    """Distance of the outputs from the float model, over all rows; rounded to what every machine agrees on."""
    errors = output_errors(result, reference)
    return {
        "cosine_mean": round(mean_cosine(errors), 6),
        "cosine_min": round(min(error.cosine_min for error in errors), 6),
        "max_abs_error": round(max(error.max_abs_error for error in errors), 6),
    }


def _notes(work: DenseWork, arch: Arch, normalisation: Normalisation) -> list[str]:
    notes = [
        f"closed forms: {normalisation.label}",
        f"ratios hold on {work.name}, with this normalisation; closed forms are best cases: perfect overlap of compute "
        "and DRAM in each layer, no latency of the memory",
        LABEL,
    ]
    own = (2 * arch.multipliers, arch.peak_gbps, arch.clock_ghz)
    if own != (normalisation.multipliers, normalisation.bandwidth_gbps, normalisation.clock_ghz):
        notes.append(f"not the same means: {arch.name} has {own[0]:,} multipliers, {own[1]:g} GB/s, {own[2]:g} GHz")
    vector, moved = work.head_dim * normalisation.word_bits / 8, arch.dram.transaction_bytes
    if arch.layout == "padded" and vector % moved:
        notes.append(
            f"{arch.name} pads a vector of {vector:g} bytes to transactions of {moved}; the closed forms pad nothing"
        )
    used = min(arch.multipliers // work.head_dim, arch.max_scores_per_cycle) * work.head_dim
    if 0 < used < arch.multipliers:
        notes.append(
            f"{arch.name} uses {used} of {arch.multipliers} multipliers per array at D = {work.head_dim} "
            f"({arch.max_scores_per_cycle} keys a cycle); the closed forms use all"
        )
    return notes
