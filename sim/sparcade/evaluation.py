"""`evaluate`: the main job. Trace -> policy -> workload -> run, beside a dense run and the float model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from sparcade._files import content_hash
from sparcade.accelerator import RunResult, simulate
from sparcade.accelerator.bounds import bound_cycles, bounds_frame
from sparcade.accelerator.events import EventLog, Excerpt, record_events, record_excerpt
from sparcade.accelerator.invariants import INVARIANTS
from sparcade.accelerator.result import KINDS, bits_needed, bytes_moved
from sparcade.arch import Arch
from sparcade.channel_traffic import CHANNEL_LAW, channel_traffic
from sparcade.energy import (
    PARTS,
    WINDOW_CYCLES,
    EnergyProfile,
    Estimate,
    area_mm2,
    block_power,
    energy_estimates,
    energy_joules,
    load_profile,
    power,
    total,
)
from sparcade.energy.model import buffer_memory, elapsed_seconds
from sparcade.errors import InvariantError
from sparcade.policy import OutputError, Policy, PolicyResult, apply, load_policy, output_errors
from sparcade.trace import AttentionTrace
from sparcade.version import MODEL_VERSION, PACKAGE_VERSION
from sparcade.workload import Workload
from sparcade.workload.cascade import check_cascade

SCHEMA = "sparcade.run"
SCHEMA_VERSION = 1
#: Reductions count these kinds only (the paper's convention); Q and outputs are reported beside them.
KV = ("k_msb", "k_lsb", "v")
PHASES = ("prefill", "decode")
ENERGY_LAW = "energies of the parts and layers sum to the total"
Step = Callable[[str, float], None]
Log = Literal["nothing", "excerpt", "events"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A run with what it is compared to; `to_dict` is result.json."""

    run: RunResult
    profile: EnergyProfile
    replay: PolicyResult | None = None  #: None for a workload without its trace
    errors: tuple[OutputError, ...] = ()
    baseline: RunResult | None = None  #: the compared policy on the same arch
    notes: tuple[str, ...] = ()  #: what the trace says about itself that the numbers rest on
    window_cycles: int = WINDOW_CYCLES  #: over which the peak of power is taken
    excerpt: Excerpt | None = None  #: a short window of the run, cycle by cycle
    events: EventLog | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain, deterministic tables: no time, path or host name."""
        work, arch = self.run.workload, self.run.arch
        shape = work.shape
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "package_version": PACKAGE_VERSION,
            "model_version": MODEL_VERSION,
            "workload": {
                **shape.to_dict(),
                "content_hash": work.content_hash,
                "rows": len(work.rows),
                "queries": len(work.queries),
            },
            "arch": arch.to_dict(),
            "arch_hash": content_hash(arch.to_dict()),
            "energy_profile": self.profile.to_dict(),
            "area_mm2": self.area(),
            "power_watts": power(self.run, self.profile, self.window_cycles).to_dict(),
            "block_power_watts": self.block_power(),
            "total": self.part(self.run, None),
            "phases": {name: self.part(self.run, name) for name in PHASES if self.run.phase(name).any()},
            "dram_channels": channel_traffic(self.run),
            "idle_cycles": self.run.idle(),
            "bounds": self.bounds(),
            "layers": self.layers(self.run),
            "heads": self.run.frame("layer", "head").to_dict("records"),
            "output_errors": [error.to_dict() for error in self.errors],
            "saturated_elements": self.replay.saturated if self.replay else {},
            "keys_pruned_in_prefill_but_fetched_in_decode": self.replay.replayed_keys if self.replay else 0,
            "comparison": self.comparison(),
            "assumptions": self.assumptions(),
            "invariants_held": [*INVARIANTS, CHANNEL_LAW, ENERGY_LAW],
        }

    def assumptions(self) -> list[str]:
        """What the numbers rest on that was not measured or published."""
        arch, rows = self.run.arch, self.run.workload.rows
        notes = [
            *arch.dram.sources,
            *arch.departures,
            f"top-k engine {arch.topk.engine!r}: {arch.topk.source}",
            self.profile.label,
            "low and high of energy, power and area: all constants at the end of their ranges at once",
        ]
        for name, buffer in (("key", arch.key_sram), ("value", arch.value_sram)):
            if not buffer_memory(buffer, arch).is_fitted:
                notes.append(f"a bank of the {name} SRAM is outside the range of CACTI's fit: extrapolated")
        if self.replay is not None:
            notes += ["open loop: later layers saw the model's unpruned inputs", *self.notes]
        shape = self.run.workload.shape
        if shape.ids == "synthetic":
            notes.append(f"ids, scores: synthetic, seed {shape.policy_settings.get('seed')}")
        choices = shape.policy_settings.get("choices")
        notes += [str(choice) for choice in choices] if isinstance(choices, list) else []
        if (rows["msb_bits"] == 32).any():
            notes.append("32-bit words: timing only; energy is that of the 12-bit datapath")
        return notes

    def part(self, run: RunResult, phase: str | None) -> dict[str, Any]:
        """Counters and derived figures of a phase, or of the whole run."""
        counters = run.total(None if phase is None else run.phase(phase))
        energy = energy_estimates(counters, arch=run.arch, profile=self.profile)
        seconds = elapsed_seconds(counters, run.arch)
        moved = bytes_moved(counters, run.arch)
        dense = dense_kv_bits(run, phase)
        needed = bits_needed(counters, KV)
        return {
            "counters": counters,
            "seconds": seconds,
            "bytes_moved": moved,
            "bytes_by_kind": {kind: bytes_moved(counters, run.arch, (kind,)) for kind in KINDS},
            "padding_bytes": moved - bits_needed(counters) / 8,
            "kv_bits_needed": needed,
            "kv_bytes_moved": bytes_moved(counters, run.arch, KV),
            "kv_reduction_vs_dense_12_bit": dense * 12 / needed,
            "kv_reduction_vs_dense_fp32": dense * 32 / needed,
            "achieved_gbps": moved / seconds / 1e9,
            "peak_gbps": run.arch.peak_gbps,
            "energy_joules": {name: joules.value for name, joules in energy.items()},
            "energy_low_joules": {name: joules.low for name, joules in energy.items()},
            "energy_high_joules": {name: joules.high for name, joules in energy.items()},
            "energy_total_joules": sum(joules.value for joules in energy.values()),
            "energy_total_low_joules": sum(joules.low for joules in energy.values()),
            "energy_total_high_joules": sum(joules.high for joules in energy.values()),
            "executed_tops": 2 * (counters["macs_qk"] + counters["macs_pv"]) / seconds / 1e12,
        }

    def area(self) -> dict[str, dict[str, float]]:
        """Area of each block and in all [mm2]."""
        blocks = area_mm2(self.run.arch, self.profile)
        return _tables({**blocks, "total": total(blocks.values())})

    def block_power(self) -> dict[str, dict[str, dict[str, float]]]:
        """Average power [W] by block of the paper's Fig. 13, and by logic, SRAM and DRAM as in its Table II."""
        watts = block_power(self.run.total(), arch=self.run.arch, profile=self.profile)
        return {"blocks": _tables(watts.blocks), "kinds": _tables(watts.kinds)}

    def comparison(self) -> dict[str, Any]:
        """Ratios over the baseline on the same arch, with the bandwidth of both; empty without one."""
        if self.baseline is None:
            return {}
        work = self.baseline.workload
        table: dict[str, Any] = {
            "policy": work.shape.policy,
            "policy_settings": work.shape.policy_settings,
            "workload_hash": work.content_hash,
        }
        for phase in (None, *PHASES):
            if phase is not None and not self.run.phase(phase).any():
                continue
            ours, theirs = self.part(self.run, phase), self.part(self.baseline, phase)
            table[phase or "total"] = compare_parts(ours, theirs) | {
                "baseline_energy_joules": theirs["energy_joules"],
                "baseline_bytes_moved": theirs["bytes_moved"],
                "achieved_gbps": ours["achieved_gbps"],
            }
        return table

    def layers(self, run: RunResult) -> list[dict[str, Any]]:
        """Counters, bounds and energy of each layer in each phase; the energies add up to the run's."""
        bounds = bounds_frame(run, "phase", "layer").drop(columns=["phase", "layer", "cycles"])
        records = pd.concat([run.frame("phase", "layer"), bounds], axis=1).to_dict("records")
        table: list[dict[str, Any]] = [{str(name): value for name, value in record.items()} for record in records]
        for layer in table:
            energy = energy_joules(layer, arch=run.arch, profile=self.profile)
            layer |= {f"energy_{part}_joules": joules for part, joules in energy.items()}
        total = sum(energy_joules(run.total(), arch=run.arch, profile=self.profile).values())
        parts = sum(layer[f"energy_{part}_joules"] for layer in table for part in PARTS)
        if abs(parts - total) > 1e-9 * total:
            raise InvariantError(f"invariant violated: {ENERGY_LAW}")
        return table

    def bounds(self) -> dict[str, Any]:
        """The closed-form bounds of the whole run, and the largest of them with its share of the cycles."""
        cycles = bound_cycles(self.run)
        module = max(cycles, key=lambda name: cycles[name])
        return {"cycles": cycles, "module": module, "share": cycles[module] / self.run.cycles}


def _tables(estimates: dict[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def compare_parts(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Ratios of two parts, as `Evaluation.part` gives them, with cycles and bandwidth of the baseline."""
    return {
        "baseline_cycles": theirs["counters"]["cycles"],
        "speedup": theirs["counters"]["cycles"] / ours["counters"]["cycles"],
        "kv_bytes_moved_reduction": theirs["kv_bytes_moved"] / ours["kv_bytes_moved"],
        "energy_reduction": theirs["energy_total_joules"] / ours["energy_total_joules"],
        "baseline_achieved_gbps": theirs["achieved_gbps"],
    }


def dense_kv_bits(run: RunResult, phase: str | None) -> int:
    """K and V elements a dense run of the same steps fetches (multiply by the word width)."""
    shape, rows = run.workload.shape, run.workload.rows
    steps = rows if phase is None else rows[run.phase(phase)]
    _, first = np.unique(steps[["sequence", "step"]], return_index=True)
    heads = shape.kv_heads if run.arch.gqa_share else shape.heads
    return int(steps["context"][first].sum(dtype=np.int64)) * shape.layers * heads * 2 * shape.head_dim


def evaluate(
    source: AttentionTrace | Workload,
    arch: Arch,
    *,
    policy: Policy | None = None,
    compare: Policy | None = None,
    profile: EnergyProfile | None = None,
    window_cycles: int = WINDOW_CYCLES,
    step: Step | None = None,
    log: Log = "nothing",
) -> Evaluation:
    """Run the main job.

    Parameters
    ----------
    source : a trace, replayed under `policy`; or a workload, timed as it is.
    compare : a policy that is replayed and timed on the same arch; needs a trace.
    profile : constants of energy and area; by default `first-principles`.
    window_cycles : over which the peak of power is taken.
    step : called with the name of the stage and the fraction done.
    log : what to record of the run on the way: an excerpt, or all events (and the excerpt).
    """

    def stage(name: str) -> Callable[[float], None]:
        if step is None:
            return lambda fraction: None
        step(name, 0.0)
        return lambda fraction: step(name, fraction)

    profile = profile or load_profile()
    if isinstance(source, Workload):
        check_cascade(source)
        timed = _run(source, arch, stage("simulate"), log)
        return Evaluation(**timed, profile=profile, window_cycles=window_cycles)
    policy = policy or load_policy(default_policy(source))
    replay = apply(source, policy, stage("replay"))
    reference = apply(source, load_policy("dense-fp32"), stage("float reference"))
    timed = _run(replay.workload, arch, stage("simulate"), log)
    baseline = None
    if compare is not None:
        baseline = simulate(
            apply(source, compare, stage("replay comparison")).workload, arch, stage("simulate comparison")
        )
    errors = tuple(output_errors(replay, reference))
    excerpt = source.manifest.model.excerpt
    notes = (f"{excerpt}: schedules over the layers run over these alone",) if excerpt else ()
    return Evaluation(
        **timed,
        profile=profile,
        replay=replay,
        errors=errors,
        baseline=baseline,
        notes=notes,
        window_cycles=window_cycles,
    )


def _run(workload: Workload, arch: Arch, progress: Callable[[float], None], log: Log) -> dict[str, Any]:
    """The fields of an `Evaluation` that one simulation gives."""
    if log == "nothing":
        return {"run": simulate(workload, arch, progress)}
    if log == "excerpt":
        run, excerpt = record_excerpt(workload, arch, progress)
        return {"run": run, "excerpt": excerpt}
    events = record_events(workload, arch, progress)
    return {"run": events.run, "excerpt": events.excerpt(), "events": events}


def default_policy(trace: AttentionTrace) -> str:
    """The published scheme for the kind of model."""
    return "spatten-encoder" if trace.manifest.model.mask == "full" else "spatten"
